//! Hashes.

use redis::{FromRedisValue, ToSingleRedisArg, Value};
use serde::Serialize;

use super::{Rest, decode, fields::Fields, some_values};
use crate::error::Result;
use crate::frame::Frame;

const NO_FIELD: &str = "needs at least one field";

/// The fields of HSET, of which there must be at least one when it is sent.
#[derive(Clone, Default)]
struct HashFields(Fields);

impl Rest for HashFields {
    fn finish(self, head: Frame) -> Frame {
        self.0.finish(head, NO_FIELD)
    }
}

command! {
    /// `HSET`: writes fields of a hash; the reply is how many of them are new.
    ///
    /// ```
    /// use redis_actix::{Command, HSet};
    ///
    /// #[derive(serde::Serialize)]
    /// struct User {
    ///     name: &'static str,
    ///     age: u32,
    /// }
    ///
    /// let by_hand = HSet::new("user:1").field("name", "ada").field("age", 36);
    /// let by_serde = HSet::new("user:1").entry(&User { name: "ada", age: 36 })?;
    /// assert!(by_hand.frame().args().eq(by_serde.frame().args()));
    /// # Ok::<(), redis_actix::Error>(())
    /// ```
    HSet, rest HashFields => u64
}

impl HSet {
    /// Writes fields of the hash at `key`, at least one, which counts as empty while it does not exist.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HSET").key(key))
    }

    /// Adds a field with its value.
    pub fn field(mut self, field: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Self {
        self.rest.0.add(field, value);
        self
    }

    /// Adds fields with their values.
    pub fn fields<F: ToSingleRedisArg, V: ToSingleRedisArg>(
        mut self,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Self {
        for (field, value) in fields {
            self.rest.0.add(field, value);
        }
        self
    }

    /// Adds the fields of a struct or a map; [`to_fields`](crate::to_fields) says how they are written.
    /// Fields that are `None` are left out, so what the hash has for them stays: remove it with [`HDel`].
    ///
    /// # Errors
    /// When `value` cannot be written as fields.
    pub fn entry<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self> {
        self.rest.0.entry(value)?;
        Ok(self)
    }
}

command! {
    /// `HGET`: the value of a field, or `None` when there is no such key or field. A read.
    HGet<T> => Option<T>
}

impl<T> HGet<T> {
    /// Reads `field` of the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("HGET").key(key).arg(field).read_only())
    }
}

command! {
    /// `HGETALL`: a whole hash, as a `HashMap`, a `BTreeMap`, a `Vec` of pairs, or as a struct by
    /// [`Struct<T>`](crate::Struct). A read.
    ///
    /// When there is no such key, maps are empty and `Option<Struct<T>>` is `None`; a plain `Struct<T>`
    /// fails for its missing fields.
    HGetAll<T> => T, by all_fields
}

impl<T> HGetAll<T> {
    /// Reads the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HGETALL").key(key).read_only())
    }
}

fn all_fields<T: FromRedisValue>(value: Value) -> Result<T> {
    // The server does not tell a missing hash from an empty one, as no hash can be empty. Nil lets each
    // reply type say what missing is: an empty map, or None.
    match value {
        Value::Array(items) if items.is_empty() => decode(Value::Nil),
        Value::Map(pairs) if pairs.is_empty() => decode(Value::Nil),
        other => decode(other),
    }
}

command! {
    /// `HMGET`: the values of several fields in their order, nil for each that does not exist. A read.
    ///
    /// `T` is the whole reply: `Vec<Option<String>>`, or a tuple such as `(String, Option<u64>)` for
    /// fields of different types.
    HMGet<T> => T
}

impl<T> HMGet<T> {
    /// Reads `fields`, at least one, of the hash at `key`.
    pub fn new<F: ToSingleRedisArg>(key: impl AsRef<[u8]>, fields: impl IntoIterator<Item = F>) -> Self {
        Self::of(some_values(Frame::known("HMGET").key(key), fields, NO_FIELD).read_only())
    }
}

command! {
    /// `HDEL`: removes fields of a hash; the reply is how many of them existed.
    HDel => u64
}

impl HDel {
    /// Removes `fields`, at least one, from the hash at `key`.
    pub fn new<F: ToSingleRedisArg>(key: impl AsRef<[u8]>, fields: impl IntoIterator<Item = F>) -> Self {
        Self::of(some_values(Frame::known("HDEL").key(key), fields, NO_FIELD))
    }
}

command! {
    /// `HINCRBY`: adds to an integer in a field; the reply is the new value.
    HIncrBy => i64
}

impl HIncrBy {
    /// Adds `by` to `field` of the hash at `key`, which counts as 0 while it does not exist.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg, by: i64) -> Self {
        Self::of(Frame::known("HINCRBY").key(key).arg(field).arg(by))
    }
}

command! {
    /// `HEXISTS`: whether a hash has a field. A read.
    HExists => bool
}

impl HExists {
    /// Looks for `field` in the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("HEXISTS").key(key).arg(field).read_only())
    }
}

command! {
    /// `HLEN`: how many fields a hash has, 0 when there is no such key. A read.
    HLen => u64
}

impl HLen {
    /// Counts the fields of the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HLEN").key(key).read_only())
    }
}
