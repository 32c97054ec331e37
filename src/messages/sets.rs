//! Sets.

use redis::ToSingleRedisArg;

use super::{
    arguments::{IntoKeys, IntoValues},
    counted_keys, some_values,
};
use crate::frame::Frame;

const NO_MEMBER: &str = "needs at least one member";

command! {
    /// `SADD`: adds members to a set. The reply is the number of new members.
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
    /// Adds `members`, at least one, to the set at `key`. A missing key counts as empty.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("SADD").key(key), members, NO_MEMBER))
    }
}

command! {
    /// `SREM`: removes members from a set. The reply is the number of members that were in it.
    SRem => u64
}

impl SRem {
    /// Removes `members`, at least one, from the set at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("SREM").key(key), members, NO_MEMBER))
    }
}

command! {
    /// `SMEMBERS`: all members of a set, unordered; empty if the key does not exist. A read.
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
    /// Checks for `member` in the set at `key`.
    pub fn new(key: impl AsRef<[u8]>, member: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("SISMEMBER").key(key).arg(member).read_only())
    }
}

command! {
    /// `SCARD`: the number of members of a set, 0 if the key does not exist. A read.
    SCard => u64
}

impl SCard {
    /// Counts the members of the set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SCARD").key(key).read_only())
    }
}

command! {
    /// `SINTERCARD`: the number of members that all of several sets have. A read. Needs Redis 7.0.
    SInterCard => u64
}

impl SInterCard {
    /// Counts the common members of the sets at `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(counted_keys(Frame::known("SINTERCARD"), keys).read_only())
    }

    /// Stops counting at `members`. 0 is unlimited.
    pub fn limit(mut self, members: u64) -> Self {
        self.frame = self.frame.arg("LIMIT").arg(members);
        self
    }
}
