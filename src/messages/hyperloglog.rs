//! Approximate counts of distinct elements.

use super::arguments::{IntoKeys, IntoValues};
use super::some_keys;
use crate::frame::Frame;

command! {
    /// `PFADD`: adds elements to a HyperLogLog, which estimates the number of distinct elements in 12 KiB. The reply
    /// is whether the estimate may have changed.
    PfAdd => bool
}

impl PfAdd {
    /// Adds `elements` to the HyperLogLog at `key`, which is created if it does not exist. Without elements it is only
    /// created.
    pub fn new<M>(key: impl AsRef<[u8]>, elements: impl IntoValues<M>) -> Self {
        Self::of(elements.add_values(Frame::known("PFADD").key(key)))
    }
}

command! {
    /// `PFCOUNT`: the estimated number of distinct elements, with a standard error of 0.81 %. Of several keys it is the
    /// estimate for their union. A read.
    PfCount => u64
}

impl PfCount {
    /// Counts the elements of the HyperLogLogs at `keys`, at least one. A missing key counts as empty.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("PFCOUNT"), keys).read_only())
    }
}

command! {
    /// `PFMERGE`: writes the union of HyperLogLogs.
    PfMerge => ()
}

impl PfMerge {
    /// Merges those at `sources` into the one at `destination`, which keeps its elements.
    pub fn new<M>(destination: impl AsRef<[u8]>, sources: impl IntoKeys<M>) -> Self {
        Self::of(sources.add_keys(Frame::known("PFMERGE").key(destination)))
    }
}
