//! Strings and counters.

use std::time::{Duration, SystemTime};

use redis::{ToSingleRedisArg, Value};

use super::{Chosen, arguments::IntoKeys, at_least_one, choose, decode, millis, some_keys, unix_millis};
use crate::error::Result;
use crate::frame::Frame;

command! {
    /// `GET`: the value of a key, or `None` if the key does not exist. A read.
    Get<T> => Option<T>
}

impl<T> Get<T> {
    /// Reads `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("GET").key(key).read_only())
    }
}

command! {
    /// `GETDEL`: reads and deletes the value of a key; `None` if the key does not exist. It does not count as a read:
    /// a retry after a lost reply would return `None` for a value that it deleted.
    GetDel<T> => Option<T>
}

impl<T> GetDel<T> {
    /// Reads and deletes `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("GETDEL").key(key))
    }
}

command! {
    /// `SET`: writes a value. The reply is whether it was written, always `true` without a condition.
    ///
    /// Without [`keep_ttl`](Self::keep_ttl) or a new expiry the key no longer expires. A second expiry or a
    /// second condition is refused.
    ///
    /// ```
    /// use redis_actix::{Command, Set};
    /// use std::time::Duration;
    ///
    /// let frame = Set::new("user:1", "ada").expire(Duration::from_secs(60)).if_absent().frame();
    /// let words: Vec<&[u8]> = frame.args().collect();
    /// assert_eq!(words, [&b"SET"[..], b"user:1", b"ada", b"PX", b"60000", b"NX"]);
    /// ```
    Set, rest Chosen => bool, by written
}

impl Set {
    /// Writes `value` to `key`, and overwrites a value of any type.
    pub fn new(key: impl AsRef<[u8]>, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("SET").key(key).arg(value))
    }

    fn expiry(mut self, by: &'static str, words: impl redis::ToRedisArgs) -> Self {
        self.frame = choose(&mut self.rest.expiry, by, self.frame, words);
        self
    }

    fn condition(mut self, by: &'static str, words: impl redis::ToRedisArgs) -> Self {
        self.frame = choose(&mut self.rest.condition, by, self.frame, words);
        self
    }

    /// Lets the key expire after `ttl` (whole milliseconds, at least 1).
    pub fn expire(self, ttl: Duration) -> Self {
        self.expiry("expire()", ("PX", millis(ttl)))
    }

    /// Lets the key expire at `at` (whole milliseconds, by the server's clock). A time in the past deletes the key
    /// immediately. Needs Redis 6.2.
    pub fn expire_at(self, at: SystemTime) -> Self {
        self.expiry("expire_at()", ("PXAT", unix_millis(at).max(1)))
    }

    /// Keeps the current time to live of the key.
    pub fn keep_ttl(self) -> Self {
        self.expiry("keep_ttl()", "KEEPTTL")
    }

    /// Writes only if the key does not exist.
    pub fn if_absent(self) -> Self {
        self.condition("if_absent()", "NX")
    }

    /// Writes only if the key exists.
    pub fn if_present(self) -> Self {
        self.condition("if_present()", "XX")
    }

    /// Writes only if the current value is `value`. Needs Redis 8.4 or Valkey 8.1.
    pub fn if_eq(self, value: impl ToSingleRedisArg) -> Self {
        self.condition("if_eq()", ("IFEQ", value))
    }

    /// Writes only if the key does not exist or its value is not `value`. Needs Redis 8.4.
    pub fn if_ne(self, value: impl ToSingleRedisArg) -> Self {
        self.condition("if_ne()", ("IFNE", value))
    }

    /// Writes only if the [`Digest`](super::strings_conditions::Digest) of the current value is `digest`. Needs Redis 8.4.
    pub fn if_digest_eq(self, digest: &str) -> Self {
        self.condition("if_digest_eq()", ("IFDEQ", digest))
    }

    /// Writes only if the key does not exist or the [`Digest`](super::strings_conditions::Digest) of its value is not
    /// `digest`. Needs Redis 8.4.
    pub fn if_digest_ne(self, digest: &str) -> Self {
        self.condition("if_digest_ne()", ("IFDNE", digest))
    }

    /// Also returns the previous value, or `None` if there was none. Together with [`if_absent`](Self::if_absent) it
    /// needs Redis 7.0, and `None` means that the value was written.
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
    /// `SET .. GET`: writes a value and returns the previous one; created by [`Set::get`].
    SetGet<T> => Option<T>
}

command! {
    /// `INCR`: adds 1 to an integer. The reply is the new value.
    Incr => i64
}

impl Incr {
    /// Adds 1 to `key`. A missing key counts as 0.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("INCR").key(key))
    }
}

command! {
    /// `INCRBY`: adds to an integer. The reply is the new value.
    IncrBy => i64
}

impl IncrBy {
    /// Adds `by` to `key`. A missing key counts as 0.
    pub fn new(key: impl AsRef<[u8]>, by: i64) -> Self {
        Self::of(Frame::known("INCRBY").key(key).arg(by))
    }
}

command! {
    /// `DECR`: subtracts 1 from an integer. The reply is the new value.
    Decr => i64
}

impl Decr {
    /// Subtracts 1 from `key`. A missing key counts as 0.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("DECR").key(key))
    }
}

command! {
    /// `DECRBY`: subtracts from an integer. The reply is the new value.
    DecrBy => i64
}

impl DecrBy {
    /// Subtracts `by` from `key`. A missing key counts as 0. The server refuses `i64::MIN`.
    pub fn new(key: impl AsRef<[u8]>, by: i64) -> Self {
        Self::of(Frame::known("DECRBY").key(key).arg(by))
    }
}

command! {
    /// `APPEND`: writes to the end of a string. The reply is the new length in bytes.
    Append => u64
}

impl Append {
    /// Appends `value` to `key`. A missing key counts as empty.
    pub fn new(key: impl AsRef<[u8]>, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("APPEND").key(key).arg(value))
    }
}

command! {
    /// `STRLEN`: the length of a string in bytes, 0 if the key does not exist. A read.
    StrLen => u64
}

impl StrLen {
    /// Reads the length of the value of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("STRLEN").key(key).read_only())
    }
}

command! {
    /// `MGET`: the values of several keys in order, `None` for each that does not exist or is not a string. A read.
    MGet<T> => Vec<Option<T>>
}

impl<T> MGet<T> {
    /// Reads `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("MGET"), keys).read_only())
    }
}

command! {
    /// `MSET`: writes several values atomically.
    MSet => ()
}

impl MSet {
    /// Writes each value, at least one, to its key, and overwrites existing values.
    pub fn new<K: AsRef<[u8]>, V: ToSingleRedisArg>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::of(at_least_one(Frame::known("MSET"), "needs at least one key with its value", |frame| {
            pairs.into_iter().fold(frame, |frame, (key, value)| frame.key(key).arg(value))
        }))
    }
}
