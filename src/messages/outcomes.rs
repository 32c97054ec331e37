//! The outcome of a pipeline, made from the outcomes of its commands.

use redis::Value;

use crate::error::{Error, Fate, Result};

/// The outcome of a pipeline: all replies, or the first failure that is not a reply. If another command ran, the fate of
/// that failure is unknown, because repeating the pipeline would run that command twice.
pub(crate) fn whole_of(outcomes: Vec<Result<Value>>, is_read: bool) -> Result<Value> {
    let ran = outcomes.iter().any(|outcome| match outcome {
        Ok(value) => !matches!(value, Value::ServerError(_)),
        Err(error) => error.fate() == Fate::Unknown,
    });
    let mut replies = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        let reply_of = |error: &Error| error_reply(error).filter(|_| error.fate() == Fate::Rejected);
        match outcome.map_err(|error| reply_of(&error).ok_or(error)) {
            Ok(reply) | Err(Ok(reply)) => replies.push(reply),
            Err(Err(error)) => return Err(if ran && !is_read { error.with_fate(Fate::Unknown) } else { error }),
        }
    }
    Ok(Value::Array(replies))
}

/// The error as a server would have written it, so that it can stand among the replies of a pipeline.
fn error_reply(error: &Error) -> Option<Value> {
    let line = format!("-{} {}\r\n", error.code()?, error.message().replace(['\r', '\n'], " "));
    redis::parse_redis_value(line.as_bytes()).ok()
}
