//! Sets: random and moved members, unions, intersections and differences.

use redis::ToSingleRedisArg;

use super::arguments::{IntoKeys, IntoValues};
use super::{counted_keys, some_keys, some_values};
use crate::frame::Frame;

command! {
    /// `SMISMEMBER`: for each of several values whether it is a member, in order. A read. Needs Redis 6.2.
    SMIsMember => Vec<bool>
}

impl SMIsMember {
    /// Checks for `members`, at least one, in the set at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("SMISMEMBER").key(key), members, "needs at least one member").read_only())
    }
}

command! {
    /// `SRANDMEMBER`: a random member, or `None` if the key does not exist. A read.
    SRandMember<T> => Option<T>
}

impl<T> SRandMember<T> {
    /// Reads the set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SRANDMEMBER").key(key).read_only())
    }

    /// Reads up to `members` different members.
    pub fn count(self, members: u64) -> SRandMembers<T> {
        SRandMembers::of(self.frame.arg(members))
    }

    /// Reads exactly `members` members, in which a member may occur several times.
    pub fn count_repeated(self, members: u64) -> SRandMembers<T> {
        SRandMembers::of(super::negative(self.frame, members))
    }
}

command! {
    /// `SRANDMEMBER` with a count: random members. A read. Created by [`SRandMember::count`].
    SRandMembers<T> => Vec<T>
}

command! {
    /// `SPOP`: takes a random member, or `None` if the key does not exist.
    SPop<T> => Option<T>
}

impl<T> SPop<T> {
    /// Takes from the set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SPOP").key(key))
    }

    /// Takes up to `members` members.
    pub fn count(self, members: u64) -> SPopMany<T> {
        SPopMany::of(self.frame.arg(members))
    }
}

command! {
    /// `SPOP` with a count: takes random members. Created by [`SPop::count`].
    SPopMany<T> => Vec<T>
}

command! {
    /// `SMOVE`: moves a member to another set. The reply is `false` if it was no member of the source.
    SMove => bool
}

impl SMove {
    /// Moves `member` from the set at `source` to that at `destination`. In a cluster both must be in one slot.
    pub fn new(source: impl AsRef<[u8]>, destination: impl AsRef<[u8]>, member: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("SMOVE").key(source).key(destination).arg(member))
    }
}

/// A message that combines sets.
macro_rules! combined {
    ($(#[$meta:meta])* $name:ident, $command:literal) => {
        command! {
            $(#[$meta])*
            $name<T> => Vec<T>
        }

        impl<T> $name<T> {
            /// Reads the sets at `keys`, at least one. A missing key counts as empty. In a cluster all keys must be in one
            /// slot.
            pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
                Self::of(some_keys(Frame::known($command), keys).read_only())
            }
        }
    };
}

combined! {
    /// `SDIFF`: the members of the first set that are in none of the others. A read.
    SDiff, "SDIFF"
}

combined! {
    /// `SINTER`: the members that all sets have. A read.
    SInter, "SINTER"
}

combined! {
    /// `SUNION`: the members of all sets. A read.
    SUnion, "SUNION"
}

/// A message that combines sets and writes the result.
macro_rules! stored {
    ($(#[$meta:meta])* $name:ident, $command:literal) => {
        command! {
            $(#[$meta])*
            $name => u64
        }

        impl $name {
            /// Combines the sets at `keys`, at least one, and overwrites `destination`. In a cluster all keys must be in one
            /// slot.
            pub fn new<M>(destination: impl AsRef<[u8]>, keys: impl IntoKeys<M>) -> Self {
                Self::of(some_keys(Frame::known($command).key(destination), keys))
            }
        }
    };
}

stored! {
    /// `SDIFFSTORE`: writes the members of the first set that are in none of the others. The reply is their number.
    SDiffStore, "SDIFFSTORE"
}

stored! {
    /// `SINTERSTORE`: writes the members that all sets have. The reply is their number.
    SInterStore, "SINTERSTORE"
}

stored! {
    /// `SUNIONSTORE`: writes the members of all sets. The reply is their number.
    SUnionStore, "SUNIONSTORE"
}

command! {
    /// `SUNIONCARD`: the number of members of all sets together. A read. Needs Redis 8.10.
    SUnionCard => u64
}

impl SUnionCard {
    /// Counts the members of the sets at `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(counted_keys(Frame::known("SUNIONCARD"), keys).read_only())
    }

    /// Estimates the number, which is faster for large sets.
    pub fn approx(self) -> Self {
        self.opt("APPROX")
    }

    /// Stops counting at `members`. 0 is unlimited.
    pub fn limit(self, members: u64) -> Self {
        self.opt(("LIMIT", members))
    }
}

command! {
    /// `SDIFFCARD`: the number of members of the first set that are in none of the others. A read. Needs Redis 8.10.
    SDiffCard => u64
}

impl SDiffCard {
    /// Compares the sets at `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(counted_keys(Frame::known("SDIFFCARD"), keys).read_only())
    }

    /// Stops counting at `members`. 0 is unlimited.
    pub fn limit(self, members: u64) -> Self {
        self.opt(("LIMIT", members))
    }
}
