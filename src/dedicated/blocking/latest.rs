//! XREAD from `$` or `+`. After a lost link these would mean other entries, so they are replaced by the ids that they stand
//! for, once, before the first wait.

use redis::Value;

use crate::client::{Redis, gone};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::messages::stream_id::StreamId;

/// The command with ids in their places. `asking`: the node does not own the slot yet. `None`: the server does not let
/// this user ask.
///
/// # Errors
/// When an answer is missing; nothing was read then.
pub(super) async fn resolved(frame: &Frame, redis: &Redis, generation: u64, asking: bool) -> Result<Option<Frame>> {
    let mut ids = Vec::new();
    for of in frame.latest() {
        let answer = redis.begin_on(generation, frame.last_entry(of).own(), asking).await;
        let last = match answer.unwrap_or_else(|_| Err(gone())) {
            Ok(entries) => last_id(&entries)?,
            Err(error) if error.code() == Some("NOPERM") => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = if of.includes_last { before(last) } else { last };
        ids.push((of, id.to_string()));
    }
    Ok(Some(frame.with_ids(&ids)))
}

/// The id of the last entry; the lowest where there is none.
fn last_id(entries: &Value) -> Result<StreamId> {
    let Value::Array(entries) = entries else { return Ok(StreamId::MIN) };
    let Some(Value::Array(entry)) = entries.first() else { return Ok(StreamId::MIN) };
    let malformed = || Error::decode("the reply to XREVRANGE has an entry without an id");
    let id = entry.first().ok_or_else(malformed)?;
    redis::from_redis_value_ref(id).map_err(|_| malformed())
}

/// The id behind which an entry of `id` comes next.
fn before(id: StreamId) -> StreamId {
    match id {
        StreamId { ms: 0, seq: 0 } => id,
        StreamId { ms, seq: 0 } => StreamId { ms: ms - 1, seq: u64::MAX },
        StreamId { ms, seq } => StreamId { ms, seq: seq - 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_is_read_when_it_is_included() {
        for (last, from) in [((5, 3), (5, 2)), ((5, 0), (4, u64::MAX)), ((0, 0), (0, 0))] {
            let id = |(ms, seq)| StreamId { ms, seq };
            assert_eq!(before(id(last)), id(from));
        }
        assert_eq!(last_id(&Value::Array(Vec::new())).expect("none"), StreamId::MIN);
    }
}
