//! Strings with conditions and expiry.

use std::time::{Duration, SystemTime};

use redis::{ToSingleRedisArg, Value};

use super::{Chosen, ChosenThen, at_least_one, choose, decode, millis, unix_millis};
use crate::error::Result;
use crate::frame::Frame;

/// The expiry options of a message, by the field that remembers which one was set.
macro_rules! expiry_options {
    ($name:ident $(<$t:ident>)?, $($slot:ident).+) => {
        impl $(<$t>)? $name $(<$t>)? {
            /// Sets the expiry (whole milliseconds, at least 1).
            pub fn expire(mut self, ttl: Duration) -> Self {
                self.frame = choose(&mut self.$($slot).+, "expire()", self.frame, ("PX", millis(ttl)));
                self
            }

            /// Sets the time of the expiry (whole milliseconds, by the server's clock). A time in the past deletes
            /// immediately.
            pub fn expire_at(mut self, at: SystemTime) -> Self {
                let words = ("PXAT", unix_millis(at).max(1));
                self.frame = choose(&mut self.$($slot).+, "expire_at()", self.frame, words);
                self
            }
        }
    };
}
pub(super) use expiry_options;

command! {
    /// `GETEX`: the value of a key, or `None` if the key does not exist; sets or removes its expiry. Needs Redis 6.2.
    ///
    /// ```
    /// use redis_actix::{Command, commands::strings::GetEx};
    /// use std::time::Duration;
    ///
    /// let session = GetEx::<String>::new("session:7").expire(Duration::from_secs(1800));
    /// assert_eq!(session.frame().args().count(), 4);
    /// ```
    GetEx<T>, rest Chosen => Option<T>
}

impl<T> GetEx<T> {
    /// Reads `key`. Without an option its expiry does not change.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("GETEX").key(key))
    }

    /// Removes the expiry.
    pub fn persist(mut self) -> Self {
        self.frame = choose(&mut self.rest.expiry, "persist()", self.frame, "PERSIST");
        self
    }
}

expiry_options!(GetEx<T>, rest.expiry);

command! {
    /// `MSETNX`: writes several values, or none if at least one key exists. The reply is whether they were written.
    MSetNx => bool
}

impl MSetNx {
    /// Writes each value, at least one, to its key. In a cluster all keys must be in one slot.
    pub fn new<K: AsRef<[u8]>, V: ToSingleRedisArg>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::of(at_least_one(Frame::known("MSETNX"), "needs at least one key with its value", |frame| {
            pairs.into_iter().fold(frame, |frame, (key, value)| frame.key(key).arg(value))
        }))
    }
}

command! {
    /// `MSETEX`: writes several values with one expiry. The reply is whether they were written, `false` if a condition
    /// was not met. Needs Redis 8.4 or Valkey 9.1.
    MSetEx, rest Chosen => bool
}

impl MSetEx {
    /// Writes each value, at least one, to its key. In a cluster all keys must be in one slot.
    pub fn new<K: AsRef<[u8]>, V: ToSingleRedisArg>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let pairs = at_least_one(Frame::default(), "needs at least one key with its value", |frame| {
            pairs.into_iter().fold(frame, |frame, (key, value)| frame.key(key).arg(value))
        });
        Self::of(Frame::known("MSETEX").arg(pairs.len() / 2).concat(pairs))
    }

    /// Writes only if none of the keys exists.
    pub fn if_absent(mut self) -> Self {
        self.frame = choose(&mut self.rest.condition, "if_absent()", self.frame, "NX");
        self
    }

    /// Writes only if all keys exist.
    pub fn if_present(mut self) -> Self {
        self.frame = choose(&mut self.rest.condition, "if_present()", self.frame, "XX");
        self
    }

    /// Keeps the current expiry of each key.
    pub fn keep_ttl(mut self) -> Self {
        self.frame = choose(&mut self.rest.expiry, "keep_ttl()", self.frame, "KEEPTTL");
        self
    }
}

expiry_options!(MSetEx, rest.expiry);

command! {
    /// `DELEX`: deletes a string if it has an expected value or digest. The reply is whether it was deleted. Needs
    /// Redis 8.4; [`DelIfEq`] is the command of Valkey 9.0.
    DelEx, rest Chosen => bool
}

impl DelEx {
    /// Deletes `key`. Without a condition it deletes a key of any type.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("DELEX").key(key))
    }

    fn condition(mut self, by: &'static str, words: impl redis::ToRedisArgs) -> Self {
        self.frame = choose(&mut self.rest.condition, by, self.frame, words);
        self
    }

    /// Only if the value is `value`.
    pub fn if_eq(self, value: impl ToSingleRedisArg) -> Self {
        self.condition("if_eq()", ("IFEQ", value))
    }

    /// Only if the value is not `value`.
    pub fn if_ne(self, value: impl ToSingleRedisArg) -> Self {
        self.condition("if_ne()", ("IFNE", value))
    }

    /// Only if the [`Digest`] of the value is `digest`.
    pub fn if_digest_eq(self, digest: &str) -> Self {
        self.condition("if_digest_eq()", ("IFDEQ", digest))
    }

    /// Only if the [`Digest`] of the value is not `digest`.
    pub fn if_digest_ne(self, digest: &str) -> Self {
        self.condition("if_digest_ne()", ("IFDNE", digest))
    }
}

command! {
    /// `DELIFEQ`: deletes a string if it has an expected value. The reply is whether it was deleted. Needs Valkey 9.0;
    /// [`DelEx`] is the command of Redis 8.4.
    DelIfEq => bool
}

impl DelIfEq {
    /// Deletes `key` if its value is `value`.
    pub fn new(key: impl AsRef<[u8]>, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("DELIFEQ").key(key).arg(value))
    }
}

command! {
    /// `DIGEST`: the XXH3 digest of a string as 16 hexadecimal digits, or `None` if the key does not exist. A read. Needs
    /// Redis 8.4.
    Digest => Option<String>
}

impl Digest {
    /// Reads the digest of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("DIGEST").key(key).read_only())
    }
}

command! {
    /// `INCRBYFLOAT`: adds to a number. The reply is the new value. [`IncrBy`](super::strings::IncrBy) is exact.
    IncrByFloat => f64
}

impl IncrByFloat {
    /// Adds `by` to `key`. A missing key counts as 0.
    pub fn new(key: impl AsRef<[u8]>, by: f64) -> Self {
        let frame = Frame::known("INCRBYFLOAT").key(key);
        Self::of(if by.is_finite() { frame.arg(by) } else { frame.invalid("the increment is not finite") })
    }
}

/// The reply to [`IncrEx`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Increased<N> {
    /// The value after the command.
    pub value: N,
    /// What was added: less than asked with `saturate`, 0 if a bound was exceeded without it.
    pub added: N,
}

command! {
    /// `INCREX`: adds to a counter within bounds, and sets its expiry. `N` is `i64` or `f64`. Needs Redis 8.8.
    IncrEx<N>, rest ChosenThen => Increased<N>, by increased
}

impl IncrEx<i64> {
    /// Adds `by` to `key`. A missing key counts as 0.
    pub fn new(key: impl AsRef<[u8]>, by: i64) -> Self {
        Self::of(Frame::known("INCREX").key(key).arg(("BYINT", by)))
    }
}

impl IncrEx<f64> {
    /// Adds `by` to `key`. A missing key counts as 0.
    pub fn float(key: impl AsRef<[u8]>, by: f64) -> Self {
        let frame = Frame::known("INCREX").key(key);
        Self::of(if by.is_finite() { frame.arg(("BYFLOAT", by)) } else { frame.invalid("the increment is not finite") })
    }
}

impl<N: ToSingleRedisArg> IncrEx<N> {
    /// Sets the lowest value.
    pub fn lower_bound(self, bound: N) -> Self {
        self.opt(("LBOUND", bound))
    }

    /// Sets the highest value.
    pub fn upper_bound(self, bound: N) -> Self {
        self.opt(("UBOUND", bound))
    }

    /// Stops at a bound. Without it the value does not change if a bound would be exceeded.
    pub fn saturate(self) -> Self {
        self.opt("SATURATE")
    }

    /// Removes the expiry.
    pub fn persist(mut self) -> Self {
        self.frame = choose(&mut self.rest.chosen.expiry, "persist()", self.frame, "PERSIST");
        self
    }

    /// Sets the expiry only if the key has none, as for the window of a rate limit.
    pub fn if_no_expiry(mut self) -> Self {
        self.rest.tail = Frame::default().arg("ENX");
        self
    }
}

expiry_options!(IncrEx<N>, rest.chosen.expiry);

fn increased<N: redis::FromRedisValue>(value: Value) -> Result<Increased<N>> {
    let (value, added) = decode(value)?;
    Ok(Increased { value, added })
}
