//! Numbers, text, objects and types in documents.

use redis::Value;

use super::{add_path, as_json, numbers};
use crate::error::Result;
use crate::frame::Frame;
use crate::messages::{decode, shape};

fn start(name: &str, key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Frame {
    add_path(Frame::known(name).key(key), path)
}

/// Adds a number, which JSON can express if it is finite.
fn add_number(frame: Frame, number: f64) -> Frame {
    let whole = number as i64;
    // The server keeps an integer only if it is added without a point.
    let frame = if whole as f64 == number { frame.arg(whole) } else { frame.arg(number) };
    if number.is_finite() { frame } else { frame.invalid("the number is NaN or infinite, which JSON cannot express") }
}

command! {
    /// `JSON.NUMINCRBY`: adds to the numbers at a path. The reply has the new value of each, `None` where the match is
    /// no number. With an integer as `T` a fraction is a decode error.
    JsonNumIncrBy<T = f64> => Vec<Option<T>>, by numbers::<T>
}

impl<T> JsonNumIncrBy<T> {
    /// Adds `by` to the numbers at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, by: impl Into<f64>) -> Self {
        Self::of(add_number(start("JSON.NUMINCRBY", key, path), by.into()))
    }
}

command! {
    /// `JSON.NUMMULTBY`: multiplies the numbers at a path. The reply has the new value of each.
    JsonNumMultBy<T = f64> => Vec<Option<T>>, by numbers::<T>
}

impl<T> JsonNumMultBy<T> {
    /// Multiplies the numbers at `path` of the document at `key` by `by`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, by: impl Into<f64>) -> Self {
        Self::of(add_number(start("JSON.NUMMULTBY", key, path), by.into()))
    }
}

command! {
    /// `JSON.NUMPOWBY`: raises the numbers at a path to a power. The reply has the new value of each.
    JsonNumPowBy<T = f64> => Vec<Option<T>>, by numbers::<T>
}

impl<T> JsonNumPowBy<T> {
    /// Raises the numbers at `path` of the document at `key` to the power `exponent`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, exponent: impl Into<f64>) -> Self {
        Self::of(add_number(start("JSON.NUMPOWBY", key, path), exponent.into()))
    }
}

command! {
    /// `JSON.STRAPPEND`: appends to the texts at a path. The reply is the new length of each, in bytes.
    JsonStrAppend => Vec<Option<u64>>
}

impl JsonStrAppend {
    /// Appends `text` to the texts at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, text: impl AsRef<str>) -> Self {
        Self::of(as_json(start("JSON.STRAPPEND", key, path), text.as_ref()))
    }
}

command! {
    /// `JSON.STRLEN`: the length of the texts at a path, in bytes. A read.
    JsonStrLen => Vec<Option<u64>>
}

impl JsonStrLen {
    /// Reads the length of the texts at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.STRLEN", key, path).read_only())
    }
}

command! {
    /// `JSON.OBJKEYS`: the names of the members of the objects at a path. A read.
    JsonObjKeys => Vec<Option<Vec<String>>>
}

impl JsonObjKeys {
    /// Reads the names of the members of the objects at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.OBJKEYS", key, path).read_only())
    }
}

command! {
    /// `JSON.OBJLEN`: the number of members of the objects at a path. A read.
    JsonObjLen => Vec<Option<u64>>
}

impl JsonObjLen {
    /// Counts the members of the objects at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.OBJLEN", key, path).read_only())
    }
}

command! {
    /// `JSON.TOGGLE`: negates the booleans at a path. The reply has the new value of each.
    JsonToggle => Vec<Option<bool>>
}

impl JsonToggle {
    /// Negates the booleans at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.TOGGLE", key, path))
    }
}

command! {
    /// `JSON.CLEAR`: empties arrays and objects and sets numbers to 0. The reply is the number of changed values.
    JsonClear => u64
}

impl JsonClear {
    /// Clears the matches of `path` in the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.CLEAR", key, path))
    }
}

command! {
    /// `JSON.TYPE`: the type of the matches of a path: `object`, `array`, `string`, `integer`, `number`, `boolean` or
    /// `null`. None if the key does not exist. A read.
    JsonType => Vec<String>, by types
}

impl JsonType {
    /// Reads the type of the matches of `path` in the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.TYPE", key, path).read_only())
    }
}

/// RESP3 has one more array around the types.
fn types(value: Value) -> Result<Vec<String>> {
    let mut types = Vec::new();
    for item in shape::optional(value, shape::items)?.unwrap_or_default() {
        match item {
            Value::Nil => {}
            Value::Array(_) => types.extend(decode::<Vec<String>>(item)?),
            one => types.push(decode(one)?),
        }
    }
    Ok(types)
}

command! {
    /// `JSON.DEBUG MEMORY`: the size of the matches of a path, in bytes. The server replies with an error if the key does
    /// not exist. A read.
    JsonMemory => Vec<u64>
}

impl JsonMemory {
    /// Reads the size of the matches of `path` in the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(add_path(Frame::known("JSON.DEBUG MEMORY").key(key), path).read_only())
    }
}

command! {
    /// `JSON.RESP`: the matches of a path as RESP values: an object is an array that begins with `{`, an array one that
    /// begins with `[`. Prefer [`JsonGet`](super::JsonGet). A read.
    JsonResp => Vec<Value>
}

impl JsonResp {
    /// Reads the matches of `path` in the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.RESP", key, path).read_only())
    }
}
