//! Effects inside Redis that happen exactly once: they and the acknowledgement are one step.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use redis::{FromRedisValue, Value};

use super::delivery::Delivery;
use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::{Extra, Frame, ReplyKeys, Source};
use crate::lua::ACK_WITH;
use crate::messages::internal::Internal;
use crate::messages::{
    Command,
    batch::{Answers, Bundle},
    decode,
    script::Invocation,
    stream_id::StreamId,
    transaction::Transaction,
};
use crate::prefix::marks::{Form, Mark};

/// What can be done together with an acknowledgement: a [`Transaction`], or the call of a [`Script`](crate::Script).
pub trait Effects: sealed::Effects {}

pub(crate) mod sealed {
    use super::{Redis, Result, Target};

    pub trait Effects {
        type Reply;

        #[doc(hidden)]
        fn commit(self, redis: &Redis, target: Target<'_>) -> impl Future<Output = Result<Option<Self::Reply>>>;
    }
}

/// The entry that is acknowledged.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    stream: &'a str,
    group: &'a str,
    consumer: &'a str,
    id: StreamId,
}

impl<T, R> Delivery<T, R> {
    /// Does something and acknowledges the entry, both or neither: a message that comes again after this has
    /// succeeded changes nothing, so its effects happen exactly once. `None`: the entry is not this consumer's any
    /// more, and nothing was done. The handler answers [`Outcome::Ack`](crate::Outcome::Ack) in both cases.
    ///
    /// All keys must be on the server of the stream, on a cluster in its slot. A transaction runs as a script, so
    /// unlike MULTI it ends at the first command that fails, and the entry is not acknowledged then; as with MULTI,
    /// the commands before it stay. The same holds for a script that fails.
    ///
    /// ```no_run
    /// # use redis_actix::{Delivery, Outcome, Redis, Result};
    /// # #[derive(serde::Deserialize)] struct Order { customer: String, cents: i64 }
    /// # async fn handle(redis: Redis, order: Delivery<Order>) -> Result<Outcome> {
    /// use redis_actix::{IncrBy, Transaction};
    ///
    /// let bill = IncrBy::new(format!("due:{}", order.customer), order.cents);
    /// if let Some((due,)) = order.ack_with(&redis, Transaction::new((bill,))).await? {
    ///     println!("{due}");
    /// }
    /// # Ok(Outcome::Ack)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the commands and of the script. With [`Fate::Unknown`](crate::Fate::Unknown) both or neither was
    /// done: answer with a retry, and the server knows.
    ///
    /// # Cancel safety
    /// As [`Redis::send`].
    pub async fn ack_with<E: Effects>(&self, redis: &Redis, effects: E) -> Result<Option<E::Reply>> {
        let name = self.consumer();
        let target = Target { stream: &name.stream, group: &name.group, consumer: &name.consumer, id: self.id() };
        effects.commit(redis, target).await
    }
}

/// A script can call no command with many more. It would fail at this one, behind those that have run.
const MOST_WORDS: usize = 7000;

impl<C: Bundle> Effects for Transaction<C> {}

impl<C: Bundle> sealed::Effects for Transaction<C> {
    type Reply = C::Replies;

    async fn commit(self, redis: &Redis, target: Target<'_>) -> Result<Option<C::Replies>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut words: Vec<Vec<u8>> = Vec::new();
        for frame in self.into_commands().into_frames() {
            frame.check()?;
            if frame.script().is_some() {
                return Err(Error::invalid_command(
                    "a script in a transaction cannot run beside an acknowledgement: give its call to ack_with instead",
                ));
            }
            let marked = frame.marked();
            // As a key of the script it gets the prefix as it stands, and nobody takes that off a reply again.
            let plain = |mark: &Mark| mark.form == Form::Key && mark.offset == 0;
            if !marked.marks.iter().all(plain) || frame.keys_in_reply() != ReplyKeys::None {
                return Err(Error::invalid_command(
                    "a command with patterns, or with names in its reply, cannot run beside an acknowledgement",
                )
                .of_command(frame.name()));
            }
            let argv = frame.argv();
            if has_wide_bit_fields(&frame.name(), argv.iter().copied()) {
                let words = "numbers of more than 53 bits are rounded in the reply of a BITFIELD beside an acknowledgement: use narrower fields, or give a script to ack_with";
                return Err(Error::invalid_command(words).of_command(frame.name()));
            }
            if argv.len() > MOST_WORDS {
                let words = "a command beside an acknowledgement has at most 7,000 words: divide it, or give a script to ack_with";
                return Err(Error::invalid_command(words).of_command(frame.name()));
            }
            words.push(argv.len().to_string().into_bytes());
            for (at, word) in argv.iter().enumerate() {
                if marked.marks.iter().any(|mark| mark.index == at) {
                    keys.push(word.to_vec());
                    words.push(format!("k{}", keys.len()).into_bytes());
                } else {
                    words.push([b"a", *word].concat());
                }
            }
        }
        keys.push(target.stream.into());
        let args = |call: Frame| {
            let call = call.arg(target.group).arg(target.consumer).arg(target.id);
            words.iter().fold(call, |call, word| call.arg(&word[..]))
        };
        match ACK_WITH.run(redis, &keys, args).await? {
            Value::Nil => Ok(None),
            Value::Array(replies) => Answers::new(None, replies)?.all::<C>().map(Some),
            _ => Err(Error::decode("the script answered no list")),
        }
    }
}

/// Whether the reply may have numbers that a script cannot tell exactly: those of Lua have 53 bits.
fn has_wide_bit_fields<'a>(command: &str, mut words: impl Iterator<Item = &'a [u8]>) -> bool {
    let is_type = |word: &[u8]| match word {
        [b'i' | b'u' | b'I' | b'U', bits @ ..] => {
            std::str::from_utf8(bits).ok().and_then(|bits| bits.parse::<u8>().ok()).is_some_and(|bits| bits > 53)
        }
        _ => false,
    };
    // A key named like a type is refused as well.
    command.starts_with("BITFIELD") && words.any(is_type)
}

impl<T: FromRedisValue + Send + 'static> Effects for Invocation<T> {}

impl<T: FromRedisValue + Send + 'static> sealed::Effects for Invocation<T> {
    type Reply = T;

    async fn commit(self, redis: &Redis, target: Target<'_>) -> Result<Option<T>> {
        let frame = self.into_frame();
        frame.check()?;
        let Some(script) = frame.script().and_then(Source::text) else {
            return Err(Error::invalid_command("needs the call of a script"));
        };
        // EVALSHA, the digest, how many keys, the keys, the arguments.
        let words = frame.argv();
        let keys = frame.marked().marks.len();
        let own = words.get(3..).unwrap_or_default();
        let (own_keys, own_args) = own.split_at_checked(keys).unwrap_or((own, &[]));
        let call = Frame::of_script(&framed(script)).arg(keys + 1).keys(own_keys).key(target.stream);
        let call = own_args.iter().fold(call, |call, word| call.arg(*word));
        let call = call.arg(target.group).arg(target.consumer).arg(target.id);
        match redis.send(Internal(call)).await? {
            Value::Nil => Ok(None),
            // A nil at the end of a list is cut off on the way out of Lua.
            Value::Array(reply) => decode(reply.into_iter().next().unwrap_or(Value::Nil)).map(Some),
            _ => Err(Error::decode("the script answered no list")),
        }
    }
}

/// At most so many scripts are kept with what stands around them; a program has a few.
const KEPT: usize = 256;

static FRAMED: Mutex<Option<HashMap<Vec<u8>, Arc<Extra>>>> = Mutex::new(None);

/// The user's script between what checks and what acknowledges.
fn framed(script: &[u8]) -> Arc<Extra> {
    let key = script.to_vec();
    let mut framed = FRAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let framed = framed.get_or_insert_default();
    if let Some(known) = framed.get(script) {
        return known.clone();
    }
    if framed.len() >= KEPT {
        framed.clear();
    }
    let (before, after) = (include_str!("../scripts/ack_before.lua"), include_str!("../scripts/ack_after.lua"));
    let script = String::from_utf8_lossy(script);
    let (shebang, script) = split_shebang(&script);
    let whole = format!("{shebang}{before}{script}{after}");
    let whole = Arc::new(Extra::Script(Source::new(&whole, false)));
    framed.insert(key, whole.clone());
    whole
}

/// The first line of a script with `#!lua`, which has to come first in the whole as well, and the rest. The whole acknowledges, so
/// it writes whatever the script does.
fn split_shebang(script: &str) -> (String, &str) {
    if !script.starts_with("#!") {
        return (String::new(), script);
    }
    let (line, rest) = script.split_once('\n').unwrap_or((script, ""));
    let words = line.split_whitespace().map(|word| match word.strip_prefix("flags=") {
        Some(flags) => {
            let flags: Vec<&str> = flags.split(',').filter(|flag| *flag != "no-writes").collect();
            if flags.is_empty() { String::new() } else { format!("flags={}", flags.join(",")) }
        }
        None => word.to_owned(),
    });
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    (format!("{}\n", words.join(" ")), rest)
}

#[cfg(test)]
mod tests {
    use super::{has_wide_bit_fields, split_shebang};

    #[test]
    fn bit_fields_that_lua_would_round_are_refused() {
        let wide = |words: &[&str]| has_wide_bit_fields("BITFIELD", words.iter().map(|word| word.as_bytes()));
        assert!(
            wide(&["BITFIELD", "bits", "INCRBY", "i64", "0", "1"]) && wide(&["BITFIELD", "bits", "get", "U54", "0"])
        );
        assert!(
            !wide(&["BITFIELD", "bits", "GET", "u53", "0"]) && !wide(&["BITFIELD", "bits", "SET", "i8", "#1", "100"])
        );
    }

    #[test]
    fn the_first_line_of_a_script_comes_first_and_may_write() {
        assert_eq!(split_shebang("return 1"), (String::new(), "return 1"));
        assert_eq!(split_shebang("#!lua\nreturn 1"), ("#!lua\n".into(), "return 1"));
        assert_eq!(split_shebang("#!lua flags=no-writes\nreturn 1"), ("#!lua\n".into(), "return 1"));
        let flags = "#!lua flags=no-writes,allow-stale\nreturn 1";
        assert_eq!(split_shebang(flags), ("#!lua flags=allow-stale\n".into(), "return 1"));
    }
}
