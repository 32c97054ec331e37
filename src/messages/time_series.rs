//! Time series: the module RedisTimeSeries, part of Redis since version 8.0.
//!
//! Labels have no prefix: they are common to all services of a server. Commands that find series by label reply with the
//! series under the prefix only. The server reads those of other services as well, so a filter should be specific.

use std::time::{Duration, SystemTime};

use redis::{ToRedisArgs, ToSingleRedisArg, Value};

use super::{at_least_one, decode, shape, unix_millis};
use crate::error::Result;
use crate::frame::Frame;

mod info;
mod many;
mod ranges;
mod rules;
mod writes;

pub use info::{CompactionRule, TimeSeriesInfo, TsInfo};
pub use many::{Latest, Series, TsMGet, TsMRange, TsMRevRange, TsQueryIndex};
pub use ranges::{BucketTime, SampleRow, TsGet, TsNRange, TsNRevRange, TsRange, TsRead, TsRevRange};
pub use rules::{TsCreateRule, TsDeleteRule};
pub use writes::{TsAdd, TsAlter, TsCreate, TsDecrBy, TsDel, TsIncrBy, TsMAdd};

/// A time of a sample, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time after this many milliseconds since the Unix epoch.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }

    /// The time, or `None` where the system cannot express it.
    #[must_use]
    pub fn system_time(self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.0))
    }
}

/// Earlier times are the Unix epoch.
impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        Self(unix_millis(at))
    }
}

/// In milliseconds since the Unix epoch.
impl From<u64> for Timestamp {
    fn from(millis: u64) -> Self {
        Self(millis)
    }
}

impl ToRedisArgs for Timestamp {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        self.0.write_redis_args(out);
    }
}

impl ToSingleRedisArg for Timestamp {}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The time of the value, or of the bucket of an aggregation.
    pub timestamp: Timestamp,
    /// The value.
    pub value: f64,
}

/// How the samples of a bucket are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregation {
    /// The mean.
    Avg,
    /// The sum.
    Sum,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The difference between the largest and the smallest value.
    Range,
    /// The number of values.
    Count,
    /// The number of NaN values. Needs Redis 8.6.
    CountNan,
    /// The number of values with NaN. Needs Redis 8.6.
    CountAll,
    /// The value with the lowest timestamp.
    First,
    /// The value with the highest timestamp.
    Last,
    /// The population standard deviation.
    StdP,
    /// The sample standard deviation.
    StdS,
    /// The population variance.
    VarP,
    /// The sample variance.
    VarS,
    /// The mean weighted by time.
    Twa,
}

impl Aggregation {
    fn word(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Range => "range",
            Self::Count => "count",
            Self::CountNan => "countnan",
            Self::CountAll => "countall",
            Self::First => "first",
            Self::Last => "last",
            Self::StdP => "std.p",
            Self::StdS => "std.s",
            Self::VarP => "var.p",
            Self::VarS => "var.s",
            Self::Twa => "twa",
        }
    }
}

/// What happens to a sample with the timestamp of an existing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Duplicates {
    /// The server replies with an error. The default.
    Block,
    /// The old value stays.
    First,
    /// The new value replaces the old one.
    Last,
    /// The smaller value stays.
    Min,
    /// The larger value stays.
    Max,
    /// The sum of both.
    Sum,
}

impl Duplicates {
    fn word(self) -> &'static str {
        match self {
            Self::Block => "BLOCK",
            Self::First => "FIRST",
            Self::Last => "LAST",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Sum => "SUM",
        }
    }
}

/// Milliseconds of a period, at least one.
fn period(length: Duration) -> u64 {
    super::millis(length)
}

/// `LABELS` with its pairs.
fn add_labels<N: AsRef<str>, V: AsRef<str>>(frame: Frame, labels: impl IntoIterator<Item = (N, V)>) -> Frame {
    at_least_one(frame.arg("LABELS"), "needs at least one label", |frame| {
        labels.into_iter().fold(frame, |frame, (name, value)| frame.arg(name.as_ref()).arg(value.as_ref()))
    })
}

/// The options of a new series, which several commands share.
macro_rules! series_options {
    ($name:ident, $duplicates:literal) => {
        impl $name {
            /// How long samples are kept, relative to the latest one. Without it they are kept for ever.
            pub fn retention(mut self, longest: std::time::Duration) -> Self {
                self.frame = self.frame.arg("RETENTION").arg(super::period(longest));
                self
            }

            /// The size of a block of memory in bytes, a multiple of 8; 4096 by default.
            pub fn chunk_size(mut self, bytes: u64) -> Self {
                self.frame = self.frame.arg("CHUNK_SIZE").arg(bytes);
                self
            }

            /// What happens to a sample with the timestamp of an existing one.
            pub fn duplicates(mut self, policy: super::Duplicates) -> Self {
                self.frame = self.frame.arg($duplicates).arg(policy.word());
                self
            }

            /// Ignores a sample that is as near to the latest one as this, in time and in value; for
            /// [`Duplicates::Last`](super::Duplicates::Last). Needs RedisTimeSeries 1.12.
            pub fn ignore(mut self, time: std::time::Duration, difference: f64) -> Self {
                self.frame =
                    self.frame.arg("IGNORE").arg(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).arg(difference);
                self
            }

            /// The labels by which the series is found, at least one. Call it last. Labels have no prefix.
            pub fn labels<N: AsRef<str>, V: AsRef<str>>(mut self, labels: impl IntoIterator<Item = (N, V)>) -> Self {
                self.frame = super::add_labels(self.frame, labels);
                self
            }
        }
    };
}
use series_options;

/// The sample of a pair of timestamp and value.
fn sample(value: Value) -> Result<Sample> {
    let mut items = shape::items(value)?.into_iter();
    let timestamp = Timestamp(shape::count(shape::next(&mut items)?)?);
    Ok(Sample { timestamp, value: decode(shape::next(&mut items)?)? })
}

fn samples(value: Value) -> Result<Vec<Sample>> {
    shape::items(value)?.into_iter().map(sample).collect()
}

/// An empty array stands for no sample.
fn maybe_sample(value: Value) -> Result<Option<Sample>> {
    match value {
        Value::Array(items) if items.is_empty() => Ok(None),
        value => sample(value).map(Some),
    }
}
