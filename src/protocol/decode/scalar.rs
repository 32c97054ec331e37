//! Decodes complete values without elements.

use redis::{ServerError, Value, VerbatimFormat};

use super::limits::ProtocolError;

/// The maximum number of digits, including leading zeros: that of the largest number. Without it a peer that sends
/// endless zeros would fill the read buffer.
const DIGITS: usize = 19;

/// The type of a string of announced length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    Bulk,
    Verbatim,
    Error,
}

/// Parses the integer at the start of `bytes`. Returns it with its length including the line end, or `None` if
/// incomplete.
#[inline]
pub(super) fn number(bytes: &[u8]) -> Result<Option<(i64, usize)>, ProtocolError> {
    let (negative, digits) = match bytes {
        [b'0'..=b'9', ..] => (false, bytes),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        [b'?', ..] => return Err(ProtocolError::Streamed),
        _ => (false, bytes),
    };
    let mut size: u64 = 0;
    let mut end = digits;
    while let [byte, rest @ ..] = end {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // Overflows from the 20th digit on, and that many digits are refused below.
        size = size.wrapping_mul(10).wrapping_add(u64::from(digit));
        end = rest;
    }
    let at = digits.len() - end.len();
    match end {
        _ if at > DIGITS => Err(ProtocolError::Integer),
        [b'\r', b'\n', ..] if at > 0 => {
            let value = if negative { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() };
            let used = bytes.len() - end.len() + 2;
            value.map(|value| Some((value, used))).ok_or(ProtocolError::Integer)
        }
        [] => Ok(None),
        [b'\r'] if at > 0 => Ok(None),
        _ => Err(ProtocolError::Integer),
    }
}

/// A length of which -1 means nil.
#[inline]
pub(super) fn length(len: i64) -> Result<Option<usize>, ProtocolError> {
    if len == -1 { Ok(None) } else { count(len).map(Some) }
}

/// A length of a type without nil.
#[inline]
pub(super) fn count(len: i64) -> Result<usize, ProtocolError> {
    if len < 0 {
        return Err(ProtocolError::NegativeLength);
    }
    // On a 32-bit machine the length may exceed the address space. The maximum is above every limit and is refused.
    Ok(usize::try_from(len).unwrap_or(usize::MAX))
}

/// `_` and `#`, which have a fixed length: returns the value and the number of bytes used after the type byte.
pub(super) fn constant(tag: u8, after: &[u8]) -> Result<Option<(Value, usize)>, ProtocolError> {
    if tag == b'_' {
        return match after {
            [b'\r', b'\n', ..] => Ok(Some((Value::Nil, 2))),
            [] | [b'\r'] => Ok(None),
            _ => Err(ProtocolError::Null),
        };
    }
    match after {
        [b't', b'\r', b'\n', ..] => Ok(Some((Value::Boolean(true), 3))),
        [b'f', b'\r', b'\n', ..] => Ok(Some((Value::Boolean(false), 3))),
        [] | [b't' | b'f'] | [b't' | b'f', b'\r'] => Ok(None),
        _ => Err(ProtocolError::Boolean),
    }
}

/// Decodes a complete line: `+`, `-`, `,` and `(`.
pub(super) fn text(tag: u8, line: &[u8]) -> Result<Value, ProtocolError> {
    match tag {
        b'+' => Ok(match std::str::from_utf8(line) {
            Ok("OK") => Value::Okay,
            Ok(text) => Value::SimpleString(text.to_owned()),
            Err(_) => Value::BulkString(line.to_vec()),
        }),
        b'-' => server_error(line).map(Value::ServerError),
        b',' => std::str::from_utf8(line)
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Value::Double)
            .ok_or(ProtocolError::Double),
        _ => {
            let digits = match line {
                [b'-' | b'+', digits @ ..] => digits,
                _ => line,
            };
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(ProtocolError::BigNumber);
            }
            Ok(Value::BigNumber(line.to_vec()))
        }
    }
}

/// Decodes a complete string of announced length.
pub(super) fn body(kind: BodyKind, bytes: Vec<u8>) -> Result<Value, ProtocolError> {
    match kind {
        BodyKind::Bulk => Ok(Value::BulkString(bytes)),
        BodyKind::Error => server_error(&bytes).map(Value::ServerError),
        BodyKind::Verbatim => {
            let text =
                String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            let (format, text) = text.split_once(':').ok_or(ProtocolError::Verbatim)?;
            Ok(Value::VerbatimString {
                format: match format {
                    "txt" => VerbatimFormat::Text,
                    "mkd" => VerbatimFormat::Markdown,
                    other => VerbatimFormat::Unknown(other.to_owned()),
                },
                text: text.to_owned(),
            })
        }
    }
}

/// The server's error as redis-rs classifies it.
///
/// `ServerError` has no public constructor, and its classification of codes changes between versions. So the text is
/// parsed by redis-rs, in the form that accepts any bytes. Errors are rare enough for this cost.
#[cold]
fn server_error(text: &[u8]) -> Result<ServerError, ProtocolError> {
    let mut frame = format!("!{}\r\n", text.len()).into_bytes();
    frame.extend_from_slice(text);
    frame.extend_from_slice(b"\r\n");
    match redis::parse_redis_value(&frame) {
        Ok(Value::ServerError(error)) => Ok(error),
        _ => Err(ProtocolError::ErrorText),
    }
}

/// The text size in bytes of a value without elements.
#[inline]
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::BulkString(bytes) | Value::BigNumber(bytes) => bytes.len(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.len(),
        Value::ServerError(error) => error.code().len() + error.details().map_or(0, str::len),
        _ => 0,
    }
}
