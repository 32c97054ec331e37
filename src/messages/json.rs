//! JSON documents: the module RedisJSON, part of Redis since version 8.0.
//!
//! A path is a JSONPath that begins with `$`, the document itself. It can match several values, so most replies have
//! one element per match, `None` where the match has another type than the command needs.

use redis::{FromRedisValue, Value};
use serde::Serialize;

use super::values::Json;
use super::{arguments::IntoKeys, at_least_one, decode, shape, some_keys};
use crate::error::Result;
use crate::frame::Frame;

mod arrays;
mod values;

pub use arrays::{JsonArrAppend, JsonArrIndex, JsonArrInsert, JsonArrLen, JsonArrPop, JsonArrTrim};
pub use values::{
    JsonClear, JsonMemory, JsonNumIncrBy, JsonNumMultBy, JsonNumPowBy, JsonObjKeys, JsonObjLen, JsonResp,
    JsonStrAppend, JsonStrLen, JsonToggle, JsonType,
};

const NO_PATH: &str = "a path begins with `$`, the whole document: write `$.name` for the member `name`";
const NOT_JSON: &str =
    "the value cannot be written as JSON: numbers must be finite, and the names of maps must be text";

/// Adds a path.
fn add_path(frame: Frame, path: impl AsRef<str>) -> Frame {
    let path = path.as_ref();
    let frame = frame.arg(path);
    if path.starts_with('$') { frame } else { frame.invalid(NO_PATH) }
}

/// Adds a value as JSON.
pub(super) fn as_json(frame: Frame, value: &(impl Serialize + ?Sized)) -> Frame {
    match Json::new(value) {
        Ok(json) => frame.arg(json),
        Err(_) => frame.invalid(NOT_JSON),
    }
}

/// The type in which a homogeneous array of numbers is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FloatType {
    /// Half precision.
    Fp16,
    /// The upper half of single precision.
    Bf16,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
}

command! {
    /// `JSON.SET`: writes a document, or the values at a path. The reply is whether a value was written: `false` if a
    /// condition was not met, or if the path has no parent to create it in.
    ///
    /// ```
    /// use redis_actix::Command;
    /// use redis_actix::commands::json::{JsonGet, JsonNumIncrBy, JsonSet};
    /// use redis_actix::Json;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct User {
    ///     name: String,
    ///     visits: u32,
    /// }
    ///
    /// let user = User { name: "ada".into(), visits: 0 };
    /// let create = JsonSet::new("user:1", "$", &user).if_absent();
    /// let visit = JsonNumIncrBy::<u32>::new("user:1", "$.visits", 1);
    /// let whole = JsonGet::<Json<User>>::new("user:1");
    /// // A path may match several values, so its reply is a list.
    /// let name = JsonGet::<Json<Vec<String>>>::new("user:1").path("$.name");
    /// assert!(create.frame().args().eq(["JSON.SET", "user:1", "$", r#"{"name":"ada","visits":0}"#, "NX"].map(str::as_bytes)));
    /// ```
    JsonSet => bool, by was_written
}

fn was_written(value: Value) -> Result<bool> {
    Ok(value != Value::Nil)
}

impl JsonSet {
    /// Writes `value` at `path` of the document at `key`. A new document is written at `$`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, value: &(impl Serialize + ?Sized)) -> Self {
        Self::of(as_json(add_path(Frame::known("JSON.SET").key(key), path), value))
    }

    fn condition(mut self, word: &'static str, other: &[u8]) -> Self {
        let has_other = self.frame.args().skip(4).any(|arg| arg == other);
        self.frame = self.frame.arg(word);
        if has_other {
            self.frame = self.frame.invalid("if_absent() and if_present() exclude each other: remove one of the two");
        }
        self
    }

    /// Only writes what does not exist.
    pub fn if_absent(self) -> Self {
        self.condition("NX", b"XX")
    }

    /// Only writes what exists.
    pub fn if_present(self) -> Self {
        self.condition("XX", b"NX")
    }

    /// Stores arrays of numbers as numbers of one type (`FPHA`). Needs Redis 8.8.
    pub fn float_arrays(mut self, of: FloatType) -> Self {
        let word = match of {
            FloatType::Fp16 => "FP16",
            FloatType::Bf16 => "BF16",
            FloatType::Fp32 => "FP32",
            FloatType::Fp64 => "FP64",
        };
        self.frame = self.frame.arg("FPHA").arg(word);
        self
    }
}

command! {
    /// `JSON.GET`: a document, or the values at paths, as JSON text; `None` if the key does not exist. A read.
    ///
    /// Without a path the reply is the document. With one path it is an array of the matches. With several it is an
    /// object from the path to its matches. [`Json`] decodes all of these.
    JsonGet<T = String> => Option<T>
}

impl<T> JsonGet<T> {
    /// Reads the document at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("JSON.GET").key(key).read_only())
    }

    /// Reads the matches of a path. May be called several times.
    pub fn path(mut self, path: impl AsRef<str>) -> Self {
        self.frame = add_path(self.frame, path);
        self
    }

    /// Formats the text with this indentation, line end and space after a colon. Call it before [`path`](Self::path).
    pub fn format(mut self, indent: &str, newline: &str, space: &str) -> Self {
        let is_late = self.frame.len() > 2;
        self.frame = self.frame.arg("INDENT").arg(indent).arg("NEWLINE").arg(newline).arg("SPACE").arg(space);
        if is_late {
            self.frame = self.frame.invalid("format() must be called once, before path()");
        }
        self
    }
}

command! {
    /// `JSON.MGET`: the matches of one path in several documents, `None` for each key that does not exist. A read. In
    /// a cluster all keys must be in one slot.
    JsonMGet<T = String> => Vec<Option<T>>
}

impl<T> JsonMGet<T> {
    /// Reads the matches of `path` in the documents at `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>, path: impl AsRef<str>) -> Self {
        Self::of(add_path(some_keys(Frame::known("JSON.MGET"), keys), path).read_only())
    }
}

command! {
    /// `JSON.MSET`: writes values of several documents, all or none. In a cluster all keys must be in one slot.
    JsonMSet => ()
}

impl JsonMSet {
    /// Writes the values of key, path and value, at least one.
    pub fn new<K: AsRef<[u8]>, P: AsRef<str>, V: Serialize>(values: impl IntoIterator<Item = (K, P, V)>) -> Self {
        Self::of(at_least_one(Frame::known("JSON.MSET"), "needs at least one key with its path and value", |frame| {
            values.into_iter().fold(frame, |frame, (key, path, value)| as_json(add_path(frame.key(key), path), &value))
        }))
    }
}

command! {
    /// `JSON.MERGE`: merges a value into the matches of a path: members are added or replaced, and removed where the
    /// value is null.
    JsonMerge => ()
}

impl JsonMerge {
    /// Merges `value` into `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, value: &(impl Serialize + ?Sized)) -> Self {
        Self::of(as_json(add_path(Frame::known("JSON.MERGE").key(key), path), value))
    }
}

command! {
    /// `JSON.DEL`: removes the matches of a path, or the whole document. The reply is the number of removed values.
    JsonDel => u64
}

impl JsonDel {
    /// Removes the matches of `path` in the document at `key`; `$` removes the document.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(add_path(Frame::known("JSON.DEL").key(key), path))
    }
}

/// The matches of a path in replies of numbers: JSON text in RESP2, an array in RESP3.
fn numbers<T: FromRedisValue>(value: Value) -> Result<Vec<Option<T>>> {
    let text = match value {
        Value::Array(_) | Value::Set(_) => return decode(value),
        other => shape::bytes(other)?,
    };
    let numbers: Vec<Option<serde_json::Number>> = serde_json::from_slice(&text).map_err(|_| shape::unexpected())?;
    let one = |number: serde_json::Number| decode(Value::BulkString(number.to_string().into_bytes()));
    numbers.into_iter().map(|number| number.map(one).transpose()).collect()
}
