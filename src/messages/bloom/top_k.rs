//! Top-K: the most frequent items.

use redis::{ToSingleRedisArg, Value};

use super::NO_ITEM;
use crate::error::Result;
use crate::frame::Frame;
use crate::messages::{arguments::IntoValues, at_least_one, decode, shape, some_values};

command! {
    /// `TOPK.RESERVE`: creates an empty list of the most frequent items. The server replies with an error if the key
    /// exists.
    TopKReserve => ()
}

impl TopKReserve {
    /// Creates the list at `key` of the `k` most frequent items.
    pub fn new(key: impl AsRef<[u8]>, k: u64) -> Self {
        Self::of(Frame::known("TOPK.RESERVE").key(key).arg(k))
    }

    /// The number of counters per row, the number of rows and the decay, between 0 and 1, of counters that collide. By
    /// default 8, 7 and 0.9. Once.
    pub fn dimensions(mut self, width: u64, depth: u64, decay: f64) -> Self {
        let is_second = self.frame.len() > 3;
        self.frame = self.frame.arg(width).arg(depth).arg(decay);
        if is_second || !(0.0..=1.0).contains(&decay) {
            self.frame = self.frame.invalid("dimensions() may be set once, with a decay between 0 and 1");
        }
        self
    }
}

command! {
    /// `TOPK.ADD`: counts items. The reply is for each the item that it displaced from the list.
    TopKAdd<T = String> => Vec<Option<T>>
}

impl<T> TopKAdd<T> {
    /// Counts `items`, at least one, once each in the list at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("TOPK.ADD").key(key), items, NO_ITEM))
    }
}

command! {
    /// `TOPK.INCRBY`: counts items several times. The reply is for each the item that it displaced from the list.
    TopKIncrBy<T = String> => Vec<Option<T>>
}

impl<T> TopKIncrBy<T> {
    /// Counts items, at least one, each with its number of occurrences, in the list at `key`.
    pub fn new<V: ToSingleRedisArg>(key: impl AsRef<[u8]>, counts: impl IntoIterator<Item = (V, u64)>) -> Self {
        Self::of(at_least_one(Frame::known("TOPK.INCRBY").key(key), NO_ITEM, |frame| {
            counts.into_iter().fold(frame, |frame, (item, by)| frame.arg(item).arg(by))
        }))
    }
}

command! {
    /// `TOPK.QUERY`: whether items are in the list. A read.
    TopKQuery => Vec<bool>
}

impl TopKQuery {
    /// Looks for `items`, at least one, in the list at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("TOPK.QUERY").key(key), items, NO_ITEM).read_only())
    }
}

command! {
    /// `TOPK.COUNT`: the estimated counts of items. Deprecated by the server; see [`TopKList::with_counts`].
    TopKCount => Vec<u64>
}

impl TopKCount {
    /// Reads the counts of `items`, at least one, from the list at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, items: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("TOPK.COUNT").key(key), items, NO_ITEM).idempotent())
    }
}

command! {
    /// `TOPK.LIST`: the most frequent items, the most frequent first. A read.
    TopKList<T = String> => Vec<T>
}

impl<T> TopKList<T> {
    /// Reads the list at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TOPK.LIST").key(key).read_only())
    }

    /// Reads each item with its estimated count.
    pub fn with_counts(self) -> TopKList<(T, u64)> {
        TopKList::of(self.frame.arg("WITHCOUNT"))
    }
}

/// Properties of a Top-K list.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TopKStats {
    /// The number of items in the list.
    pub k: u64,
    /// The number of counters per row.
    pub width: u64,
    /// The number of rows.
    pub depth: u64,
    /// The decay of counters that collide.
    pub decay: f64,
}

command! {
    /// `TOPK.INFO`: properties of a list. The server replies with an error if the key does not exist. A read.
    TopKInfo => TopKStats, by info
}

impl TopKInfo {
    /// Describes the list at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TOPK.INFO").key(key).read_only())
    }
}

fn info(value: Value) -> Result<TopKStats> {
    let mut pairs = shape::pairs(value)?;
    let decay = decode(shape::field(&mut pairs, "decay").ok_or_else(shape::unexpected)?)?;
    let mut number = |name| shape::number(&mut pairs, name).ok_or_else(shape::unexpected);
    Ok(TopKStats { k: number("k")?, width: number("width")?, depth: number("depth")?, decay })
}
