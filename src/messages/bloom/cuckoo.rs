//! Cuckoo filters: like Bloom filters, but items can be deleted, and are counted.

use redis::{ToSingleRedisArg, Value};

use super::{FilterChunk, NO_ITEM, chunk};
use crate::error::Result;
use crate::frame::Frame;
use crate::messages::{arguments::IntoValues, shape, some_values};

command! {
    /// `CF.RESERVE`: creates an empty Cuckoo filter. The server replies with an error if the key exists.
    CfReserve => ()
}

impl CfReserve {
    /// Creates the filter at `key` for `capacity` items.
    pub fn new(key: impl AsRef<[u8]>, capacity: u64) -> Self {
        Self::of(Frame::known("CF.RESERVE").key(key).arg(capacity))
    }

    fn with(mut self, word: &str, number: u32) -> Self {
        self.frame = self.frame.arg(word).arg(number);
        self
    }

    /// The number of items per bucket, 2 by default. More raise the fill rate and the error rate.
    pub fn bucket_size(self, items: u32) -> Self {
        self.with("BUCKETSIZE", items)
    }

    /// The number of attempts to move items before the filter grows, 20 by default.
    pub fn max_iterations(self, attempts: u32) -> Self {
        self.with("MAXITERATIONS", attempts)
    }

    /// The factor by which each further sub-filter is larger, 1 by default; 0 for a filter that does not grow.
    pub fn expansion(self, factor: u32) -> Self {
        self.with("EXPANSION", factor)
    }
}

command! {
    /// `CF.ADD`: adds an item once more to a Cuckoo filter, which is created if it does not exist. The reply is `true`.
    CfAdd => bool
}

impl CfAdd {
    /// Adds `item` to the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, item: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("CF.ADD").key(key).arg(item))
    }
}

command! {
    /// `CF.ADDNX`: adds an item to a Cuckoo filter unless it seems to have it. The reply is whether it was added.
    CfAddNx => bool
}

impl CfAddNx {
    /// Adds `item` to the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, item: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("CF.ADDNX").key(key).arg(item))
    }
}

/// The outcome for one item of [`CfInsert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CuckooInsert {
    /// It was added.
    Added,
    /// The filter seems to have it already.
    Exists,
    /// The filter is full.
    Full,
}

command! {
    /// `CF.INSERT` and `CF.INSERTNX`: adds items to a Cuckoo filter that is created with options. The reply is the
    /// outcome of each.
    CfInsert, rest Frame => Vec<CuckooInsert>, by inserted
}

impl CfInsert {
    /// Adds `items`, at least one, once more to the filter at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::with_items("CF.INSERT", key, items)
    }

    /// Adds those of `items` that the filter at `key` does not seem to have.
    pub fn if_absent<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::with_items("CF.INSERTNX", key, items)
    }

    fn with_items<M>(name: &str, key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        let mut insert = Self::of(Frame::known(name).key(key));
        insert.rest = some_values(Frame::default().arg("ITEMS"), items, NO_ITEM);
        insert
    }

    /// The capacity of a new filter.
    pub fn capacity(mut self, items: u64) -> Self {
        self.frame = self.frame.arg("CAPACITY").arg(items);
        self
    }

    /// Does not create a filter: the server replies with an error if there is none.
    pub fn if_present(mut self) -> Self {
        self.frame = self.frame.arg("NOCREATE");
        self
    }
}

fn inserted(value: Value) -> Result<Vec<CuckooInsert>> {
    let one = |item| match item {
        Value::Int(1) | Value::Boolean(true) => Ok(CuckooInsert::Added),
        Value::Int(0) | Value::Boolean(false) => Ok(CuckooInsert::Exists),
        Value::Int(-1) => Ok(CuckooInsert::Full),
        _ => Err(shape::unexpected()),
    };
    shape::items(value)?.into_iter().map(one).collect()
}

command! {
    /// `CF.EXISTS`: whether an item may have been added: `false` is certain. A read.
    CfExists => bool
}

impl CfExists {
    /// Looks for `item` in the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, item: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("CF.EXISTS").key(key).arg(item).read_only())
    }
}

command! {
    /// `CF.MEXISTS`: whether items may have been added. A read.
    CfMExists => Vec<bool>
}

impl CfMExists {
    /// Looks for `items`, at least one, in the filter at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("CF.MEXISTS").key(key), items, NO_ITEM).read_only())
    }
}

command! {
    /// `CF.COUNT`: how often an item was added, an upper bound. A read.
    CfCount => u64
}

impl CfCount {
    /// Counts `item` in the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, item: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("CF.COUNT").key(key).arg(item).read_only())
    }
}

command! {
    /// `CF.DEL`: deletes an item once. The reply is whether it was found. Deleting an item that was never added may
    /// delete another one.
    CfDel => bool
}

impl CfDel {
    /// Deletes `item` from the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, item: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("CF.DEL").key(key).arg(item))
    }
}

/// Properties of a Cuckoo filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CuckooInfo {
    /// The size in bytes.
    pub bytes: u64,
    /// The number of buckets.
    pub buckets: u64,
    /// The number of sub-filters.
    pub filters: u64,
    /// The number of items.
    pub items: u64,
    /// The number of deleted items.
    pub deleted: u64,
    /// The number of items per bucket.
    pub bucket_size: u64,
    /// The factor by which sub-filters grow.
    pub expansion: u64,
    /// The number of attempts to move items before the filter grows.
    pub max_iterations: u64,
}

command! {
    /// `CF.INFO`: properties of a Cuckoo filter. The server replies with an error if the key does not exist. A read.
    CfInfo => CuckooInfo, by info
}

impl CfInfo {
    /// Describes the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("CF.INFO").key(key).read_only())
    }
}

fn info(value: Value) -> Result<CuckooInfo> {
    let mut pairs = shape::pairs(value)?;
    let mut number = |name| shape::number(&mut pairs, name);
    Ok(CuckooInfo {
        bytes: number("Size").ok_or_else(shape::unexpected)?,
        buckets: number("Number of buckets").unwrap_or_default(),
        filters: number("Number of filters").unwrap_or_default(),
        items: number("Number of items inserted").unwrap_or_default(),
        deleted: number("Number of items deleted").unwrap_or_default(),
        bucket_size: number("Bucket size").unwrap_or_default(),
        expansion: number("Expansion rate").unwrap_or_default(),
        max_iterations: number("Max iterations").unwrap_or_default(),
    })
}

command! {
    /// `CF.COMPACT`: moves items to earlier sub-filters after many deletions.
    CfCompact => ()
}

impl CfCompact {
    /// Compacts the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("CF.COMPACT").key(key))
    }
}

command! {
    /// `CF.SCANDUMP`: reads a part of a Cuckoo filter, beginning with iterator 0. A read.
    CfScanDump => FilterChunk, by chunk
}

impl CfScanDump {
    /// Reads the part of the filter at `key` that begins at `iterator`.
    pub fn new(key: impl AsRef<[u8]>, iterator: i64) -> Self {
        Self::of(Frame::known("CF.SCANDUMP").key(key).arg(iterator).read_only())
    }
}

command! {
    /// `CF.LOADCHUNK`: writes a part of a Cuckoo filter that [`CfScanDump`] read.
    CfLoadChunk => ()
}

impl CfLoadChunk {
    /// Writes `chunk` to the filter at `key`.
    pub fn new(key: impl AsRef<[u8]>, chunk: &FilterChunk) -> Self {
        Self::of(Frame::known("CF.LOADCHUNK").key(key).arg(chunk.iterator).arg(&chunk.data[..]))
    }
}
