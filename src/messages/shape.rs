//! Takes answers apart by move. RESP2 and RESP3 differ in what they call a map.

use redis::Value;

use crate::error::{Error, Result};

pub(super) fn unexpected() -> Error {
    Error::decode("the server's answer has another shape than this command's; send it as Raw::<redis::Value> to see it")
}

/// The elements of an array or a set.
pub(super) fn items(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        Value::Attribute { data, .. } => items(*data),
        _ => Err(unexpected()),
    }
}

/// The next element.
pub(super) fn next(items: &mut impl Iterator<Item = Value>) -> Result<Value> {
    items.next().ok_or_else(unexpected)
}

/// The entries of a map, or of an array of names and values in turn.
pub(super) fn pairs(value: Value) -> Result<Vec<(Value, Value)>> {
    match value {
        Value::Map(pairs) => Ok(pairs),
        Value::Attribute { data, .. } => pairs(*data),
        other => {
            let mut items = items(other)?.into_iter();
            let mut pairs = Vec::with_capacity(items.len() / 2);
            while let Some(name) = items.next() {
                pairs.push((name, next(&mut items)?));
            }
            Ok(pairs)
        }
    }
}

/// The bytes of a name or a value.
pub(super) fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        Value::Okay => Ok(b"OK".to_vec()),
        Value::Int(number) => Ok(itoa::Buffer::new().format(number).as_bytes().to_vec()),
        Value::Attribute { data, .. } => bytes(*data),
        _ => Err(unexpected()),
    }
}

/// A number that cannot be negative.
pub(super) fn count(value: Value) -> Result<u64> {
    match value {
        Value::Int(number) => u64::try_from(number).map_err(|_| unexpected()),
        other => std::str::from_utf8(&bytes(other)?).ok().and_then(|text| text.parse().ok()).ok_or_else(unexpected),
    }
}

/// A number that only informs, as a lag or an idle time: `None` where it is negative, missing or no number. Servers answer
/// such numbers (a lag of -99 after `XGROUP SETID .. ENTRIESREAD`), and they must not make the whole reply useless.
pub(super) fn informational(value: Value) -> Option<u64> {
    count(value).ok()
}

/// `None` for nil, else what `take` makes of the value.
pub(super) fn optional<T>(value: Value, take: impl FnOnce(Value) -> Result<T>) -> Result<Option<T>> {
    if value == Value::Nil { Ok(None) } else { take(value).map(Some) }
}
