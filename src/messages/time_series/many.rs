//! Series that are found by their labels. Replies contain those under the prefix only.

use std::ops::RangeBounds;

use redis::Value;

use super::ranges::{RangeOptions, range_options};
use super::writes::add_span;
use super::{Sample, Timestamp, maybe_sample, samples};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};
use crate::messages::{Rest, at_least_one, decode, shape};

const NO_MATCHER: &str = "needs at least one filter with a value, such as room=kitchen";

/// Adds filters. The server needs one that matches a value.
fn add_filters<F: AsRef<str>>(frame: Frame, filters: impl IntoIterator<Item = F>) -> Frame {
    let mut has_matcher = false;
    let frame = at_least_one(frame, NO_MATCHER, |frame| {
        filters.into_iter().fold(frame, |frame, filter| {
            let filter = filter.as_ref();
            let matches = filter.split_once('=').is_some_and(|(name, value)| !name.ends_with('!') && !value.is_empty());
            has_matcher |= matches;
            frame.arg(filter)
        })
    });
    if has_matcher { frame } else { frame.invalid(NO_MATCHER) }
}

/// The labels that are read with a series.
#[derive(Clone, Default)]
enum Labels {
    #[default]
    None,
    All,
    Selected(Vec<String>),
}

impl Labels {
    fn finish(self, frame: Frame) -> Frame {
        match self {
            Self::None => frame,
            Self::All => frame.arg("WITHLABELS"),
            Self::Selected(names) => at_least_one(frame.arg("SELECTED_LABELS"), "needs at least one label", |frame| {
                names.into_iter().fold(frame, Frame::arg)
            }),
        }
    }

    fn select(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Selected(names.into_iter().map(Into::into).collect())
    }
}

/// Labels of a reply: pairs in RESP2, a map in RESP3.
pub(super) fn labels(value: Value) -> Result<Vec<(String, Option<String>)>> {
    let pair = |name, value| Ok((decode(name)?, decode(value)?));
    match value {
        Value::Map(labels) => labels.into_iter().map(|(name, value)| pair(name, value)).collect(),
        labels => shape::items(labels)?
            .into_iter()
            .map(|label| {
                let mut items = shape::items(label)?.into_iter();
                pair(shape::next(&mut items)?, shape::next(&mut items)?)
            })
            .collect(),
    }
}

/// The latest sample of a series.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Latest {
    /// The key.
    pub key: Vec<u8>,
    /// The labels that were requested; `None` for a label that the series does not have.
    pub labels: Vec<(String, Option<String>)>,
    /// The sample, `None` if the series is empty.
    pub sample: Option<Sample>,
}

/// Samples of a series.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// The key.
    pub key: Vec<u8>,
    /// The labels that were requested; `None` for a label that the series does not have.
    pub labels: Vec<(String, Option<String>)>,
    /// The samples or buckets.
    pub samples: Vec<Sample>,
}

/// The key, the labels and the last element of each series: RESP3 has more elements between.
fn each<T>(value: Value, one: impl Fn(Vec<u8>, Vec<(String, Option<String>)>, Value) -> Result<T>) -> Result<Vec<T>> {
    let entry = |key, mut rest: Vec<Value>| {
        let last = rest.pop().ok_or_else(shape::unexpected)?;
        one(shape::bytes(key)?, labels(shape::next(&mut rest.into_iter())?)?, last)
    };
    match value {
        Value::Map(series) => series.into_iter().map(|(key, rest)| entry(key, shape::items(rest)?)).collect(),
        series => shape::items(series)?
            .into_iter()
            .map(|items| {
                let mut items = shape::items(items)?.into_iter();
                entry(shape::next(&mut items)?, items.collect())
            })
            .collect(),
    }
}

/// What follows the options of [`TsMGet`].
#[derive(Clone, Default)]
struct Found {
    labels: Labels,
    filters: Frame,
}

impl Rest for Found {
    fn finish(self, head: Frame) -> Frame {
        self.labels.finish(head).arg("FILTER").concat(self.filters)
    }
}

command! {
    /// `TS.MGET`: the latest sample of each series under the prefix whose labels match. A read.
    ///
    /// Filters are `label=value`, `label!=value`, `label=(a,b)`, `label!=(a,b)`, `label=` for series without the label,
    /// and `label!=` for those with it. At least one must match a value. In a cluster the module asks all nodes.
    TsMGet, rest Found => Vec<Latest>, by latest
}

fn latest(value: Value) -> Result<Vec<Latest>> {
    each(value, |key, labels, sample| Ok(Latest { key, labels, sample: maybe_sample(sample)? }))
}

impl TsMGet {
    /// Reads the latest sample of each series that matches all `filters`.
    pub fn new<F: AsRef<str>>(filters: impl IntoIterator<Item = F>) -> Self {
        let mut get = Self::of(Frame::known("TS.MGET").read_only().reply_keys(ReplyKeys::Streams));
        get.rest.filters = add_filters(Frame::default(), filters);
        get
    }

    /// Also reads the bucket of a compaction that is not complete yet.
    pub fn latest(mut self) -> Self {
        self.frame = self.frame.arg("LATEST");
        self
    }

    /// Reads all labels. Excludes [`labels`](Self::labels); the last call decides.
    pub fn with_labels(mut self) -> Self {
        self.rest.labels = Labels::All;
        self
    }

    /// Reads these labels.
    pub fn labels(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.rest.labels = Labels::select(names);
        self
    }
}

/// What follows the bounds of [`TsMRange`].
#[derive(Clone, Default)]
struct FoundRange {
    options: RangeOptions,
    labels: Labels,
    filters: Frame,
}

impl Rest for FoundRange {
    fn finish(self, head: Frame) -> Frame {
        let frame = self.labels.finish(self.options.clone().add_filters(head));
        self.options.add_buckets(frame).arg("FILTER").concat(self.filters)
    }
}

command! {
    /// `TS.MRANGE`: samples of each series under the prefix whose labels match, the oldest first; see [`TsMGet`] for
    /// filters. A read.
    ///
    /// There is no `GROUPBY`: the server would combine the series of all services before the reply can be limited to
    /// the prefix. Read the series with their labels, and combine them in your program.
    TsMRange, rest FoundRange => Vec<Series>, by series
}

command! {
    /// `TS.MREVRANGE`: samples of each series under the prefix whose labels match, the latest first; see [`TsMRange`].
    /// A read.
    TsMRevRange, rest FoundRange => Vec<Series>, by series
}

fn series(value: Value) -> Result<Vec<Series>> {
    each(value, |key, labels, list| Ok(Series { key, labels, samples: samples(list)? }))
}

/// What both have in common.
macro_rules! many_series {
    ($name:ident, $word:literal) => {
        impl $name {
            /// Reads the samples in a range of times of each series that matches all `filters`.
            pub fn new<F: AsRef<str>, T: Into<Timestamp> + Copy>(
                times: impl RangeBounds<T>,
                filters: impl IntoIterator<Item = F>,
            ) -> Self {
                let frame = add_span(Frame::known($word), times).read_only();
                let mut range = Self::of(frame.reply_keys(ReplyKeys::Streams));
                range.rest.filters = add_filters(Frame::default(), filters);
                range
            }

            /// Reads all samples of each series that matches all `filters`.
            pub fn all<F: AsRef<str>>(filters: impl IntoIterator<Item = F>) -> Self {
                Self::new::<F, Timestamp>(.., filters)
            }

            /// Reads all labels. Excludes [`labels`](Self::labels); the last call decides.
            pub fn with_labels(mut self) -> Self {
                self.rest.labels = Labels::All;
                self
            }

            /// Reads these labels.
            pub fn labels(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
                self.rest.labels = Labels::select(names);
                self
            }
        }

        range_options!($name, options);
    };
}

many_series!(TsMRange, "TS.MRANGE");
many_series!(TsMRevRange, "TS.MREVRANGE");

command! {
    /// `TS.QUERYINDEX`: the keys of the series under the prefix whose labels match; see [`TsMGet`] for filters. A read.
    TsQueryIndex => Vec<Vec<u8>>
}

impl TsQueryIndex {
    /// The keys of the series that match all `filters`.
    pub fn new<F: AsRef<str>>(filters: impl IntoIterator<Item = F>) -> Self {
        Self::of(add_filters(Frame::known("TS.QUERYINDEX").read_only(), filters).reply_keys(ReplyKeys::Each))
    }
}
