//! Reads samples of one series, or of several by their keys.

use std::ops::RangeBounds;
use std::time::Duration;

use redis::Value;

use super::writes::add_span;
use super::{Aggregation, Sample, Timestamp, maybe_sample, period, samples};
use crate::error::Result;
use crate::frame::Frame;
use crate::messages::{Rest, arguments::IntoKeys, counted_keys, decode, shape};

command! {
    /// `TS.GET`: the latest sample, or `None` if the series is empty. The server replies with an error if the key does
    /// not exist. A read.
    TsGet => Option<Sample>, by maybe_sample
}

impl TsGet {
    /// Reads the latest sample of the series at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TS.GET").key(key).read_only())
    }

    /// Also reads the bucket of a compaction that is not complete yet.
    pub fn latest(mut self) -> Self {
        self.frame = self.frame.arg("LATEST");
        self
    }
}

/// The timestamp of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BucketTime {
    /// The begin of the bucket. The default.
    Start,
    /// The middle of the bucket.
    Mid,
    /// The end of the bucket.
    End,
}

impl BucketTime {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "-",
            Self::Mid => "~",
            Self::End => "+",
        }
    }
}

/// The options of a range. The server expects them in this order.
#[derive(Clone, Default)]
pub(super) struct RangeOptions {
    latest: bool,
    times: Vec<Timestamp>,
    values: Option<(f64, f64)>,
    count: Option<u64>,
    align: Option<Timestamp>,
    aggregation: Option<(Aggregation, Duration)>,
    bucket_time: Option<BucketTime>,
    empty: bool,
}

impl RangeOptions {
    pub(super) fn add_filters(self, mut frame: Frame) -> Frame {
        if self.latest {
            frame = frame.arg("LATEST");
        }
        if !self.times.is_empty() {
            frame = self.times.into_iter().fold(frame.arg("FILTER_BY_TS"), Frame::arg);
        }
        if let Some((low, high)) = self.values {
            frame = frame.arg("FILTER_BY_VALUE").arg(low).arg(high);
            if low.is_nan() || high.is_nan() || low > high {
                frame = frame.invalid("values() needs a range from a lower to a higher value");
            }
        }
        frame
    }

    /// The part after the labels.
    pub(super) fn add_buckets(self, mut frame: Frame) -> Frame {
        if let Some(count) = self.count {
            frame = frame.arg("COUNT").arg(count);
        }
        if let Some(at) = self.align {
            frame = frame.arg("ALIGN").arg(at);
        }
        if let Some((aggregation, length)) = self.aggregation {
            frame = frame.arg("AGGREGATION").arg(aggregation.word()).arg(period(length));
        }
        if let Some(time) = self.bucket_time {
            frame = frame.arg("BUCKETTIMESTAMP").arg(time.word());
        }
        if self.empty {
            frame = frame.arg("EMPTY");
        }
        let needs = self.align.is_some() || self.bucket_time.is_some() || self.empty;
        if needs && self.aggregation.is_none() {
            frame = frame.invalid("align(), bucket_time() and empty_buckets() require aggregate()");
        }
        frame
    }

    pub(super) fn set_latest(&mut self) {
        self.latest = true;
    }

    pub(super) fn add_times(&mut self, times: impl IntoIterator<Item = impl Into<Timestamp>>) {
        self.times.extend(times.into_iter().map(Into::into));
    }

    pub(super) fn set_values(&mut self, low: f64, high: f64) {
        self.values = Some((low, high));
    }

    pub(super) fn set_count(&mut self, count: u64) {
        self.count = Some(count);
    }

    pub(super) fn set_align(&mut self, at: Timestamp) {
        self.align = Some(at);
    }

    pub(super) fn set_aggregation(&mut self, aggregation: Aggregation, bucket: Duration) {
        self.aggregation = Some((aggregation, bucket));
    }

    pub(super) fn set_bucket_time(&mut self, time: BucketTime) {
        self.bucket_time = Some(time);
    }

    pub(super) fn set_empty(&mut self) {
        self.empty = true;
    }
}

/// The options of commands that read ranges. `$rest` leads from the rest of the message to its [`RangeOptions`].
macro_rules! range_options {
    ($name:ident $(, $rest:ident)?) => {
        impl $name {
            /// Also reads the bucket of a compaction that is not complete yet.
            pub fn latest(mut self) -> Self {
                self.rest$(.$rest)?.set_latest();
                self
            }

            /// Only samples with these timestamps.
            pub fn at(mut self, times: impl IntoIterator<Item = impl Into<super::Timestamp>>) -> Self {
                self.rest$(.$rest)?.add_times(times);
                self
            }

            /// Only samples with values from `low` to `high`, both included.
            pub fn values(mut self, low: f64, high: f64) -> Self {
                self.rest$(.$rest)?.set_values(low, high);
                self
            }

            /// The maximum number of samples or buckets, per series.
            pub fn count(mut self, count: u64) -> Self {
                self.rest$(.$rest)?.set_count(count);
                self
            }

            /// Combines the samples of each bucket of this length, at least a millisecond.
            pub fn aggregate(mut self, by: super::Aggregation, bucket: std::time::Duration) -> Self {
                self.rest$(.$rest)?.set_aggregation(by, bucket);
                self
            }

            /// A time at which a bucket begins; the Unix epoch by default.
            pub fn align(mut self, at: impl Into<super::Timestamp>) -> Self {
                self.rest$(.$rest)?.set_align(at.into());
                self
            }

            /// The timestamp of a bucket, by default its begin.
            pub fn bucket_time(mut self, time: super::BucketTime) -> Self {
                self.rest$(.$rest)?.set_bucket_time(time);
                self
            }

            /// Also reads buckets without samples, as NaN, or 0 for sums and counts.
            pub fn empty_buckets(mut self) -> Self {
                self.rest$(.$rest)?.set_empty();
                self
            }
        }
    };
}
pub(super) use range_options;

impl Rest for RangeOptions {
    fn finish(self, head: Frame) -> Frame {
        let buckets = self.clone();
        buckets.add_buckets(self.add_filters(head))
    }
}

command! {
    /// `TS.RANGE`: samples of a range of times, the oldest first. The server replies with an error if the key does not
    /// exist. A read.
    TsRange, rest RangeOptions => Vec<Sample>, by samples
}

impl TsRange {
    /// Reads the samples of the series at `key` in a range of times: `since..`, `..` for all.
    pub fn new<T: Into<Timestamp> + Copy>(key: impl AsRef<[u8]>, times: impl RangeBounds<T>) -> Self {
        Self::of(add_span(Frame::known("TS.RANGE").key(key), times).read_only())
    }

    /// Reads all samples of the series at `key`.
    pub fn all(key: impl AsRef<[u8]>) -> Self {
        Self::new::<Timestamp>(key, ..)
    }
}

range_options!(TsRange);

command! {
    /// `TS.REVRANGE`: samples of a range of times, the latest first. The server replies with an error if the key does
    /// not exist. A read.
    TsRevRange, rest RangeOptions => Vec<Sample>, by samples
}

impl TsRevRange {
    /// Reads the samples of the series at `key` in a range of times.
    pub fn new<T: Into<Timestamp> + Copy>(key: impl AsRef<[u8]>, times: impl RangeBounds<T>) -> Self {
        Self::of(add_span(Frame::known("TS.REVRANGE").key(key), times).read_only())
    }

    /// Reads all samples of the series at `key`.
    pub fn all(key: impl AsRef<[u8]>) -> Self {
        Self::new::<Timestamp>(key, ..)
    }
}

range_options!(TsRevRange);

/// The values of several series with one timestamp.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SampleRow {
    /// The time of the values.
    pub timestamp: Timestamp,
    /// The value of each series in the order of the keys, `None` where it has none.
    pub values: Vec<Option<f64>>,
}

fn rows(value: Value) -> Result<Vec<SampleRow>> {
    let row = |row| {
        let mut items = shape::items(row)?.into_iter();
        let timestamp = Timestamp::from_millis(shape::count(shape::next(&mut items)?)?);
        let values: Vec<Option<f64>> = decode(shape::next(&mut items)?)?;
        let values = values.into_iter().map(|value| value.filter(|value| !value.is_nan())).collect();
        Ok(SampleRow { timestamp, values })
    };
    shape::items(value)?.into_iter().map(row).collect()
}

command! {
    /// `TS.NRANGE`: samples of several series by timestamp, the oldest first. In a cluster all keys must be in one slot.
    /// A read. Needs Redis 8.10.
    TsNRange, rest RangeOptions => Vec<SampleRow>, by rows
}

command! {
    /// `TS.NREVRANGE`: samples of several series by timestamp, the latest first. In a cluster all keys must be in one
    /// slot. A read. Needs Redis 8.10.
    TsNRevRange, rest RangeOptions => Vec<SampleRow>, by rows
}

/// The number of keys, the keys and the bounds.
fn several<M, T: Into<Timestamp> + Copy>(name: &str, keys: impl IntoKeys<M>, times: impl RangeBounds<T>) -> Frame {
    add_span(counted_keys(Frame::known(name), keys), times).read_only()
}

impl TsNRange {
    /// Reads the samples of the series at `keys`, at least one, in a range of times.
    pub fn new<M, T: Into<Timestamp> + Copy>(keys: impl IntoKeys<M>, times: impl RangeBounds<T>) -> Self {
        Self::of(several("TS.NRANGE", keys, times))
    }
}

range_options!(TsNRange);

impl TsNRevRange {
    /// Reads the samples of the series at `keys`, at least one, in a range of times.
    pub fn new<M, T: Into<Timestamp> + Copy>(keys: impl IntoKeys<M>, times: impl RangeBounds<T>) -> Self {
        Self::of(several("TS.NREVRANGE", keys, times))
    }
}

range_options!(TsNRevRange);

command! {
    /// `TS.READ`: samples from a timestamp on, the oldest first. A read, which waits with [`block`](Self::block) on a
    /// dedicated connection. Needs Redis 8.10.
    TsRead => Vec<Sample>, by read_samples
}

fn read_samples(value: Value) -> Result<Vec<Sample>> {
    Ok(shape::optional(value, samples)?.unwrap_or_default())
}

impl TsRead {
    /// Reads the samples of the series at `key` from `timestamp` on.
    pub fn new(key: impl AsRef<[u8]>, timestamp: impl Into<Timestamp>) -> Self {
        Self::of(Frame::known("TS.READ").key(key).arg(timestamp.into()).read_only())
    }

    /// Waits until there are at least `samples`, for at least a millisecond and up to `longest`.
    pub fn block(mut self, longest: Duration, samples: u64) -> Self {
        let longest = longest.max(Duration::from_millis(1));
        self.frame = self.frame.arg("BLOCK").arg(period(longest)).arg(samples).hold(longest);
        self
    }

    /// The maximum number of samples.
    pub fn max_count(mut self, samples: u64) -> Self {
        self.frame = self.frame.arg("MAX_COUNT").arg(samples);
        self
    }
}
