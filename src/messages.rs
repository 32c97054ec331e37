//! The trait of the messages that a `RedisActor` executes as commands.

use std::time::{Duration, SystemTime};

use actix::Message;
use redis::Value;

use crate::error::Result;
use crate::frame::Frame;
use arguments::{IntoKeys, IntoValues};

/// A command that a connection executes, and the type of its reply.
///
/// The crate's own messages implement it, and yours can:
///
/// ```
/// use actix::Message;
/// use redis_actix::{Command, Frame, Result, Value, decode};
///
/// /// When a user was last seen, in seconds since the epoch.
/// #[derive(Message)]
/// #[rtype(result = "Result<Option<i64>>")]
/// struct LastSeen {
///     user: String,
/// }
///
/// impl Command for LastSeen {
///     type Reply = Option<i64>;
///
///     fn frame(&self) -> Frame {
///         Frame::new("HGET").key(format!("user:{}", self.user)).arg("seen").read_only()
///     }
///
///     fn reply(value: Value) -> Result<Self::Reply> {
///         decode(value)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command that a connection executes",
    label = "expected a message of `redis_actix::commands`, `Raw`, `Pipeline` or your own command",
    note = "for your own command: `#[derive(actix::Message)]`, `#[rtype(result = \"redis_actix::Result<Reply>\")]`, and `impl redis_actix::Command`",
    note = "for several commands pass one tuple: `Pipeline::new((a, b))`",
    note = "a reply type must implement `redis::FromRedisValue`: wrap a value of serde in `Json<T>`, and the fields of a hash in `Struct<T>`"
)]
pub trait Command: Message<Result = Result<<Self as Command>::Reply>> + Send + 'static {
    /// The type of the reply.
    type Reply: Send + 'static;

    /// The command to send, with marked keys and without the prefix.
    fn frame(&self) -> Frame;

    /// Like [`frame`](Self::frame), for messages that own their frame and can move it.
    fn into_frame(self) -> Frame
    where
        Self: Sized,
    {
        self.frame()
    }

    /// Decodes the server's answer into the reply. The prefix was removed from its names before, and error answers
    /// are handled before. For most types this is [`decode`]. A panic in it becomes
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) for the caller, and has no effect on other callers.
    ///
    /// # Errors
    /// If the answer does not have the expected shape; see [`Error::decode`](crate::Error::decode).
    fn reply(value: Value) -> Result<Self::Reply>;

    /// Like [`reply`](Self::reply), for messages whose replies can only be decoded together with the command.
    ///
    /// # Errors
    /// See [`reply`](Self::reply).
    fn reply_to(frame: &Frame, value: Value) -> Result<Self::Reply> {
        let _ = frame;
        Self::reply(value)
    }

    /// Like [`reply_to`](Self::reply_to), for commands that ran on several nodes of a cluster, each with its own
    /// outcome.
    #[doc(hidden)]
    fn reply_each(frame: &Frame, outcomes: Vec<Result<Value>>) -> Result<Self::Reply> {
        outcomes::whole_of(outcomes, frame.is_read()).and_then(|value| Self::reply_to(frame, value))
    }
}

/// Decodes an answer with redis-rs' [`FromRedisValue`](redis::FromRedisValue).
///
/// # Errors
/// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the answer does not fit `T`. The text does not quote the
/// answer, because it is the caller's data.
#[inline]
pub fn decode<T: redis::FromRedisValue>(value: Value) -> Result<T> {
    // Every reply is decoded here, and hardly any has booleans.
    let is_spelled = match &value {
        Value::BulkString(text) => is_spelled_bool(text),
        Value::Array(_) | Value::Map(_) => has_spelled_bool(&value),
        _ => false,
    };
    if is_spelled { decode_spelled(value) } else { Ok(T::from_redis_value(value)?) }
}

#[cold]
fn decode_spelled<T: redis::FromRedisValue>(value: Value) -> Result<T> {
    let spelled = spelled_bools(&value);
    match (T::from_redis_value(value), spelled) {
        (Ok(decoded), _) => Ok(decoded),
        (Err(error), Some(spelled)) => T::from_redis_value(spelled).map_err(|_| error.into()),
        (Err(error), None) => Err(error.into()),
    }
}

/// Whether [`spelled_bools`] finds any.
fn has_spelled_bool(value: &Value) -> bool {
    match value {
        Value::BulkString(text) => is_spelled_bool(text),
        Value::Array(items) => {
            items.iter().any(|item| matches!(item, Value::BulkString(text) if is_spelled_bool(text)))
        }
        Value::Map(pairs) => pairs.iter().any(|(_, value)| has_spelled_bool(value)),
        _ => false,
    }
}

#[inline(always)]
fn is_spelled_bool(text: &[u8]) -> bool {
    matches!(text.len(), 4 | 5) && matches!(text, b"true" | b"false")
}

/// The reply with `true` and `false` as booleans instead of text, if there are any. redis-rs knows `1` and `0` only; structs
/// are written with words.
fn spelled_bools(value: &Value) -> Option<Value> {
    match value {
        Value::BulkString(text) if text == b"true" => Some(Value::Boolean(true)),
        Value::BulkString(text) if text == b"false" => Some(Value::Boolean(false)),
        Value::Array(items) => {
            let is_one = |item: &Value| matches!(item, Value::BulkString(text) if text == b"true" || text == b"false");
            let spelled = |item: &Value| spelled_bools(item).unwrap_or_else(|| item.clone());
            items.iter().any(is_one).then(|| Value::Array(items.iter().map(spelled).collect()))
        }
        Value::Map(pairs) => {
            let spelled = |(name, value): &(Value, Value)| Some((name.clone(), spelled_bools(value)?));
            let any = pairs.iter().any(|pair| spelled(pair).is_some());
            any.then(|| pairs.iter().map(|pair| spelled(pair).unwrap_or_else(|| pair.clone())).collect())
                .map(Value::Map)
        }
        _ => None,
    }
}

/// The part of a message that is encoded last, because options may be added before it.
pub(crate) trait Rest: Clone + Default {
    fn finish(self, head: Frame) -> Frame;
}

impl Rest for () {
    fn finish(self, head: Frame) -> Frame {
        head
    }
}

impl Rest for Frame {
    fn finish(self, head: Frame) -> Frame {
        head.concat(self)
    }
}

/// The options of a message that exclude others of their group, by the name of their method.
#[derive(Clone, Copy, Default)]
pub(crate) struct Chosen {
    expiry: &'static str,
    condition: &'static str,
}

impl Rest for Chosen {
    fn finish(self, head: Frame) -> Frame {
        head
    }
}

/// Options that exclude others, and the arguments behind them.
#[derive(Clone, Default)]
pub(crate) struct ChosenThen {
    chosen: Chosen,
    tail: Frame,
}

impl Rest for ChosenThen {
    fn finish(self, head: Frame) -> Frame {
        head.concat(self.tail)
    }
}

/// Adds an option of a group of which a command takes one; `slot` is the method that has set one before.
fn choose(slot: &mut &'static str, by: &'static str, frame: Frame, words: impl redis::ToRedisArgs) -> Frame {
    let frame = match *slot {
        "" => frame,
        before => frame.refuse(format!("{before} and {by} exclude each other: remove one of the two")),
    };
    *slot = by;
    frame.arg(words)
}

/// Declares a message: the struct, its options, and its [`Command`]. The constructors are in an `impl` next to it.
/// `rest` is the part that is encoded last, `by` decodes the answer.
macro_rules! command {
    (@rest) => { () };
    (@rest $rest:ty) => { $rest };
    (@reply $value:ident) => { $crate::messages::decode($value) };
    (@reply $value:ident $decode:path) => { $decode($value) };
    ($(#[$meta:meta])* $name:ident $(<$t:ident $(= $default:ty)?>)? $(, rest $rest:ty)? => $reply:ty $(, by $decode:path)?) => {
        $(#[$meta])*
        #[must_use = "a message does nothing until it is sent"]
        pub struct $name $(<$t $(= $default)?>)? {
            frame: $crate::frame::Frame,
            rest: command!(@rest $($rest)?),
            $(reply: std::marker::PhantomData<fn() -> $t>,)?
        }

        impl $(<$t>)? $name $(<$t>)? {
            fn of(frame: $crate::frame::Frame) -> Self {
                Self { frame, rest: Default::default(), $(reply: std::marker::PhantomData::<fn() -> $t>)? }
            }

            #[allow(dead_code, reason = "not every message has options")]
            fn opt(mut self, option: impl redis::ToRedisArgs) -> Self {
                self.frame = self.frame.arg(option);
                self
            }

            /// Sets the deadline of this command over all phases; see [`Frame::timeout`](crate::Frame::timeout).
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.frame = self.frame.timeout(timeout);
                self
            }

            /// Marks it as idempotent: running it twice has the effect of running it once, so it is retried if the
            /// link breaks before its reply arrives.
            pub fn idempotent(mut self) -> Self {
                self.frame = self.frame.idempotent();
                self
            }

            /// Sets which server may reply, if it is a read. A write is not sent with
            /// [`ReadFrom::Replica`](crate::ReadFrom::Replica). See [`Frame::read_from`](crate::Frame::read_from).
            pub fn read_from(mut self, server: $crate::frame::ReadFrom) -> Self {
                self.frame = self.frame.read_from(server);
                self
            }

            /// Allows an answer from the cache that is at most `ttl` old, if it is a read that can be cached. See
            /// [`Frame::cached`](crate::Frame::cached).
            pub fn cached(mut self, ttl: std::time::Duration) -> Self {
                self.frame = self.frame.cached(ttl);
                self
            }

            /// Asks the server, whatever the configuration says about caching.
            pub fn fresh(mut self) -> Self {
                self.frame = self.frame.fresh();
                self
            }

            /// Sets how it is handled while there is no connection.
            pub fn when_down(mut self, what: $crate::frame::WhenDown) -> Self {
                self.frame = self.frame.when_down(what);
                self
            }
        }

        impl $(<$t>)? Clone for $name $(<$t>)? {
            fn clone(&self) -> Self {
                Self { frame: self.frame.clone(), rest: self.rest.clone(), $(reply: std::marker::PhantomData::<fn() -> $t>)? }
            }
        }

        impl $(<$t>)? std::fmt::Debug for $name $(<$t>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&$crate::messages::Rest::finish(self.rest.clone(), self.frame.clone()), f)
            }
        }

        impl $(<$t: redis::FromRedisValue + Send + 'static>)? actix::Message for $name $(<$t>)? {
            type Result = $crate::error::Result<$reply>;
        }

        impl $(<$t: redis::FromRedisValue + Send + 'static>)? $crate::messages::Command for $name $(<$t>)? {
            type Reply = $reply;

            fn frame(&self) -> $crate::frame::Frame {
                self.clone().into_frame()
            }

            fn into_frame(self) -> $crate::frame::Frame {
                $crate::messages::Rest::finish(self.rest, self.frame).handed_out()
            }

            fn reply(value: redis::Value) -> $crate::error::Result<$reply> {
                command!(@reply value $($decode)?)
            }
        }
    };
}

/// Milliseconds for the server, which refuses 0.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Milliseconds since the Unix epoch, or 0 for earlier times.
pub(crate) fn unix_millis(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Adds a count as a negative number, which means to the server that elements may repeat or are counted from the tail.
fn negative(frame: Frame, count: u64) -> Frame {
    match i64::try_from(count) {
        Ok(count) => frame.arg(-count),
        Err(_) => frame.invalid("a count is at most 9223372036854775807"),
    }
}

/// Adds at least one key.
fn some_keys<M>(frame: Frame, keys: impl IntoKeys<M>) -> Frame {
    at_least_one(frame, "needs at least one key", |frame| keys.add_keys(frame))
}

/// Adds the number of keys, and at least one key.
fn counted_keys<M>(frame: Frame, keys: impl IntoKeys<M>) -> Frame {
    let keys = some_keys(Frame::default(), keys);
    frame.arg(keys.len()).concat(keys)
}

/// Adds at least one value; `none` is the error text if there is none.
fn some_values<M>(frame: Frame, values: impl IntoValues<M>, none: &'static str) -> Frame {
    at_least_one(frame, none, |frame| values.add_values(frame))
}

fn at_least_one(frame: Frame, none: &'static str, add: impl FnOnce(Frame) -> Frame) -> Frame {
    let before = frame.len();
    let frame = add(frame);
    if frame.len() == before { frame.invalid(none) } else { frame }
}

pub(crate) mod arguments;
pub(crate) mod batch;
pub(crate) mod bitmaps;
pub(crate) mod blocking;
pub(crate) mod bloom;
pub(crate) mod fields;
mod fields_de;
pub(crate) mod fields_error;
mod fields_looks;
pub(crate) mod fields_search;
pub(crate) mod functions;
pub(crate) mod geo;
pub(crate) mod hashes;
pub(crate) mod hashes_expiry;
pub(crate) mod hashes_fields;
pub(crate) mod hyperloglog;
pub(crate) mod internal;
pub(crate) mod json;
mod json_check;
pub(crate) mod keys;
pub(crate) mod keys_expiry;
pub(crate) mod keys_values;
pub(crate) mod lists;
pub(crate) mod lists_elements;
pub(crate) mod operators;
pub(crate) mod outcomes;
pub(crate) mod pipeline;
pub(crate) mod pubsub;
pub(crate) mod raw;
#[allow(dead_code, unreachable_pub, reason = "a page is an internal message with the options of every message")]
pub(crate) mod scan;
pub(crate) mod script;
pub(crate) mod search;
pub(crate) mod server;
pub(crate) mod server_replies;
pub(crate) mod sets;
pub(crate) mod sets_algebra;
mod shape;
pub(crate) mod sorted_sets;
pub(crate) mod sorted_sets_algebra;
pub(crate) mod sorted_sets_ranges;
pub(crate) mod stream_id;
pub(crate) mod streams;
pub(crate) mod streams_deletion;
pub(crate) mod streams_groups;
pub(crate) mod streams_pending;
pub(crate) mod streams_reads;
pub(crate) mod streams_replies;
pub(crate) mod strings;
pub(crate) mod strings_conditions;
pub(crate) mod strings_ranges;
pub(crate) mod time_series;
pub(crate) mod transaction;
pub(crate) mod values;
pub(crate) mod vectors;

#[cfg(test)]
mod fields_shapes_tests;
#[cfg(test)]
mod fields_tests;
#[cfg(test)]
pub(crate) mod module_tests;
#[cfg(test)]
mod replies_tests;
#[cfg(test)]
pub(crate) mod tests;
