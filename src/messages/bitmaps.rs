//! Bits of strings.

use crate::frame::Frame;

command! {
    /// `GETBIT`: one bit of a string, `false` beyond its end or if the key does not exist. A read.
    GetBit => bool
}

impl GetBit {
    /// Reads the bit at `offset` of `key`, counted from the most significant bit of the first byte.
    pub fn new(key: impl AsRef<[u8]>, offset: u64) -> Self {
        Self::of(Frame::known("GETBIT").key(key).arg(offset).read_only())
    }
}
