//! Parts of strings, and comparing them.

use redis::{ToSingleRedisArg, Value};

use super::{decode, shape};
use crate::error::Result;
use crate::frame::Frame;

command! {
    /// `GETRANGE`: a part of a string; empty beyond its end or if the key does not exist. A read.
    GetRange<T> => T
}

impl<T> GetRange<T> {
    /// Reads from byte `start` to `stop` of `key`, both included; -1 is the last.
    pub fn new(key: impl AsRef<[u8]>, start: i64, stop: i64) -> Self {
        Self::of(Frame::known("GETRANGE").key(key).arg(start).arg(stop).read_only())
    }
}

command! {
    /// `SETRANGE`: overwrites a part of a string, which is filled with zero bytes as needed. The reply is the length of
    /// the string in bytes.
    SetRange => u64
}

impl SetRange {
    /// Writes `value` into the string at `key`, from byte `offset` on.
    pub fn new(key: impl AsRef<[u8]>, offset: u64, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("SETRANGE").key(key).arg(offset).arg(value))
    }
}

command! {
    /// `LCS`: the longest common subsequence of two strings. A read. Needs Redis 7.0.
    Lcs<T> => T
}

impl<T> Lcs<T> {
    /// Compares the strings at two keys. A missing key counts as empty.
    pub fn new(first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("LCS").key(first).key(second).read_only())
    }
}

command! {
    /// `LCS .. LEN`: the length in bytes of the longest common subsequence of two strings. A read. Needs Redis 7.0.
    LcsLen => u64
}

impl LcsLen {
    /// Compares the strings at two keys. A missing key counts as empty.
    pub fn new(first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("LCS").key(first).key(second).arg("LEN").read_only())
    }
}

/// A run of bytes that two strings have in common, found by [`LcsMatches`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LcsMatch {
    /// The first and the last byte in the first string.
    pub first: (u64, u64),
    /// The first and the last byte in the second string.
    pub second: (u64, u64),
}

impl LcsMatch {
    /// The number of bytes.
    #[must_use]
    pub fn length(self) -> u64 {
        (self.first.1 + 1).saturating_sub(self.first.0)
    }
}

command! {
    /// `LCS .. IDX`: the positions of the longest common subsequence of two strings, last run first. A read. Needs
    /// Redis 7.0.
    LcsMatches => Vec<LcsMatch>, by matches
}

impl LcsMatches {
    /// Compares the strings at two keys. A missing key counts as empty.
    pub fn new(first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("LCS").key(first).key(second).arg("IDX").read_only())
    }

    /// Leaves out runs of less than `bytes` bytes.
    pub fn min_match_len(self, bytes: u64) -> Self {
        self.opt(("MINMATCHLEN", bytes))
    }
}

fn matches(value: Value) -> Result<Vec<LcsMatch>> {
    for (name, value) in shape::pairs(value)? {
        if shape::bytes(name)? == b"matches" {
            return shape::items(value)?.into_iter().map(one_match).collect();
        }
    }
    Err(shape::unexpected())
}

fn one_match(value: Value) -> Result<LcsMatch> {
    let mut parts = shape::items(value)?.into_iter();
    Ok(LcsMatch { first: decode(shape::next(&mut parts)?)?, second: decode(shape::next(&mut parts)?)? })
}
