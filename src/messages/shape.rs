//! Takes answers apart by move. Covers the different forms of maps in RESP2 and RESP3.

use redis::Value;

use crate::error::{Error, Result};

pub(crate) fn unexpected() -> Error {
    Error::decode(
        "the server's answer does not have the shape of this command's replies; send it as Raw::<redis::Value> to inspect it",
    )
}

/// The elements of an array or a set.
pub(crate) fn items(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        Value::Attribute { data, .. } => items(*data),
        _ => Err(unexpected()),
    }
}

/// The next element.
pub(crate) fn next(items: &mut impl Iterator<Item = Value>) -> Result<Value> {
    items.next().ok_or_else(unexpected)
}

/// The entries of a map, or of an array of alternating names and values.
pub(crate) fn pairs(value: Value) -> Result<Vec<(Value, Value)>> {
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
pub(crate) fn bytes(value: Value) -> Result<Vec<u8>> {
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
pub(crate) fn count(value: Value) -> Result<u64> {
    match value {
        Value::Int(number) => u64::try_from(number).map_err(|_| unexpected()),
        other => std::str::from_utf8(&bytes(other)?).ok().and_then(|text| text.parse().ok()).ok_or_else(unexpected),
    }
}

/// A number for information only, such as a lag or an idle time: `None` if it is negative, missing or not a number.
/// Servers return such numbers (a lag of -99 after `XGROUP SETID .. ENTRIESREAD`), and they must not fail the whole
/// reply.
pub(crate) fn informational(value: Value) -> Option<u64> {
    count(value).ok()
}

/// `None` for nil, else the value decoded by `take`.
pub(crate) fn optional<T>(value: Value, take: impl FnOnce(Value) -> Result<T>) -> Result<Option<T>> {
    if value == Value::Nil { Ok(None) } else { take(value).map(Some) }
}

/// Takes the value of a field out of the entries of a map.
pub(crate) fn field(pairs: &mut Vec<(Value, Value)>, name: &str) -> Option<Value> {
    let is_named = |field: &Value| match field {
        Value::BulkString(text) => text == name.as_bytes(),
        Value::SimpleString(text) => text == name,
        _ => false,
    };
    let at = pairs.iter().position(|(field, _)| is_named(field))?;
    Some(pairs.swap_remove(at).1)
}

/// Takes a number out of the entries of a map; see [`informational`].
pub(crate) fn number(pairs: &mut Vec<(Value, Value)>, name: &str) -> Option<u64> {
    field(pairs, name).and_then(informational)
}
