//! Lists.

use super::{arguments::IntoValues, some_values};
use crate::frame::Frame;

const NO_VALUE: &str = "needs at least one value";

command! {
    /// `LPUSH`: adds values at the head of a list, one after the other. The reply is its new length.
    ///
    /// ```
    /// use redis_actix::{Command, LPush};
    ///
    /// let frame = LPush::new("queue", ["a", "b"]).frame();
    /// assert_eq!(frame.args().last(), Some(&b"b"[..]));
    /// ```
    LPush => u64
}

impl LPush {
    /// Adds `values`, at least one, to the list at `key`. A missing key counts as empty. The last value becomes the
    /// first element.
    pub fn new<M>(key: impl AsRef<[u8]>, values: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("LPUSH").key(key), values, NO_VALUE))
    }
}

command! {
    /// `RPUSH`: adds values at the tail of a list. The reply is its new length.
    RPush => u64
}

impl RPush {
    /// Adds `values`, at least one, to the list at `key`. A missing key counts as empty.
    pub fn new<M>(key: impl AsRef<[u8]>, values: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("RPUSH").key(key), values, NO_VALUE))
    }
}

command! {
    /// `LPOP`: takes the first value of a list, or `None` if it is empty or does not exist.
    LPop<T> => Option<T>
}

impl<T> LPop<T> {
    /// Takes from the head of the list at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("LPOP").key(key))
    }

    /// Takes up to `count` values. Needs Redis 6.2.
    pub fn count(self, count: u64) -> LPopMany<T> {
        LPopMany::of(self.frame.arg(count))
    }
}

command! {
    /// `LPOP` with a count: takes the first values of a list; empty if the list is empty or does not exist. Created
    /// by [`LPop::count`].
    LPopMany<T> => Vec<T>
}

command! {
    /// `RPOP`: takes the last value of a list, or `None` if it is empty or does not exist.
    RPop<T> => Option<T>
}

impl<T> RPop<T> {
    /// Takes from the tail of the list at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("RPOP").key(key))
    }

    /// Takes up to `count` values, the last one first. Needs Redis 6.2.
    pub fn count(self, count: u64) -> RPopMany<T> {
        RPopMany::of(self.frame.arg(count))
    }
}

command! {
    /// `RPOP` with a count: takes the last values of a list; empty if the list is empty or does not exist. Created by
    /// [`RPop::count`].
    RPopMany<T> => Vec<T>
}

command! {
    /// `LRANGE`: the values between two positions; empty if there are none or the key does not exist. A read.
    LRange<T> => Vec<T>
}

impl<T> LRange<T> {
    /// Reads from position `start` to `stop`, both included; 0 is the first, -1 the last.
    pub fn new(key: impl AsRef<[u8]>, start: i64, stop: i64) -> Self {
        Self::of(Frame::known("LRANGE").key(key).arg(start).arg(stop).read_only())
    }
}

command! {
    /// `LLEN`: the length of a list, 0 if the key does not exist. A read.
    LLen => u64
}

impl LLen {
    /// Reads the length of the list at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("LLEN").key(key).read_only())
    }
}
