//! Keys of any type: existence, expiry, names.

use std::time::Duration;

use redis::Value;

use super::{decode, millis, some_keys};
use crate::error::{Error, Result};
use crate::frame::Frame;

command! {
    /// `DEL`: deletes keys; the reply is how many of them existed.
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
    /// Deletes `keys`, at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self::of(some_keys(Frame::known("DEL"), keys))
    }

    /// Deletes one key.
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("DEL").key(key))
    }
}

command! {
    /// `UNLINK`: as [`Del`], but the server frees the memory in the background, which keeps it responsive
    /// when the values are large.
    Unlink => u64
}

impl Unlink {
    /// Deletes `keys`, at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self::of(some_keys(Frame::known("UNLINK"), keys))
    }

    /// Deletes one key.
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("UNLINK").key(key))
    }
}

command! {
    /// `EXISTS`: how many of the keys exist; a key named twice counts twice. A read.
    Exists => u64
}

impl Exists {
    /// Looks for `keys`, at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self::of(some_keys(Frame::known("EXISTS"), keys).read_only())
    }

    /// Looks for one key: the reply is 1 or 0.
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("EXISTS").key(key).read_only())
    }
}

/// The conditions that EXPIRE and PEXPIRE share.
macro_rules! expiry_conditions {
    ($name:ident) => {
        impl $name {
            fn with(mut self, condition: &str) -> Self {
                self.frame = self.frame.arg(condition);
                self
            }

            /// Only if the key has no expiry yet. Needs Redis 7.0, as the other conditions do.
            pub fn if_no_expiry(self) -> Self {
                self.with("NX")
            }

            /// Only if the key has an expiry.
            pub fn if_expiry(self) -> Self {
                self.with("XX")
            }

            /// Only if the key then expires later than before; a key without expiry counts as expiring never.
            pub fn if_later(self) -> Self {
                self.with("GT")
            }

            /// Only if the key then expires sooner than before; a key without expiry counts as expiring never.
            pub fn if_sooner(self) -> Self {
                self.with("LT")
            }
        }
    };
}

command! {
    /// `EXPIRE`: lets a key expire, in whole seconds; the reply is whether it was set, false when there is
    /// no such key or a condition did not hold.
    Expire => bool
}

impl Expire {
    /// Lets `key` expire after `ttl`, rounded up to whole seconds, at least 1; [`PExpire`] is finer.
    pub fn new(key: impl AsRef<[u8]>, ttl: Duration) -> Self {
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1);
        Self::of(Frame::known("EXPIRE").key(key).arg(seconds))
    }
}

expiry_conditions!(Expire);

command! {
    /// `PEXPIRE`: lets a key expire, in milliseconds; the reply is whether it was set, false when there is
    /// no such key or a condition did not hold.
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
    /// `PERSIST`: takes the expiry off a key; the reply is whether there was one.
    Persist => bool
}

impl Persist {
    /// Lets `key` stay until it is deleted.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("PERSIST").key(key))
    }
}

/// How long a key has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeToLive {
    /// There is no such key.
    NoKey,
    /// The key does not expire.
    NoExpiry,
    /// The key expires after that long: whole seconds from [`Ttl`], milliseconds from [`PTtl`].
    Remaining(Duration),
}

impl TimeToLive {
    /// The time that is left, or `None` without a key or an expiry.
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
            Err(_) => Err(Error::decode("the server answered a negative time to live")),
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
    /// `TTL`: how long a key has left, in whole seconds. A read.
    Ttl => TimeToLive, by seconds_left
}

impl Ttl {
    /// Asks how long `key` has left.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TTL").key(key).read_only())
    }
}

command! {
    /// `PTTL`: how long a key has left, in milliseconds. A read.
    PTtl => TimeToLive, by millis_left
}

impl PTtl {
    /// Asks how long `key` has left.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("PTTL").key(key).read_only())
    }
}

/// What is stored at a key.
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
    /// The type of a module, by the name that it gives itself.
    Module(String),
}

impl KeyType {
    /// The server's word for it.
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
    /// `TYPE`: what is stored at a key, or `None` when there is no such key. A read.
    Type => Option<KeyType>, by key_type
}

impl Type {
    /// Asks what `key` is.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TYPE").key(key).read_only())
    }
}

command! {
    /// `RENAME`: gives a key another name. The server answers with an error when there is no such key.
    Rename => ()
}

impl Rename {
    /// Renames `from` to `to`, overwriting what is there. With a cluster both must be in one slot.
    pub fn new(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("RENAME").key(from).key(to))
    }
}

command! {
    /// `COPY`: copies a value to another key; the reply is whether it was copied, false when the source
    /// does not exist or the destination does. Needs Redis 6.2.
    ///
    /// The prelude leaves this name out, because there it would hide the standard library's `Copy`.
    Copy => bool
}

impl Copy {
    /// Copies `from` to `to`. With a cluster both must be in one slot.
    pub fn new(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("COPY").key(from).key(to))
    }

    /// Overwrites what is at the destination.
    pub fn replace(mut self) -> Self {
        self.frame = self.frame.arg("REPLACE");
        self
    }
}
