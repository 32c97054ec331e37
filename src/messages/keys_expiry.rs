//! Expiry at a point in time.

use std::time::{Duration, SystemTime};

use redis::Value;

use super::keys::expiry_conditions;
use super::{decode, unix_millis};
use crate::error::{Error, Result};
use crate::frame::Frame;

command! {
    /// `EXPIREAT`: sets the time of the expiry in whole seconds. The reply is `false` if the key does not exist or a
    /// condition was not met.
    ExpireAt => bool
}

impl ExpireAt {
    /// Lets `key` expire at `at`, rounded up to whole seconds, by the server's clock. A time in the past deletes the key.
    pub fn new(key: impl AsRef<[u8]>, at: SystemTime) -> Self {
        Self::of(Frame::known("EXPIREAT").key(key).arg(unix_millis(at).div_ceil(1000)))
    }
}

expiry_conditions!(ExpireAt);

command! {
    /// `PEXPIREAT`: sets the time of the expiry in milliseconds. The reply is `false` if the key does not exist or a
    /// condition was not met.
    PExpireAt => bool
}

impl PExpireAt {
    /// Lets `key` expire at `at` (whole milliseconds, by the server's clock). A time in the past deletes the key.
    pub fn new(key: impl AsRef<[u8]>, at: SystemTime) -> Self {
        Self::of(Frame::known("PEXPIREAT").key(key).arg(unix_millis(at)))
    }
}

expiry_conditions!(PExpireAt);

/// The time at which a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpiresAt {
    /// The key, or the field of a hash, does not exist.
    Missing,
    /// It does not expire.
    Never,
    /// It expires at this time by the server's clock.
    At(SystemTime),
}

pub(super) fn expires_at(value: Value, unit: fn(u64) -> Duration) -> Result<ExpiresAt> {
    match decode::<i64>(value)? {
        -2 => Ok(ExpiresAt::Missing),
        -1 => Ok(ExpiresAt::Never),
        since => u64::try_from(since)
            .ok()
            .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(unit(since)))
            .map(ExpiresAt::At)
            .ok_or_else(|| Error::decode("the server returned a time before 1970 or too far in the future")),
    }
}

fn at_seconds(value: Value) -> Result<ExpiresAt> {
    expires_at(value, Duration::from_secs)
}

fn at_millis(value: Value) -> Result<ExpiresAt> {
    expires_at(value, Duration::from_millis)
}

command! {
    /// `EXPIRETIME`: the time at which a key expires, in whole seconds. A read. Needs Redis 7.0.
    ExpireTime => ExpiresAt, by at_seconds
}

impl ExpireTime {
    /// Reads the expiry of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("EXPIRETIME").key(key).read_only())
    }
}

command! {
    /// `PEXPIRETIME`: the time at which a key expires, in milliseconds. A read. Needs Redis 7.0.
    PExpireTime => ExpiresAt, by at_millis
}

impl PExpireTime {
    /// Reads the expiry of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("PEXPIRETIME").key(key).read_only())
    }
}
