//! Creates series and adds samples.

use std::ops::{Bound, RangeBounds};

use redis::Value;

use super::{Duplicates, Timestamp, series_options};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::messages::{at_least_one, shape};

const NAN: &str = "the value is NaN or infinite: remove it";

fn add_value(frame: Frame, value: f64) -> Frame {
    let frame = frame.arg(value);
    if value.is_finite() { frame } else { frame.invalid(NAN) }
}

command! {
    /// `TS.CREATE`: creates an empty series. The server replies with an error if the key exists.
    TsCreate => ()
}

impl TsCreate {
    /// Creates the series at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TS.CREATE").key(key))
    }

    /// Stores samples without compression: faster writes in the middle, up to ten times the memory.
    pub fn uncompressed(mut self) -> Self {
        self.frame = self.frame.arg("ENCODING").arg("UNCOMPRESSED");
        self
    }
}

series_options!(TsCreate, "DUPLICATE_POLICY");

command! {
    /// `TS.ALTER`: changes the options of an existing series. Labels are replaced as a whole.
    TsAlter => ()
}

impl TsAlter {
    /// Changes the series at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TS.ALTER").key(key))
    }
}

series_options!(TsAlter, "DUPLICATE_POLICY");

command! {
    /// `TS.ADD`: adds a sample to a series, which is created with the options if it does not exist. The reply is the
    /// timestamp of the sample.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use redis_actix::Command;
    /// use redis_actix::commands::time_series::{Aggregation, TsAdd, TsRange};
    ///
    /// let add = TsAdd::new("temperature:kitchen", 21.5)
    ///     .retention(Duration::from_secs(7 * 86_400))
    ///     .labels([("room", "kitchen"), ("unit", "celsius")]);
    /// // The mean of each hour of the last day.
    /// let since = SystemTime::now() - Duration::from_secs(86_400);
    /// let means = TsRange::new("temperature:kitchen", since..).aggregate(Aggregation::Avg, Duration::from_secs(3600));
    /// assert_eq!(means.frame().args().last(), Some(&b"3600000"[..]));
    /// ```
    TsAdd => Timestamp, by timestamp
}

fn timestamp(value: Value) -> Result<Timestamp> {
    shape::count(value).map(Timestamp::from_millis)
}

impl TsAdd {
    /// Adds `value` with the server's time to the series at `key`.
    pub fn new(key: impl AsRef<[u8]>, value: impl Into<f64>) -> Self {
        Self::of(add_value(Frame::known("TS.ADD").key(key).arg("*"), value.into()))
    }

    /// Adds `value` with this timestamp.
    pub fn at(key: impl AsRef<[u8]>, timestamp: impl Into<Timestamp>, value: impl Into<f64>) -> Self {
        Self::of(add_value(Frame::known("TS.ADD").key(key).arg(timestamp.into()), value.into()))
    }

    /// Stores the samples of a new series without compression.
    pub fn uncompressed(mut self) -> Self {
        self.frame = self.frame.arg("ENCODING").arg("UNCOMPRESSED");
        self
    }

    /// What happens if there is a sample with this timestamp, for this command only (`ON_DUPLICATE`).
    pub fn on_duplicate(mut self, policy: Duplicates) -> Self {
        self.frame = self.frame.arg("ON_DUPLICATE").arg(policy.word());
        self
    }
}

series_options!(TsAdd, "DUPLICATE_POLICY");

command! {
    /// `TS.MADD`: adds samples to existing series. The reply is for each its timestamp, or the server's error. In a
    /// cluster all keys must be in one slot.
    TsMAdd => Vec<Result<Timestamp>>, by timestamps
}

impl TsMAdd {
    /// Adds samples of key, timestamp and value, at least one.
    pub fn new<K: AsRef<[u8]>, T: Into<Timestamp>, V: Into<f64>>(samples: impl IntoIterator<Item = (K, T, V)>) -> Self {
        Self::of(at_least_one(Frame::known("TS.MADD"), "needs at least one sample", |frame| {
            samples
                .into_iter()
                .fold(frame, |frame, (key, at, value)| add_value(frame.key(key).arg(at.into()), value.into()))
        }))
    }
}

fn timestamps(value: Value) -> Result<Vec<Result<Timestamp>>> {
    let one = |item| match item {
        Value::ServerError(error) => Err(Error::server(error.code(), error.details())),
        item => timestamp(item),
    };
    Ok(shape::items(value)?.into_iter().map(one).collect())
}

command! {
    /// `TS.INCRBY`: adds a sample whose value is the latest one plus a number. The reply is its timestamp.
    TsIncrBy => Timestamp, by timestamp
}

command! {
    /// `TS.DECRBY`: adds a sample whose value is the latest one minus a number. The reply is its timestamp.
    TsDecrBy => Timestamp, by timestamp
}

/// What both have in common.
macro_rules! counter {
    ($name:ident, $word:literal) => {
        impl $name {
            /// Changes the series at `key` by `by`, with the server's time. A missing series is created with 0.
            pub fn new(key: impl AsRef<[u8]>, by: impl Into<f64>) -> Self {
                Self::of(add_value(Frame::known($word).key(key), by.into()))
            }

            /// The timestamp of the sample, which must not be before the latest one.
            pub fn at(mut self, timestamp: impl Into<Timestamp>) -> Self {
                self.frame = self.frame.arg("TIMESTAMP").arg(timestamp.into());
                self
            }

            /// Stores the samples of a new series without compression.
            pub fn uncompressed(mut self) -> Self {
                self.frame = self.frame.arg("ENCODING").arg("UNCOMPRESSED");
                self
            }
        }

        series_options!($name, "DUPLICATE_POLICY");
    };
}

counter!(TsIncrBy, "TS.INCRBY");
counter!(TsDecrBy, "TS.DECRBY");

command! {
    /// `TS.DEL`: removes samples. The reply is their number.
    TsDel => u64
}

impl TsDel {
    /// Removes the samples of a range of times from the series at `key`.
    pub fn new<T: Into<Timestamp> + Copy>(key: impl AsRef<[u8]>, times: impl RangeBounds<T>) -> Self {
        Self::of(add_span(Frame::known("TS.DEL").key(key), times))
    }
}

/// The bounds of a range, both included on the server.
pub(super) fn add_span<T: Into<Timestamp> + Copy>(frame: Frame, times: impl RangeBounds<T>) -> Frame {
    let frame = match times.start_bound() {
        Bound::Included(from) => frame.arg((*from).into()),
        Bound::Excluded(from) => frame.arg((*from).into().millis().saturating_add(1)),
        Bound::Unbounded => frame.arg("-"),
    };
    match times.end_bound() {
        Bound::Included(to) => frame.arg((*to).into()),
        Bound::Excluded(to) => match (*to).into().millis().checked_sub(1) {
            Some(last) => frame.arg(last),
            None => frame.arg(0).invalid("the range of times is empty"),
        },
        Bound::Unbounded => frame.arg("+"),
    }
}
