//! Sets.

use redis::ToSingleRedisArg;

use super::some_values;
use crate::frame::Frame;

const NO_MEMBER: &str = "needs at least one member";

command! {
    /// `SADD`: adds members to a set; the reply is how many of them are new.
    ///
    /// ```
    /// use redis_actix::{Command, SAdd};
    ///
    /// let frame = SAdd::new("tags", ["new", "urgent"]).frame();
    /// assert_eq!(frame.args().count(), 4);
    /// ```
    SAdd => u64
}

impl SAdd {
    /// Adds `members`, at least one, to the set at `key`, which counts as empty while it does not exist.
    /// One member of bytes is `[bytes]`.
    pub fn new<M: ToSingleRedisArg>(key: impl AsRef<[u8]>, members: impl IntoIterator<Item = M>) -> Self {
        Self::of(some_values(Frame::known("SADD").key(key), members, NO_MEMBER))
    }
}

command! {
    /// `SREM`: removes members from a set; the reply is how many of them were in it.
    SRem => u64
}

impl SRem {
    /// Removes `members`, at least one, from the set at `key`. One member of bytes is `[bytes]`.
    pub fn new<M: ToSingleRedisArg>(key: impl AsRef<[u8]>, members: impl IntoIterator<Item = M>) -> Self {
        Self::of(some_values(Frame::known("SREM").key(key), members, NO_MEMBER))
    }
}

command! {
    /// `SMEMBERS`: all members of a set in no order, none when there is no such key. A read.
    SMembers<T> => Vec<T>
}

impl<T> SMembers<T> {
    /// Reads the set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SMEMBERS").key(key).read_only())
    }
}

command! {
    /// `SISMEMBER`: whether a set has a member. A read.
    SIsMember => bool
}

impl SIsMember {
    /// Looks for `member` in the set at `key`.
    pub fn new(key: impl AsRef<[u8]>, member: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("SISMEMBER").key(key).arg(member).read_only())
    }
}

command! {
    /// `SCARD`: how many members a set has, 0 when there is no such key. A read.
    SCard => u64
}

impl SCard {
    /// Counts the members of the set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SCARD").key(key).read_only())
    }
}
