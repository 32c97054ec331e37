//! Keys of any type: existence, expiry, names.

use std::time::Duration;

use redis::Value;

use super::{arguments::IntoKeys, decode, millis, some_keys};
use crate::error::{Error, Result};
use crate::frame::Frame;

command! {
    /// `DEL`: deletes keys. The reply is the number of keys that existed.
    ///
    /// ```
    /// use redis_actix::{Command, Del};
    ///
    /// let frame = Del::new(["user:1", "user:2"]).frame();
    /// assert_eq!(frame.args().count(), 3);
    /// assert_eq!(Del::key("user:1").frame().name(), "DEL");
    /// ```
    Del => u64
}

impl Del {
    /// Deletes one key or several, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("DEL"), keys))
    }

    /// Deletes one key.
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("DEL").key(key))
    }
}

command! {
    /// `UNLINK`: like [`Del`], but the server frees the memory in the background, so that it stays responsive for
    /// large values.
    Unlink => u64
}

impl Unlink {
    /// Deletes one key or several, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("UNLINK"), keys))
    }

    /// Deletes one key.
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("UNLINK").key(key))
    }
}

command! {
    /// `EXISTS`: the number of keys that exist; a key given twice counts twice. A read.
    Exists => u64
}

impl Exists {
    /// Checks for one key or several, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("EXISTS"), keys).read_only())
    }

    /// Checks for one key: the reply is 1 or 0.
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("EXISTS").key(key).read_only())
    }
}

/// The conditions that EXPIRE and PEXPIRE share.
macro_rules! expiry_conditions {
    ($name:ident) => {
        impl $name {
            /// Only if the key has no expiry yet. Needs Redis 7.0, like the other conditions.
            pub fn if_no_expiry(self) -> Self {
                self.opt("NX")
            }

            /// Only if the key has an expiry.
            pub fn if_expiry(self) -> Self {
                self.opt("XX")
            }

            /// Only if the new expiry is later; a key without expiry counts as never expiring.
            pub fn if_later(self) -> Self {
                self.opt("GT")
            }

            /// Only if the new expiry is sooner; a key without expiry counts as never expiring.
            pub fn if_sooner(self) -> Self {
                self.opt("LT")
            }
        }
    };
}
pub(super) use expiry_conditions;

command! {
    /// `EXPIRE`: sets an expiry in whole seconds. The reply is `false` if the key does not exist or a condition was
    /// not met.
    Expire => bool
}

impl Expire {
    /// Lets `key` expire after `ttl`, rounded up to whole seconds, at least 1. [`PExpire`] has a resolution of
    /// milliseconds.
    pub fn new(key: impl AsRef<[u8]>, ttl: Duration) -> Self {
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1);
        Self::of(Frame::known("EXPIRE").key(key).arg(seconds))
    }
}

expiry_conditions!(Expire);

command! {
    /// `PEXPIRE`: sets an expiry in milliseconds. The reply is `false` if the key does not exist or a condition was
    /// not met.
    PExpire => bool
}

impl PExpire {
    /// Lets `key` expire after `ttl` (whole milliseconds, at least 1).
    pub fn new(key: impl AsRef<[u8]>, ttl: Duration) -> Self {
        Self::of(Frame::known("PEXPIRE").key(key).arg(millis(ttl)))
    }
}

expiry_conditions!(PExpire);

command! {
    /// `PERSIST`: removes the expiry of a key. The reply is whether there was one.
    Persist => bool
}

impl Persist {
    /// Removes the expiry of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("PERSIST").key(key))
    }
}

/// The time to live of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeToLive {
    /// The key does not exist.
    NoKey,
    /// The key does not expire.
    NoExpiry,
    /// The key expires after this time: whole seconds from [`Ttl`], milliseconds from [`PTtl`].
    Remaining(Duration),
}

impl TimeToLive {
    /// The remaining time, or `None` without a key or an expiry.
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Self::Remaining(left) => Some(left),
            Self::NoKey | Self::NoExpiry => None,
        }
    }
}

fn left(value: Value, unit: fn(u64) -> Duration) -> Result<TimeToLive> {
    match decode::<i64>(value)? {
        -2 => Ok(TimeToLive::NoKey),
        -1 => Ok(TimeToLive::NoExpiry),
        left => match u64::try_from(left) {
            Ok(left) => Ok(TimeToLive::Remaining(unit(left))),
            Err(_) => Err(Error::decode("the server returned a negative time to live")),
        },
    }
}

fn seconds_left(value: Value) -> Result<TimeToLive> {
    left(value, Duration::from_secs)
}

fn millis_left(value: Value) -> Result<TimeToLive> {
    left(value, Duration::from_millis)
}

command! {
    /// `TTL`: the time to live of a key in whole seconds. A read.
    Ttl => TimeToLive, by seconds_left
}

impl Ttl {
    /// Reads the time to live of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TTL").key(key).read_only())
    }
}

command! {
    /// `PTTL`: the time to live of a key in milliseconds. A read.
    PTtl => TimeToLive, by millis_left
}

impl PTtl {
    /// Reads the time to live of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("PTTL").key(key).read_only())
    }
}

/// The type of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// A string; counters, bitmaps and HyperLogLogs are strings too.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set; geospatial indexes are sorted sets too.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// The type of a module, by its own name.
    Module(String),
}

impl KeyType {
    /// The server's name of the type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Module(name) => name,
        }
    }
}

fn key_type(value: Value) -> Result<Option<KeyType>> {
    let name: String = decode(value)?;
    Ok(match name.as_str() {
        "none" => None,
        "string" => Some(KeyType::String),
        "list" => Some(KeyType::List),
        "set" => Some(KeyType::Set),
        "zset" => Some(KeyType::SortedSet),
        "hash" => Some(KeyType::Hash),
        "stream" => Some(KeyType::Stream),
        _ => Some(KeyType::Module(name)),
    })
}

command! {
    /// `TYPE`: the type of a key, or `None` if the key does not exist. A read.
    Type => Option<KeyType>, by key_type
}

impl Type {
    /// Reads the type of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TYPE").key(key).read_only())
    }
}

command! {
    /// `RENAME`: renames a key. The server replies with an error if the key does not exist.
    Rename => ()
}

impl Rename {
    /// Renames `from` to `to`, and overwrites `to`. In a cluster both must be in one slot.
    pub fn new(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("RENAME").key(from).key(to))
    }
}

command! {
    /// `COPY`: copies a value to another key. The reply is `false` if the source does not exist or the destination
    /// exists. Needs Redis 6.2.
    ///
    /// The prelude does not export this name, because it would hide the standard library's `Copy`.
    Copy => bool
}

impl Copy {
    /// Copies `from` to `to`. In a cluster both must be in one slot.
    pub fn new(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("COPY").key(from).key(to))
    }

    /// Overwrites the destination.
    pub fn replace(mut self) -> Self {
        self.frame = self.frame.arg("REPLACE");
        self
    }
}
