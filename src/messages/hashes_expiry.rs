//! Fields of hashes with an expiry of their own. Needs Redis 7.4 or Valkey 9.0 where nothing else is written.

use std::time::{Duration, SystemTime};

use redis::{ToSingleRedisArg, Value};
use serde::Serialize;

use super::arguments::IntoValues;
use super::fields::Fields;
use super::keys::TimeToLive;
use super::keys_expiry::{ExpiresAt, expires_at};
use super::strings_conditions::expiry_options;
use super::{Chosen, ChosenThen, Rest, choose, decode, millis, shape, some_values, unix_millis};
use crate::error::{Error, Result};
use crate::frame::Frame;

const NO_FIELD: &str = "needs at least one field";

/// `FIELDS count field [field ...]`
fn listed<M>(fields: impl IntoValues<M>) -> Frame {
    let fields = some_values(Frame::default(), fields, NO_FIELD);
    Frame::default().arg("FIELDS").arg(fields.len()).concat(fields)
}

/// The outcome of setting the expiry of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldExpiry {
    /// The field or the hash does not exist.
    Missing,
    /// The condition was not met.
    NotMet,
    /// The expiry was set.
    Set,
    /// The time is in the past, so the field was deleted.
    Deleted,
}

fn field_expiries(value: Value) -> Result<Vec<FieldExpiry>> {
    let one = |value| match decode::<i64>(value)? {
        -2 => Ok(FieldExpiry::Missing),
        0 => Ok(FieldExpiry::NotMet),
        1 => Ok(FieldExpiry::Set),
        2 => Ok(FieldExpiry::Deleted),
        _ => Err(Error::decode("the server returned an unknown status of a field")),
    };
    shape::items(value)?.into_iter().map(one).collect()
}

/// A message that sets the expiry of fields, by its name, its command, the type of the time and its conversion.
macro_rules! expire_fields {
    ($(#[$meta:meta])* $name:ident, $command:literal, $time:ident: $kind:ty => $value:expr, $unit:literal) => {
        command! {
            $(#[$meta])*
            $name, rest ChosenThen => Vec<FieldExpiry>, by field_expiries
        }

        impl $name {
            #[doc = concat!("Sets the expiry of `fields`, at least one, of the hash at `key`, in whole ", $unit, ".")]
            pub fn new<M>(key: impl AsRef<[u8]>, $time: $kind, fields: impl IntoValues<M>) -> Self {
                let mut expire = Self::of(Frame::known($command).key(key).arg($value));
                expire.rest.tail = listed(fields);
                expire
            }

            fn condition(mut self, by: &'static str, word: &str) -> Self {
                self.frame = choose(&mut self.rest.chosen.condition, by, self.frame, word);
                self
            }

            /// Only fields without expiry.
            pub fn if_no_expiry(self) -> Self {
                self.condition("if_no_expiry()", "NX")
            }

            /// Only fields with an expiry.
            pub fn if_expiry(self) -> Self {
                self.condition("if_expiry()", "XX")
            }

            /// Only if the new expiry is later; a field without expiry counts as never expiring.
            pub fn if_later(self) -> Self {
                self.condition("if_later()", "GT")
            }

            /// Only if the new expiry is sooner; a field without expiry counts as never expiring.
            pub fn if_sooner(self) -> Self {
                self.condition("if_sooner()", "LT")
            }
        }
    };
}

expire_fields! {
    /// `HEXPIRE`: sets the time to live of fields, rounded up to whole seconds. The reply has the outcome of each.
    ///
    /// ```
    /// use redis_actix::{Command, commands::hashes::HExpire};
    /// use std::time::Duration;
    ///
    /// let frame = HExpire::new("user:1", Duration::from_secs(60), "token").frame();
    /// assert_eq!(frame.args().count(), 6);
    /// ```
    HExpire, "HEXPIRE", ttl: Duration => ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1), "seconds"
}

expire_fields! {
    /// `HPEXPIRE`: sets the time to live of fields. The reply has the outcome of each.
    HPExpire, "HPEXPIRE", ttl: Duration => millis(ttl), "milliseconds"
}

expire_fields! {
    /// `HEXPIREAT`: sets the time at which fields expire, rounded up to whole seconds. The reply has the outcome of each.
    HExpireAt, "HEXPIREAT", at: SystemTime => unix_millis(at).div_ceil(1000), "seconds"
}

expire_fields! {
    /// `HPEXPIREAT`: sets the time at which fields expire. The reply has the outcome of each.
    HPExpireAt, "HPEXPIREAT", at: SystemTime => unix_millis(at), "milliseconds"
}

fn each<T>(value: Value, one: impl Fn(Value) -> Result<T>) -> Result<Vec<T>> {
    match value {
        // Some versions reply with nil for a missing hash.
        Value::Nil => Ok(Vec::new()),
        value => shape::items(value)?.into_iter().map(one).collect(),
    }
}

fn ttl(value: Value, unit: fn(u64) -> Duration) -> Result<TimeToLive> {
    match decode::<i64>(value)? {
        -2 => Ok(TimeToLive::NoKey),
        -1 => Ok(TimeToLive::NoExpiry),
        left => {
            let left = u64::try_from(left).map_err(|_| Error::decode("the server returned a negative time to live"))?;
            Ok(TimeToLive::Remaining(unit(left)))
        }
    }
}

fn ttl_seconds(value: Value) -> Result<Vec<TimeToLive>> {
    each(value, |one| ttl(one, Duration::from_secs))
}

fn ttl_millis(value: Value) -> Result<Vec<TimeToLive>> {
    each(value, |one| ttl(one, Duration::from_millis))
}

fn time_seconds(value: Value) -> Result<Vec<ExpiresAt>> {
    each(value, |one| expires_at(one, Duration::from_secs))
}

fn time_millis(value: Value) -> Result<Vec<ExpiresAt>> {
    each(value, |one| expires_at(one, Duration::from_millis))
}

/// A message about the expiry of fields.
macro_rules! field_facts {
    ($(#[$meta:meta])* $name:ident, $command:literal => $reply:ty, $decode:path) => {
        command! {
            $(#[$meta])*
            $name => $reply, by $decode
        }

        impl $name {
            /// Reads `fields`, at least one, of the hash at `key`.
            pub fn new<M>(key: impl AsRef<[u8]>, fields: impl IntoValues<M>) -> Self {
                Self::of(Frame::known($command).key(key).concat(listed(fields)).read_only())
            }
        }
    };
}

field_facts! {
    /// `HTTL`: the time to live of fields in whole seconds, in order. A missing field is [`TimeToLive::NoKey`]. A read.
    HTtl, "HTTL" => Vec<TimeToLive>, ttl_seconds
}

field_facts! {
    /// `HPTTL`: the time to live of fields in milliseconds, in order. A missing field is [`TimeToLive::NoKey`]. A read.
    HPTtl, "HPTTL" => Vec<TimeToLive>, ttl_millis
}

field_facts! {
    /// `HEXPIRETIME`: the time at which fields expire, in whole seconds, in order. A read.
    HExpireTime, "HEXPIRETIME" => Vec<ExpiresAt>, time_seconds
}

field_facts! {
    /// `HPEXPIRETIME`: the time at which fields expire, in milliseconds, in order. A read.
    HPExpireTime, "HPEXPIRETIME" => Vec<ExpiresAt>, time_millis
}

/// The outcome of removing the expiry of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldPersist {
    /// The field or the hash does not exist.
    Missing,
    /// The field had no expiry.
    NoExpiry,
    /// The expiry was removed.
    Removed,
}

fn persisted(value: Value) -> Result<Vec<FieldPersist>> {
    each(value, |one| match decode::<i64>(one)? {
        -2 => Ok(FieldPersist::Missing),
        -1 => Ok(FieldPersist::NoExpiry),
        _ => Ok(FieldPersist::Removed),
    })
}

command! {
    /// `HPERSIST`: removes the expiry of fields. The reply has the outcome of each.
    HPersist => Vec<FieldPersist>, by persisted
}

impl HPersist {
    /// Removes the expiry of `fields`, at least one, of the hash at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, fields: impl IntoValues<M>) -> Self {
        Self::of(Frame::known("HPERSIST").key(key).concat(listed(fields)))
    }
}

command! {
    /// `HGETEX`: the values of fields in order, nil for each that does not exist; sets or removes their expiry. Needs
    /// Redis 8.0 or Valkey 9.0.
    ///
    /// `T` is the whole reply: `Vec<Option<String>>`, or a tuple for fields of different types.
    HGetEx<T>, rest ChosenThen => T
}

impl<T> HGetEx<T> {
    /// Reads `fields`, at least one, of the hash at `key`. Without an option their expiry does not change.
    pub fn new<M>(key: impl AsRef<[u8]>, fields: impl IntoValues<M>) -> Self {
        let mut get = Self::of(Frame::known("HGETEX").key(key));
        get.rest.tail = listed(fields);
        get
    }

    /// Removes the expiry.
    pub fn persist(mut self) -> Self {
        self.frame = choose(&mut self.rest.chosen.expiry, "persist()", self.frame, "PERSIST");
        self
    }
}

expiry_options!(HGetEx<T>, rest.chosen.expiry);

command! {
    /// `HGETDEL`: the values of fields in order, nil for each that does not exist; deletes them. Needs Redis 8.0 or
    /// Valkey 9.1.
    ///
    /// `T` is the whole reply: `Vec<Option<String>>`, or a tuple for fields of different types.
    HGetDel<T> => T
}

impl<T> HGetDel<T> {
    /// Reads and deletes `fields`, at least one, of the hash at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, fields: impl IntoValues<M>) -> Self {
        Self::of(Frame::known("HGETDEL").key(key).concat(listed(fields)))
    }
}

/// The fields of HSETEX, at least one when it is sent.
#[derive(Clone, Default)]
struct Written {
    chosen: Chosen,
    fields: Fields,
}

impl Rest for Written {
    fn finish(self, head: Frame) -> Frame {
        let fields = self.fields.finish(Frame::default(), NO_FIELD);
        head.arg("FIELDS").arg(fields.len() / 2).concat(fields)
    }
}

command! {
    /// `HSETEX`: writes fields of a hash with one expiry. The reply is whether they were written, `false` if a condition
    /// was not met. Needs Redis 8.0 or Valkey 9.0.
    ///
    /// Without [`keep_ttl`](Self::keep_ttl) or a new expiry the fields no longer expire.
    ///
    /// ```
    /// use redis_actix::{Command, commands::hashes::HSetEx};
    /// use std::time::Duration;
    ///
    /// let frame = HSetEx::new("user:1").field("token", "t").expire(Duration::from_secs(60)).frame();
    /// assert_eq!(frame.args().count(), 8);
    /// ```
    HSetEx, rest Written => bool
}

impl HSetEx {
    /// Writes fields, at least one, of the hash at `key`. A missing key counts as empty.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("HSETEX").key(key))
    }

    /// Adds a field with its value.
    pub fn field(mut self, field: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Self {
        self.rest.fields.add(field, value);
        self
    }

    /// Adds the fields of a struct or a map; see [`HSet::entry`](super::hashes::HSet::entry).
    ///
    /// # Errors
    /// If `value` cannot be serialized as fields.
    pub fn entry<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self> {
        self.rest.fields.entry(value)?;
        Ok(self)
    }

    /// Writes only if none of the fields exists.
    pub fn if_absent(mut self) -> Self {
        self.frame = choose(&mut self.rest.chosen.condition, "if_absent()", self.frame, "FNX");
        self
    }

    /// Writes only if all fields exist.
    pub fn if_present(mut self) -> Self {
        self.frame = choose(&mut self.rest.chosen.condition, "if_present()", self.frame, "FXX");
        self
    }

    /// Keeps the current expiry of each field.
    pub fn keep_ttl(mut self) -> Self {
        self.frame = choose(&mut self.rest.chosen.expiry, "keep_ttl()", self.frame, "KEEPTTL");
        self
    }
}

expiry_options!(HSetEx, rest.chosen.expiry);
