//! Properties of a series.

use std::time::Duration;

use redis::Value;

use super::Timestamp;
use super::many::labels;
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};
use crate::messages::{decode, shape};

/// A compaction of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionRule {
    /// The key of the series to which the buckets are written.
    pub destination: Vec<u8>,
    /// The length of a bucket.
    pub bucket: Duration,
    /// How samples are combined, as the server spells it.
    pub aggregation: String,
    /// A time at which a bucket begins.
    pub align: Timestamp,
}

/// Properties of a series.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TimeSeriesInfo {
    /// The number of samples.
    pub samples: u64,
    /// The size in bytes.
    pub bytes: u64,
    /// The lowest timestamp, 0 for an empty series.
    pub first: Timestamp,
    /// The highest timestamp, 0 for an empty series.
    pub last: Timestamp,
    /// How long samples are kept, `None` for ever.
    pub retention: Option<Duration>,
    /// The size of a block of memory in bytes.
    pub chunk_size: u64,
    /// The number of blocks.
    pub chunks: u64,
    /// What happens to a sample with the timestamp of an existing one, as the server spells it.
    pub duplicates: Option<String>,
    /// The labels.
    pub labels: Vec<(String, Option<String>)>,
    /// The key of the series whose compaction this one is.
    pub source: Option<Vec<u8>>,
    /// The compactions of this series.
    pub rules: Vec<CompactionRule>,
}

command! {
    /// `TS.INFO`: properties of a series. The server replies with an error if the key does not exist. A read.
    TsInfo => TimeSeriesInfo, by info
}

impl TsInfo {
    /// Describes the series at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TS.INFO").key(key).read_only().reply_keys(ReplyKeys::TimeSeries))
    }
}

fn info(value: Value) -> Result<TimeSeriesInfo> {
    let mut pairs = shape::pairs(value)?;
    let text = shape::field(&mut pairs, "duplicatePolicy").unwrap_or_default();
    let source = shape::field(&mut pairs, "sourceKey").unwrap_or_default();
    let labels = labels(shape::field(&mut pairs, "labels").ok_or_else(shape::unexpected)?)?;
    let rules = rules(shape::field(&mut pairs, "rules").ok_or_else(shape::unexpected)?)?;
    let mut number = |name| shape::number(&mut pairs, name).unwrap_or_default();
    let retention = number("retentionTime");
    Ok(TimeSeriesInfo {
        samples: number("totalSamples"),
        bytes: number("memoryUsage"),
        first: Timestamp::from_millis(number("firstTimestamp")),
        last: Timestamp::from_millis(number("lastTimestamp")),
        retention: (retention > 0).then(|| Duration::from_millis(retention)),
        chunk_size: number("chunkSize"),
        chunks: number("chunkCount"),
        duplicates: decode(text)?,
        labels,
        source: shape::optional(source, shape::bytes)?,
        rules,
    })
}

/// RESP2 sends an array of destination, bucket, aggregation and alignment; RESP3 a map from the destination to the rest.
fn rules(value: Value) -> Result<Vec<CompactionRule>> {
    let rule = |destination, items: &mut dyn Iterator<Item = Value>| {
        let next = |items: &mut dyn Iterator<Item = Value>| items.next().ok_or_else(shape::unexpected);
        let bucket = Duration::from_millis(shape::count(next(items)?)?);
        let aggregation = decode(next(items)?)?;
        let align = items.next().map(shape::count).transpose()?.unwrap_or_default();
        let destination = shape::bytes(destination)?;
        Ok(CompactionRule { destination, bucket, aggregation, align: Timestamp::from_millis(align) })
    };
    match value {
        Value::Map(rules) => rules
            .into_iter()
            .map(|(destination, rest)| rule(destination, &mut shape::items(rest)?.into_iter()))
            .collect(),
        rules => shape::items(rules)?
            .into_iter()
            .map(|items| {
                let mut items = shape::items(items)?.into_iter();
                rule(shape::next(&mut items)?, &mut items)
            })
            .collect(),
    }
}
