//! Probabilistic data types: the module RedisBloom, part of Redis since version 8.0.
//!
//! Bloom and Cuckoo filters say whether an item was added, count-min sketches how often, Top-K lists the most frequent
//! items, and t-digests estimate quantiles.

use redis::{ToSingleRedisArg, Value};

use super::{arguments::IntoValues, decode, shape, some_values};
use crate::error::{Error, Result};
use crate::frame::Frame;

mod cuckoo;
mod sketch;
mod tdigest;
mod top_k;

pub use cuckoo::{
    CfAdd, CfAddNx, CfCompact, CfCount, CfDel, CfExists, CfInfo, CfInsert, CfLoadChunk, CfMExists, CfReserve,
    CfScanDump, CuckooInfo, CuckooInsert,
};
pub use sketch::{CmsIncrBy, CmsInfo, CmsInitByDim, CmsInitByProb, CmsMerge, CmsQuery, SketchInfo};
pub use tdigest::{
    TDigestAdd, TDigestByRank, TDigestByRevRank, TDigestCdf, TDigestCreate, TDigestInfo, TDigestMax, TDigestMerge,
    TDigestMin, TDigestQuantile, TDigestRank, TDigestReset, TDigestRevRank, TDigestStats, TDigestTrimmedMean,
};
pub use top_k::{TopKAdd, TopKCount, TopKIncrBy, TopKInfo, TopKList, TopKQuery, TopKReserve, TopKStats};

const NO_ITEM: &str = "needs at least one item";
const NO_PROBABILITY: &str = "the probability must be greater than 0 and less than 1";

/// Adds a probability between 0 and 1, both excluded.
fn add_probability(frame: Frame, probability: f64) -> Frame {
    let frame = frame.arg(probability);
    if probability > 0.0 && probability < 1.0 { frame } else { frame.invalid(NO_PROBABILITY) }
}

/// The outcome of each item, of which some can fail while others succeed.
fn outcomes<T>(value: Value, one: impl Fn(Value) -> Result<T>) -> Result<Vec<Result<T>>> {
    let outcome = |item| match item {
        Value::ServerError(error) => Err(Error::server(error.code(), error.details())),
        item => one(item),
    };
    Ok(shape::items(value)?.into_iter().map(outcome).collect())
}

fn whether_added(value: Value) -> Result<Vec<Result<bool>>> {
    outcomes(value, decode::<bool>)
}

command! {
    /// `BF.RESERVE`: creates an empty Bloom filter. The server replies with an error if the key exists.
    ///
    /// ```
    /// use redis_actix::Command;
    /// use redis_actix::commands::bloom::{BfAdd, BfExists, BfReserve};
    ///
    /// // At most one of 1,000 names that were never added counts as taken.
    /// let create = BfReserve::new("names", 0.001, 1_000_000);
    /// let take = BfAdd::new("names", "ada");
    /// let is_taken = BfExists::new("names", "grace");
    /// assert!(create.frame().args().eq(["BF.RESERVE", "names", "0.001", "1000000"].map(str::as_bytes)));
    /// ```
    BfReserve => ()
}

impl BfReserve {
    /// Creates the filter at `key` for `capacity` items. `error_rate` is the share of items that count as added
    /// although they are not, between 0 and 1.
    pub fn new(key: impl AsRef<[u8]>, error_rate: f64, capacity: u64) -> Self {
        Self::of(add_probability(Frame::known("BF.RESERVE").key(key), error_rate).arg(capacity))
    }

    /// The factor by which each further sub-filter is larger, 2 by default. Excludes [`fixed`](Self::fixed).
    pub fn expansion(mut self, factor: u32) -> Self {
        self.frame = exclusive(self.frame.arg("EXPANSION").arg(factor), 4);
        self
    }

    /// Fails to add items to a full filter instead of adding sub-filters (`NONSCALING`).
    pub fn fixed(mut self) -> Self {
        self.frame = exclusive(self.frame.arg("NONSCALING"), 4);
        self
    }
}

/// Refuses EXPANSION together with NONSCALING.
fn exclusive(frame: Frame, options: usize) -> Frame {
    let has = |word: &str| frame.args().skip(options).any(|arg| arg == word.as_bytes());
    if has("EXPANSION") && has("NONSCALING") {
        return frame.invalid("expansion() and fixed() exclude each other: remove one of the two");
    }
    frame
}

command! {
    /// `BF.ADD`: adds an item to a Bloom filter, which is created if it does not exist. The reply is whether the item is
    /// new; a new item can count as known.
    BfAdd => bool
}

impl BfAdd {
    /// Adds `item` to the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, item: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("BF.ADD").key(key).arg(item))
    }
}

command! {
    /// `BF.MADD`: adds items to a Bloom filter. The reply is for each whether it is new, or the server's error if the
    /// filter is full.
    BfMAdd => Vec<Result<bool>>, by whether_added
}

impl BfMAdd {
    /// Adds `items`, at least one, to the filter at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("BF.MADD").key(key), items, NO_ITEM))
    }
}

command! {
    /// `BF.INSERT`: adds items to a Bloom filter that is created with options. The reply is as that of [`BfMAdd`].
    BfInsert, rest Frame => Vec<Result<bool>>, by whether_added
}

impl BfInsert {
    /// Adds `items`, at least one, to the filter at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        let mut insert = Self::of(Frame::known("BF.INSERT").key(key));
        insert.rest = some_values(Frame::default().arg("ITEMS"), items, NO_ITEM);
        insert
    }

    /// The capacity of a new filter, 100 by default.
    pub fn capacity(mut self, items: u64) -> Self {
        self.frame = self.frame.arg("CAPACITY").arg(items);
        self
    }

    /// The error rate of a new filter, 0.01 by default.
    pub fn error_rate(mut self, error_rate: f64) -> Self {
        self.frame = add_probability(self.frame.arg("ERROR"), error_rate);
        self
    }

    /// The factor by which each further sub-filter of a new filter is larger.
    pub fn expansion(mut self, factor: u32) -> Self {
        self.frame = exclusive(self.frame.arg("EXPANSION").arg(factor), 2);
        self
    }

    /// A new filter does not grow (`NONSCALING`).
    pub fn fixed(mut self) -> Self {
        self.frame = exclusive(self.frame.arg("NONSCALING"), 2);
        self
    }

    /// Does not create a filter: the server replies with an error if there is none.
    pub fn if_present(mut self) -> Self {
        self.frame = self.frame.arg("NOCREATE");
        self
    }
}

command! {
    /// `BF.EXISTS`: whether an item may have been added: `false` is certain. A read.
    BfExists => bool
}

impl BfExists {
    /// Looks for `item` in the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, item: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("BF.EXISTS").key(key).arg(item).read_only())
    }
}

command! {
    /// `BF.MEXISTS`: whether items may have been added. A read.
    BfMExists => Vec<bool>
}

impl BfMExists {
    /// Looks for `items`, at least one, in the filter at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("BF.MEXISTS").key(key), items, NO_ITEM).read_only())
    }
}

command! {
    /// `BF.CARD`: the number of items that were added and were new, 0 if the key does not exist. A read.
    BfCard => u64
}

impl BfCard {
    /// Counts the items of the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("BF.CARD").key(key).read_only())
    }
}

/// Properties of a Bloom filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BloomInfo {
    /// The number of items for which the error rate holds, over all sub-filters.
    pub capacity: u64,
    /// The size in bytes.
    pub bytes: u64,
    /// The number of sub-filters.
    pub filters: u64,
    /// The number of items that were added and were new.
    pub items: u64,
    /// The factor by which sub-filters grow, `None` if the filter does not grow.
    pub expansion: Option<u64>,
}

command! {
    /// `BF.INFO`: properties of a Bloom filter. The server replies with an error if the key does not exist. A read.
    BfInfo => BloomInfo, by bloom_info
}

impl BfInfo {
    /// Describes the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("BF.INFO").key(key).read_only())
    }
}

fn bloom_info(value: Value) -> Result<BloomInfo> {
    let mut pairs = shape::pairs(value)?;
    let mut number = |name| shape::number(&mut pairs, name);
    Ok(BloomInfo {
        capacity: number("Capacity").ok_or_else(shape::unexpected)?,
        bytes: number("Size").unwrap_or_default(),
        filters: number("Number of filters").unwrap_or_default(),
        items: number("Number of items inserted").unwrap_or_default(),
        expansion: number("Expansion rate"),
    })
}

/// A part of a filter, for a copy of it: load the parts in their order.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterChunk {
    /// The position of the next part, to be given with this one when it is loaded; 0 after the last one.
    pub iterator: i64,
    /// The part; empty at the end.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for FilterChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterChunk").field("iterator", &self.iterator).field("bytes", &self.data.len()).finish()
    }
}

fn chunk(value: Value) -> Result<FilterChunk> {
    let mut items = shape::items(value)?.into_iter();
    let iterator = decode(shape::next(&mut items)?)?;
    let data = shape::optional(shape::next(&mut items)?, shape::bytes)?.unwrap_or_default();
    Ok(FilterChunk { iterator, data })
}

command! {
    /// `BF.SCANDUMP`: reads a part of a Bloom filter, beginning with iterator 0. A read.
    BfScanDump => FilterChunk, by chunk
}

impl BfScanDump {
    /// Reads the part of the filter at `key` that begins at `iterator`.
    pub fn new(key: impl AsRef<[u8]>, iterator: i64) -> Self {
        Self::of(Frame::known("BF.SCANDUMP").key(key).arg(iterator).read_only())
    }
}

command! {
    /// `BF.LOADCHUNK`: writes a part of a Bloom filter that [`BfScanDump`] read.
    BfLoadChunk => ()
}

impl BfLoadChunk {
    /// Writes `chunk` to the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, chunk: &FilterChunk) -> Self {
        Self::of(Frame::known("BF.LOADCHUNK").key(key).arg(chunk.iterator).arg(&chunk.data[..]))
    }
}
