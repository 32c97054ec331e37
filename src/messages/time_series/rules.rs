//! Compaction rules, which write the aggregation of one series to another one.

use std::time::Duration;

use super::{Aggregation, Timestamp, period};
use crate::frame::Frame;

command! {
    /// `TS.CREATERULE`: writes the buckets of a series to another one from now on. In a cluster both keys must be in one
    /// slot.
    TsCreateRule => ()
}

impl TsCreateRule {
    /// Combines the samples of `source` in buckets of the length `bucket`, and writes them to the series `destination`,
    /// which must exist.
    pub fn new(source: impl AsRef<[u8]>, destination: impl AsRef<[u8]>, by: Aggregation, bucket: Duration) -> Self {
        let frame = Frame::known("TS.CREATERULE").key(source).key(destination);
        Self::of(frame.arg("AGGREGATION").arg(by.word()).arg(period(bucket)))
    }

    /// A time at which a bucket begins; the Unix epoch by default. Once.
    pub fn align(mut self, at: impl Into<Timestamp>) -> Self {
        let is_second = self.frame.len() > 6;
        self.frame = self.frame.arg(at.into());
        if is_second {
            self.frame = self.frame.invalid("align() may be called once");
        }
        self
    }
}

command! {
    /// `TS.DELETERULE`: ends a compaction.
    TsDeleteRule => ()
}

impl TsDeleteRule {
    /// Removes the rule from the series `source` to the series `destination`.
    pub fn new(source: impl AsRef<[u8]>, destination: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("TS.DELETERULE").key(source).key(destination))
    }
}
