//! Strings and counters.

use std::time::Duration;

use redis::{ToSingleRedisArg, Value};

use super::decode;
use crate::error::Result;
use crate::frame::Frame;

command! {
    /// `GET`: the value of a key, or `None`.
    Get<T> => Option<T>
}

impl<T> Get<T> {
    /// Reads `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::new("GET").key(key).read_only())
    }
}

command! {
    /// `SET`: writes a value; the reply is whether it was written, always true without a condition.
    Set => bool, by written
}

impl Set {
    /// Writes `value` to `key`, whatever was there before.
    pub fn new(key: impl AsRef<[u8]>, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::new("SET").key(key).arg(value))
    }

    fn with(mut self, option: impl redis::ToRedisArgs) -> Self {
        self.frame = self.frame.arg(option);
        self
    }

    /// Lets the key expire after `ttl` (whole milliseconds, at least 1).
    pub fn expire(self, ttl: Duration) -> Self {
        self.with(("PX", super::millis(ttl)))
    }

    /// Keeps the time to live that the key has.
    pub fn keep_ttl(self) -> Self {
        self.with("KEEPTTL")
    }

    /// Writes only if the key does not exist.
    pub fn if_absent(self) -> Self {
        self.with("NX")
    }

    /// Writes only if the key exists.
    pub fn if_present(self) -> Self {
        self.with("XX")
    }

    /// Also reads the value that was there before.
    pub fn get<T>(self) -> SetGet<T> {
        SetGet::of(self.frame.arg("GET"))
    }
}

fn written(value: Value) -> Result<bool> {
    match value {
        Value::Nil => Ok(false),
        Value::Okay => Ok(true),
        other => decode(other),
    }
}

command! {
    /// `SET .. GET`: writes a value and answers what was there before.
    SetGet<T> => Option<T>
}

command! {
    /// `INCR`: adds 1 to an integer; the reply is the new value.
    Incr => i64
}

impl Incr {
    /// Adds 1 to `key`, which counts as 0 while it does not exist.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::new("INCR").key(key))
    }
}
