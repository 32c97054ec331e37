//! t-digests: estimates of quantiles from a small sketch of the observed values.

use redis::Value;

use crate::error::Result;
use crate::frame::Frame;
use crate::messages::{arguments::IntoKeys, at_least_one, counted_keys, shape};

const NO_VALUE: &str = "needs at least one value";
const NAN: &str = "a value is NaN: remove it";

/// Adds values, at least one.
fn add_values(frame: Frame, values: impl IntoIterator<Item = impl Into<f64>>) -> Frame {
    at_least_one(frame, NO_VALUE, |frame| {
        values.into_iter().map(Into::into).fold(frame, |frame, value| {
            let frame = frame.arg(value);
            if value.is_nan() { frame.invalid(NAN) } else { frame }
        })
    })
}

/// Adds shares from 0 to 1, at least one.
fn add_shares(frame: Frame, shares: impl IntoIterator<Item = f64>) -> Frame {
    at_least_one(frame, NO_VALUE, |frame| {
        shares.into_iter().fold(frame, |frame, share| {
            let frame = frame.arg(share);
            if (0.0..=1.0).contains(&share) { frame } else { frame.invalid("a quantile must be between 0 and 1") }
        })
    })
}

command! {
    /// `TDIGEST.CREATE`: creates an empty digest. The server replies with an error if the key exists.
    TDigestCreate => ()
}

impl TDigestCreate {
    /// Creates the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TDIGEST.CREATE").key(key))
    }

    /// Accuracy against memory, 100 by default.
    pub fn compression(mut self, compression: u32) -> Self {
        self.frame = self.frame.arg("COMPRESSION").arg(compression);
        self
    }
}

command! {
    /// `TDIGEST.ADD`: adds observations to an existing digest.
    TDigestAdd => ()
}

impl TDigestAdd {
    /// Adds `values`, at least one, to the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, values: impl IntoIterator<Item = impl Into<f64>>) -> Self {
        Self::of(add_values(Frame::known("TDIGEST.ADD").key(key), values))
    }
}

command! {
    /// `TDIGEST.QUANTILE`: the values below which given shares of the observations lie; NaN for an empty digest. A
    /// read.
    TDigestQuantile => Vec<f64>
}

impl TDigestQuantile {
    /// Estimates the quantiles `shares`, at least one, each from 0.0 to 1.0, of the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, shares: impl IntoIterator<Item = f64>) -> Self {
        Self::of(add_shares(Frame::known("TDIGEST.QUANTILE").key(key), shares).read_only())
    }
}

command! {
    /// `TDIGEST.CDF`: the shares of the observations below given values; NaN for an empty digest. A read.
    TDigestCdf => Vec<f64>
}

impl TDigestCdf {
    /// Estimates the shares for `values`, at least one, of the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, values: impl IntoIterator<Item = impl Into<f64>>) -> Self {
        Self::of(add_values(Frame::known("TDIGEST.CDF").key(key), values).read_only())
    }
}

command! {
    /// `TDIGEST.RANK`: the number of observations below given values: -1 for a value below all, the number of all for
    /// one above all, -2 for an empty digest. A read.
    TDigestRank => Vec<i64>
}

impl TDigestRank {
    /// Estimates the ranks of `values`, at least one, in the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, values: impl IntoIterator<Item = impl Into<f64>>) -> Self {
        Self::of(add_values(Frame::known("TDIGEST.RANK").key(key), values).read_only())
    }
}

command! {
    /// `TDIGEST.REVRANK`: the number of observations above given values; see [`TDigestRank`]. A read.
    TDigestRevRank => Vec<i64>
}

impl TDigestRevRank {
    /// Estimates the reverse ranks of `values`, at least one, in the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, values: impl IntoIterator<Item = impl Into<f64>>) -> Self {
        Self::of(add_values(Frame::known("TDIGEST.REVRANK").key(key), values).read_only())
    }
}

fn add_ranks(frame: Frame, ranks: impl IntoIterator<Item = u64>) -> Frame {
    at_least_one(frame, "needs at least one rank", |frame| ranks.into_iter().fold(frame, Frame::arg))
}

command! {
    /// `TDIGEST.BYRANK`: the values with given ranks: infinity for a rank that is too high, NaN for an empty digest. A
    /// read.
    TDigestByRank => Vec<f64>
}

impl TDigestByRank {
    /// Estimates the values with `ranks`, at least one, 0 for the smallest, in the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, ranks: impl IntoIterator<Item = u64>) -> Self {
        Self::of(add_ranks(Frame::known("TDIGEST.BYRANK").key(key), ranks).read_only())
    }
}

command! {
    /// `TDIGEST.BYREVRANK`: the values with given reverse ranks: negative infinity for a rank that is too high, NaN for
    /// an empty digest. A read.
    TDigestByRevRank => Vec<f64>
}

impl TDigestByRevRank {
    /// Estimates the values with the reverse `ranks`, at least one, 0 for the largest, in the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, ranks: impl IntoIterator<Item = u64>) -> Self {
        Self::of(add_ranks(Frame::known("TDIGEST.BYREVRANK").key(key), ranks).read_only())
    }
}

command! {
    /// `TDIGEST.MIN`: the smallest observation, NaN for an empty digest. A read.
    TDigestMin => f64
}

impl TDigestMin {
    /// Reads the smallest observation of the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TDIGEST.MIN").key(key).read_only())
    }
}

command! {
    /// `TDIGEST.MAX`: the largest observation, NaN for an empty digest. A read.
    TDigestMax => f64
}

impl TDigestMax {
    /// Reads the largest observation of the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TDIGEST.MAX").key(key).read_only())
    }
}

command! {
    /// `TDIGEST.TRIMMED_MEAN`: the mean of the observations between two quantiles, NaN for an empty digest. A read.
    TDigestTrimmedMean => f64
}

impl TDigestTrimmedMean {
    /// Estimates the mean between the quantiles `low` and `high`, 0.0 to 1.0, of the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>, low: f64, high: f64) -> Self {
        let frame = add_shares(Frame::known("TDIGEST.TRIMMED_MEAN").key(key), [low, high]).read_only();
        Self::of(if low < high { frame } else { frame.invalid("the lower quantile must be below the upper one") })
    }
}

command! {
    /// `TDIGEST.MERGE`: adds the observations of digests to another one, which is created if it does not exist. In a
    /// cluster all keys must be in one slot.
    TDigestMerge => ()
}

impl TDigestMerge {
    /// Adds the digests at `sources`, at least one, to the one at `destination`.
    pub fn new<M>(destination: impl AsRef<[u8]>, sources: impl IntoKeys<M>) -> Self {
        Self::of(counted_keys(Frame::known("TDIGEST.MERGE").key(destination), sources))
    }

    /// The compression of the result, by default the highest of all.
    pub fn compression(mut self, compression: u32) -> Self {
        self.frame = self.frame.arg("COMPRESSION").arg(compression);
        self
    }

    /// Replaces the destination instead of adding to it (`OVERRIDE`).
    pub fn replace(mut self) -> Self {
        self.frame = self.frame.arg("OVERRIDE");
        self
    }
}

command! {
    /// `TDIGEST.RESET`: removes all observations.
    TDigestReset => ()
}

impl TDigestReset {
    /// Empties the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TDIGEST.RESET").key(key))
    }
}

/// Properties of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TDigestStats {
    /// Accuracy against memory.
    pub compression: u64,
    /// The number of observations.
    pub observations: u64,
    /// The number of centroids, merged and not yet merged.
    pub nodes: u64,
    /// The size in bytes.
    pub bytes: u64,
}

command! {
    /// `TDIGEST.INFO`: properties of a digest. The server replies with an error if the key does not exist. A read.
    TDigestInfo => TDigestStats, by info
}

impl TDigestInfo {
    /// Describes the digest at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TDIGEST.INFO").key(key).read_only())
    }
}

fn info(value: Value) -> Result<TDigestStats> {
    let mut pairs = shape::pairs(value)?;
    let mut number = |name| shape::number(&mut pairs, name);
    let nodes = number("Merged nodes").unwrap_or_default() + number("Unmerged nodes").unwrap_or_default();
    Ok(TDigestStats {
        compression: number("Compression").ok_or_else(shape::unexpected)?,
        observations: number("Observations").unwrap_or_default(),
        nodes,
        bytes: number("Memory usage").unwrap_or_default(),
    })
}
