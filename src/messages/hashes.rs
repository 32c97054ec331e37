//! Hashes.

use redis::{FromRedisValue, ToSingleRedisArg, Value};
use serde::Serialize;

use super::{Rest, arguments::IntoValues, decode, fields::Fields, some_values};
use crate::error::Result;
use crate::frame::Frame;

const NO_FIELD: &str = "needs at least one field";

/// The fields of HSET, at least one when it is sent.
#[derive(Clone, Default)]
struct HashFields(Fields);

impl Rest for HashFields {
    fn finish(self, head: Frame) -> Frame {
        self.0.finish(head, NO_FIELD)
    }
}

command! {
    /// `HSET`: writes fields of a hash. The reply is the number of new fields.
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
    /// Writes fields, at least one, of the hash at `key`. A missing key counts as empty.
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

    /// Adds the fields of a struct or a map; [`to_fields`](crate::to_fields) documents the format. Fields that are
    /// `None` are skipped, so the hash keeps their old values: remove these with [`HDel`].
    ///
    /// # Errors
    /// If `value` cannot be serialized as fields.
    pub fn entry<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self> {
        self.rest.0.entry(value)?;
        Ok(self)
    }
}

command! {
    /// `HGET`: the value of a field, or `None` if the key or the field does not exist. A read.
    HGet<T> => Option<T>
}

impl<T> HGet<T> {
    /// Reads `field` of the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("HGET").key(key).arg(field).read_only())
    }
}

command! {
    /// `HGETALL`: a whole hash, as a `HashMap`, a `BTreeMap`, a `Vec` of pairs, or as a struct with
    /// [`Struct<T>`](crate::Struct). A read.
    ///
    /// If the key does not exist, maps are empty and `Option<Struct<T>>` is `None`; a plain `Struct<T>` fails for its
    /// missing fields.
    HGetAll<T> => T, by all_fields
}

impl<T> HGetAll<T> {
    /// Reads the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HGETALL").key(key).read_only())
    }
}

fn all_fields<T: FromRedisValue>(value: Value) -> Result<T> {
    // The server's reply is the same for a missing and an empty hash, and no hash is empty. Nil lets each reply type
    // represent a missing hash: as an empty map, or as None.
    match value {
        Value::Array(items) if items.is_empty() => decode(Value::Nil),
        Value::Map(pairs) if pairs.is_empty() => decode(Value::Nil),
        other => decode(other),
    }
}

command! {
    /// `HMGET`: the values of several fields in order, nil for each that does not exist. A read.
    ///
    /// `T` is the whole reply: `Vec<Option<String>>`, or a tuple such as `(String, Option<u64>)` for
    /// fields of different types.
    HMGet<T> => T
}

impl<T> HMGet<T> {
    /// Reads `fields`, at least one, of the hash at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, fields: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("HMGET").key(key), fields, NO_FIELD).read_only())
    }
}

command! {
    /// `HDEL`: removes fields of a hash. The reply is the number of fields that existed.
    HDel => u64
}

impl HDel {
    /// Removes `fields`, at least one, from the hash at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, fields: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("HDEL").key(key), fields, NO_FIELD))
    }
}

command! {
    /// `HINCRBY`: adds to an integer in a field. The reply is the new value.
    HIncrBy => i64
}

impl HIncrBy {
    /// Adds `by` to `field` of the hash at `key`. A missing field counts as 0.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg, by: i64) -> Self {
        Self::of(Frame::known("HINCRBY").key(key).arg(field).arg(by))
    }
}

command! {
    /// `HEXISTS`: whether a hash has a field. A read.
    HExists => bool
}

impl HExists {
    /// Checks for `field` in the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("HEXISTS").key(key).arg(field).read_only())
    }
}

command! {
    /// `HLEN`: the number of fields of a hash, 0 if the key does not exist. A read.
    HLen => u64
}

impl HLen {
    /// Counts the fields of the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HLEN").key(key).read_only())
    }
}
