//! Names, values and numbers in hashes.

use redis::{FromRedisValue, ToSingleRedisArg};

use crate::frame::Frame;

command! {
    /// `HSETNX`: writes a field if it does not exist. The reply is whether it was written.
    HSetNx => bool
}

impl HSetNx {
    /// Writes `field` of the hash at `key`. A missing key counts as empty.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("HSETNX").key(key).arg(field).arg(value))
    }
}

command! {
    /// `HKEYS`: the names of all fields, unordered; empty if the key does not exist. A read.
    HKeys<T> => Vec<T>
}

impl<T> HKeys<T> {
    /// Reads the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HKEYS").key(key).read_only())
    }
}

command! {
    /// `HVALS`: the values of all fields, unordered; empty if the key does not exist. A read.
    HVals<T> => Vec<T>
}

impl<T> HVals<T> {
    /// Reads the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HVALS").key(key).read_only())
    }
}

command! {
    /// `HSTRLEN`: the length of the value of a field in bytes, 0 if it does not exist. A read.
    HStrLen => u64
}

impl HStrLen {
    /// Measures `field` of the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("HSTRLEN").key(key).arg(field).read_only())
    }
}

command! {
    /// `HINCRBYFLOAT`: adds to a number in a field. The reply is the new value.
    HIncrByFloat => f64
}

impl HIncrByFloat {
    /// Adds `by` to `field` of the hash at `key`. A missing field counts as 0.
    pub fn new(key: impl AsRef<[u8]>, field: impl ToSingleRedisArg, by: f64) -> Self {
        let frame = Frame::known("HINCRBYFLOAT").key(key).arg(field);
        Self::of(if by.is_finite() { frame.arg(by) } else { frame.invalid("the increment is not finite") })
    }
}

command! {
    /// `HRANDFIELD`: a random field, or `None` if the key does not exist. A read. Needs Redis 6.2.
    HRandField<T> => Option<T>
}

impl<T> HRandField<T> {
    /// Reads the hash at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HRANDFIELD").key(key).read_only())
    }

    /// Reads up to `fields` different fields.
    pub fn count(self, fields: u64) -> HRandFields<T> {
        HRandFields::of(self.frame.arg(fields))
    }

    /// Reads exactly `fields` fields, in which a field may occur several times.
    pub fn count_repeated(self, fields: u64) -> HRandFields<T> {
        HRandFields::of(super::negative(self.frame, fields))
    }
}

command! {
    /// `HRANDFIELD` with a count: random fields. Created by [`HRandField::count`].
    HRandFields<T> => Vec<T>
}

impl<T> HRandFields<T> {
    /// Reads each field with its value of type `V`.
    pub fn with_values<V>(self) -> HRandFields<(T, V)>
    where
        (T, V): FromRedisValue,
    {
        HRandFields::of(self.frame.arg("WITHVALUES"))
    }
}
