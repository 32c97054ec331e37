//! Count-min sketches: how often an item was counted, never too low.

use redis::{ToSingleRedisArg, Value};

use super::{NO_ITEM, add_probability};
use crate::error::Result;
use crate::frame::Frame;
use crate::messages::{arguments::IntoValues, at_least_one, shape, some_values};

command! {
    /// `CMS.INITBYDIM`: creates a sketch of a given size. The server replies with an error if the key exists.
    CmsInitByDim => ()
}

impl CmsInitByDim {
    /// Creates the sketch at `key`. A larger `width` lowers the error, a larger `depth` the probability of one.
    pub fn new(key: impl AsRef<[u8]>, width: u64, depth: u64) -> Self {
        Self::of(Frame::known("CMS.INITBYDIM").key(key).arg(width).arg(depth))
    }
}

command! {
    /// `CMS.INITBYPROB`: creates a sketch for a given error. The server replies with an error if the key exists.
    CmsInitByProb => ()
}

impl CmsInitByProb {
    /// Creates the sketch at `key`. A count is too high by at most `error` of the total count, but for the probability
    /// `probability`.
    pub fn new(key: impl AsRef<[u8]>, error: f64, probability: f64) -> Self {
        let frame = add_probability(Frame::known("CMS.INITBYPROB").key(key), error);
        Self::of(add_probability(frame, probability))
    }
}

command! {
    /// `CMS.INCRBY`: counts items. The reply is the new count of each. The server replies with an error if the key does
    /// not exist.
    CmsIncrBy => Vec<u64>
}

impl CmsIncrBy {
    /// Counts items, at least one, each with its number of occurrences, in the sketch at `key`.
    pub fn new<V: ToSingleRedisArg>(key: impl AsRef<[u8]>, counts: impl IntoIterator<Item = (V, u64)>) -> Self {
        Self::of(at_least_one(Frame::known("CMS.INCRBY").key(key), NO_ITEM, |frame| {
            counts.into_iter().fold(frame, |frame, (item, by)| frame.arg(item).arg(by))
        }))
    }
}

command! {
    /// `CMS.QUERY`: the counts of items. A read.
    CmsQuery => Vec<u64>
}

impl CmsQuery {
    /// Reads the counts of `items`, at least one, from the sketch at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("CMS.QUERY").key(key), items, NO_ITEM).read_only())
    }
}

command! {
    /// `CMS.MERGE`: replaces a sketch by the sum of sketches. All must have the same size. In a cluster all keys must be
    /// in one slot.
    CmsMerge => ()
}

impl CmsMerge {
    /// Writes the sum of the sketches at `sources`, at least one, each multiplied by its weight (1 for a plain sum), to
    /// the sketch at `destination`, which must exist.
    pub fn new<K: AsRef<[u8]>>(destination: impl AsRef<[u8]>, sources: impl IntoIterator<Item = (K, i64)>) -> Self {
        let (sources, weights): (Vec<K>, Vec<i64>) = sources.into_iter().unzip();
        let frame = Frame::known("CMS.MERGE").key(destination).arg(sources.len());
        let frame = at_least_one(frame, "needs at least one source", |frame| frame.keys(sources));
        Self::of(weights.into_iter().fold(frame.arg("WEIGHTS"), Frame::arg))
    }
}

/// Properties of a count-min sketch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SketchInfo {
    /// The number of counters per row.
    pub width: u64,
    /// The number of rows.
    pub depth: u64,
    /// The sum of all counts.
    pub count: u64,
}

command! {
    /// `CMS.INFO`: properties of a sketch. The server replies with an error if the key does not exist. A read.
    CmsInfo => SketchInfo, by info
}

impl CmsInfo {
    /// Describes the sketch at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("CMS.INFO").key(key).read_only())
    }
}

fn info(value: Value) -> Result<SketchInfo> {
    let mut pairs = shape::pairs(value)?;
    let mut number = |name| shape::number(&mut pairs, name).ok_or_else(shape::unexpected);
    Ok(SketchInfo { width: number("width")?, depth: number("depth")?, count: number("count")? })
}
