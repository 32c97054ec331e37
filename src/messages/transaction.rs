//! Transactions: MULTI and EXEC.

use redis::Value;

use super::batch::{Answers, Bundle, UnitOptions, array, unit};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;

unit! {
    /// Several commands that the server runs atomically, without commands of other clients in between: MULTI, the
    /// commands, EXEC.
    ///
    /// It is sent as one unit, so it cannot contain commands of other callers. If the link breaks before its last
    /// byte was sent, none of it has run. The reply to a tuple is a tuple of replies, to a vector a vector.
    ///
    /// No command blocks in a transaction: [`BLPop`](crate::BLPop) takes only existing values, and
    /// [`Wait`](crate::Wait) returns the current count.
    ///
    /// If the server refuses to queue a command, such as one of an unknown name, the transaction is aborted: nothing
    /// runs, and the error names that command. A command that fails when it runs (an INCR of a word) does not undo
    /// the others, because Redis has no rollback; [`try_each`](Self::try_each) returns the outcome of each.
    ///
    /// ```
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::prelude::*;
    ///
    /// let (_, left) = redis.send(Transaction::new((Set::new("k", 1), Incr::new("k")))).await?;
    /// assert_eq!(left, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// For decisions that depend on values read before, see [`Redis::watch`](crate::Redis::watch).
    Transaction, Frame::atomic, answers
}

impl<C: Bundle> Transaction<C> {
    /// Creates a transaction of these commands. Sending an empty one is an error.
    pub fn new(commands: C) -> Self {
        Self { commands, wishes: UnitOptions::default() }
    }

    pub(crate) fn into_commands(self) -> C {
        self.commands
    }
}

/// Extracts the answers to the commands from those to MULTI, to the queueing of each, and to EXEC.
fn answers(frame: Option<&Frame>, value: Value) -> Result<Answers<'_>> {
    let mut replies = array(value)?;
    match replies.pop() {
        Some(Value::Array(values)) => Answers::new(frame, values),
        Some(Value::Nil) => Err(conflict()),
        Some(Value::ServerError(exec)) => {
            let exec = Error::server(exec.code(), exec.details());
            Err(refused(frame, replies).unwrap_or(exec))
        }
        _ => Err(Error::decode("the answer to EXEC is not a list of replies")),
    }
}

/// The error of the first command that was refused, if any.
fn refused(frame: Option<&Frame>, replies: Vec<Value>) -> Option<Error> {
    let ran = replies.iter().skip(1).any(|reply| !matches!(reply, Value::ServerError(_)) && !is_queued(reply));
    let (index, error) = replies.into_iter().enumerate().find_map(|(index, reply)| match reply {
        Value::ServerError(error) => Some((index, Error::server(error.code(), error.details()))),
        _ => None,
    })?;
    let Some(index) = index.checked_sub(1) else {
        // MULTI failed, so the server ran the commands one by one.
        return Some(error.of_command("MULTI").with_fate(if ran { Fate::Unknown } else { Fate::Rejected }));
    };
    let name = frame.and_then(Frame::unit).map(|unit| unit.name_of(index));
    Some(if let Some(name) = name { error.of_command(name) } else { error })
}

fn is_queued(reply: &Value) -> bool {
    matches!(reply, Value::SimpleString(word) if word == "QUEUED")
}

/// The error for a changed watched key.
fn conflict() -> Error {
    Error::new(
        ErrorKind::Conflict,
        Fate::Rejected,
        "another client changed a watched key, nothing was done; read the values again and retry",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{
        Command,
        strings::{Get, Incr},
    };

    fn failed(replies: Vec<Value>) -> Error {
        let frame = Transaction::new((Incr::new("a"), Get::<String>::new("b"))).into_frame();
        <Transaction<(Incr, Get<String>)>>::reply_to(&frame, Value::Array(replies)).expect_err("an error")
    }

    fn word(word: &str) -> Value {
        Value::SimpleString(word.to_owned())
    }

    fn error(code: &str) -> Value {
        redis::parse_redis_value(format!("-{code} words\r\n").as_bytes()).expect("an error reply")
    }

    #[test]
    fn queueing_errors_name_the_command_and_a_failed_multi_has_an_unknown_fate() {
        let queueing = failed(vec![Value::Okay, word("QUEUED"), error("NOPERM"), error("EXECABORT")]);
        assert_eq!(
            (queueing.code(), queueing.command(), queueing.fate()),
            (Some("NOPERM"), Some("GET"), Fate::Rejected)
        );
        let unguarded = failed(vec![error("NOPERM"), Value::Int(1), Value::Nil, error("ERR")]);
        assert_eq!((unguarded.command(), unguarded.fate()), (Some("MULTI"), Fate::Unknown), "the INCR ran");
        let nothing = failed(vec![error("NOPERM"), error("NOPERM"), error("NOPERM"), error("NOPERM")]);
        assert_eq!((nothing.command(), nothing.fate()), (Some("MULTI"), Fate::Rejected));
        let exec = failed(vec![Value::Okay, word("QUEUED"), word("QUEUED"), error("EXECABORT")]);
        assert_eq!((exec.code(), exec.fate()), (Some("EXECABORT"), Fate::Rejected));
        let conflict = failed(vec![Value::Okay, word("QUEUED"), word("QUEUED"), Value::Nil]);
        assert_eq!((conflict.kind(), conflict.fate()), (ErrorKind::Conflict, Fate::Rejected));
        let strange = failed(vec![Value::Okay, word("QUEUED"), word("QUEUED"), Value::Array(vec![Value::Int(1)])]);
        assert_eq!((strange.kind(), strange.fate()), (ErrorKind::Decode, Fate::Unknown));
    }
}
