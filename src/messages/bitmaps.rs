//! Bits of strings. Offsets count from the most significant bit of the first byte.

use redis::Value;

use super::arguments::IntoKeys;
use super::{Chosen, choose, decode, some_keys};
use crate::error::Result;
use crate::frame::Frame;

command! {
    /// `GETBIT`: one bit of a string, `false` beyond its end or if the key does not exist. A read.
    GetBit => bool
}

impl GetBit {
    /// Reads the bit at `offset` of `key`.
    pub fn new(key: impl AsRef<[u8]>, offset: u64) -> Self {
        Self::of(Frame::known("GETBIT").key(key).arg(offset).read_only())
    }
}

command! {
    /// `SETBIT`: sets one bit of a string, which grows as needed. The reply is the previous bit.
    SetBit => bool
}

impl SetBit {
    /// Sets the bit at `offset` of `key`. The server accepts offsets below 2^32.
    pub fn new(key: impl AsRef<[u8]>, offset: u64, bit: bool) -> Self {
        Self::of(Frame::known("SETBIT").key(key).arg(offset).arg(u8::from(bit)))
    }
}

command! {
    /// `BITCOUNT`: the number of bits that are 1, in a whole string or a part of it. A read.
    ///
    /// ```
    /// use redis_actix::{Command, commands::bitmaps::BitCount};
    ///
    /// let today = BitCount::new("active:2026-08-01");
    /// let first_kib = BitCount::new("active:2026-08-01").range(0, 1023);
    /// assert_eq!(first_kib.frame().args().count(), 4);
    /// ```
    BitCount, rest Chosen => u64
}

impl BitCount {
    /// Counts in the whole string at `key`. A missing key counts as empty.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("BITCOUNT").key(key).read_only())
    }

    /// Counts from byte `start` to `stop`, both included; -1 is the last.
    pub fn range(mut self, start: i64, stop: i64) -> Self {
        self.frame = choose(&mut self.rest.condition, "range()", self.frame, (start, stop));
        self
    }

    /// Counts from bit `start` to `stop`, both included; -1 is the last. Needs Redis 7.0.
    pub fn bit_range(mut self, start: i64, stop: i64) -> Self {
        self.frame = choose(&mut self.rest.condition, "bit_range()", self.frame, (start, stop, "BIT"));
        self
    }
}

command! {
    /// `BITPOS`: the position of the first bit that is 1 or 0, or `None` if there is none. A read.
    ///
    /// A search for 0 without an end finds the position behind a string of ones.
    BitPos, rest Chosen => Option<u64>, by position
}

impl BitPos {
    /// Searches the string at `key` for `bit`.
    pub fn new(key: impl AsRef<[u8]>, bit: bool) -> Self {
        Self::of(Frame::known("BITPOS").key(key).arg(u8::from(bit)).read_only())
    }

    /// Searches from byte `start` to the end. The position still counts from the beginning.
    pub fn from(mut self, start: i64) -> Self {
        self.frame = choose(&mut self.rest.condition, "from()", self.frame, start);
        self
    }

    /// Searches from byte `start` to `stop`, both included; -1 is the last.
    pub fn range(mut self, start: i64, stop: i64) -> Self {
        self.frame = choose(&mut self.rest.condition, "range()", self.frame, (start, stop));
        self
    }

    /// Searches from bit `start` to `stop`, both included; -1 is the last. Needs Redis 7.0.
    pub fn bit_range(mut self, start: i64, stop: i64) -> Self {
        self.frame = choose(&mut self.rest.condition, "bit_range()", self.frame, (start, stop, "BIT"));
        self
    }
}

pub(super) fn position(value: Value) -> Result<Option<u64>> {
    Ok(u64::try_from(decode::<i64>(value)?).ok())
}

command! {
    /// `BITOP`: combines strings bit by bit, and writes the result. The reply is the length of the result in bytes.
    /// Shorter strings count as filled with zeros. In a cluster all keys must be in one slot.
    BitOp => u64
}

impl BitOp {
    fn op<M>(operation: &str, destination: impl AsRef<[u8]>, sources: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("BITOP").arg(operation).key(destination), sources))
    }

    /// Bits that are 1 in all `sources`.
    pub fn and<M>(destination: impl AsRef<[u8]>, sources: impl IntoKeys<M>) -> Self {
        Self::op("AND", destination, sources)
    }

    /// Bits that are 1 in at least one of `sources`.
    pub fn or<M>(destination: impl AsRef<[u8]>, sources: impl IntoKeys<M>) -> Self {
        Self::op("OR", destination, sources)
    }

    /// Bits that are 1 in an odd number of `sources`.
    pub fn xor<M>(destination: impl AsRef<[u8]>, sources: impl IntoKeys<M>) -> Self {
        Self::op("XOR", destination, sources)
    }

    /// The inverted bits of one `source`.
    pub fn not(destination: impl AsRef<[u8]>, source: impl AsRef<[u8]>) -> Self {
        Self::op("NOT", destination, source)
    }

    /// Bits that are 1 in `first` and in none of `others`. Needs Redis 8.2.
    pub fn diff<M>(destination: impl AsRef<[u8]>, first: impl AsRef<[u8]>, others: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("BITOP").arg("DIFF").key(destination).key(first), others))
    }

    /// Bits that are 1 in at least one of `others`, and 0 in `first`. Needs Redis 8.2.
    pub fn diff1<M>(destination: impl AsRef<[u8]>, first: impl AsRef<[u8]>, others: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("BITOP").arg("DIFF1").key(destination).key(first), others))
    }

    /// Bits that are 1 in `first` and in at least one of `others`. Needs Redis 8.2.
    pub fn and_or<M>(destination: impl AsRef<[u8]>, first: impl AsRef<[u8]>, others: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("BITOP").arg("ANDOR").key(destination).key(first), others))
    }

    /// Bits that are 1 in exactly one of `sources`. Needs Redis 8.2.
    pub fn one<M>(destination: impl AsRef<[u8]>, sources: impl IntoKeys<M>) -> Self {
        Self::op("ONE", destination, sources)
    }
}

/// The type of an integer inside a string, for [`BitField`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitType {
    /// A signed integer of 1 to 64 bits.
    Signed(u8),
    /// An unsigned integer of 1 to 63 bits.
    Unsigned(u8),
}

/// The position of an integer inside a string, for [`BitField`]. A `u64` converts to [`BitOffset::Bit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitOffset {
    /// The position in bits.
    Bit(u64),
    /// The index in an array of integers of the type of the operation.
    Index(u64),
}

impl From<u64> for BitOffset {
    fn from(bit: u64) -> Self {
        Self::Bit(bit)
    }
}

/// How [`BitField`] handles a result that does not fit its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitOverflow {
    /// Wraps around. The server's default.
    Wrap,
    /// Sets the lowest or the highest value.
    Saturate,
    /// Changes nothing; the reply of the operation is `None`.
    Fail,
}

/// Adds the type and the position of an integer.
fn integer(frame: Frame, of: BitType, at: BitOffset) -> Frame {
    let frame = match of {
        BitType::Signed(bits @ 1..=64) => frame.arg(format!("i{bits}")),
        BitType::Unsigned(bits @ 1..=63) => frame.arg(format!("u{bits}")),
        BitType::Signed(_) => frame.invalid("a signed integer has 1 to 64 bits"),
        BitType::Unsigned(_) => frame.invalid("an unsigned integer has 1 to 63 bits; use BitType::Signed(64)"),
    };
    match at {
        BitOffset::Bit(bit) => frame.arg(bit),
        BitOffset::Index(index) => frame.arg(format!("#{index}")),
    }
}

command! {
    /// `BITFIELD`: reads and writes integers of any width inside a string, in order. The reply has one element for each
    /// [`get`](Self::get), [`set`](Self::set) and [`incr_by`](Self::incr_by): the value, the previous value, and the new
    /// value.
    ///
    /// ```
    /// use redis_actix::{Command, commands::bitmaps::{BitField, BitOffset, BitType}};
    ///
    /// let level = BitType::Unsigned(5);
    /// let frame = BitField::new("player:1").incr_by(level, BitOffset::Index(2), 1).get(level, 0).frame();
    /// assert_eq!(frame.args().nth(4), Some(&b"#2"[..]));
    /// ```
    BitField => Vec<Option<i64>>
}

impl BitField {
    /// Operates on the string at `key`. Without an operation it replies with an empty list.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("BITFIELD").key(key))
    }

    /// Reads an integer.
    pub fn get(mut self, of: BitType, at: impl Into<BitOffset>) -> Self {
        self.frame = integer(self.frame.arg("GET"), of, at.into());
        self
    }

    /// Writes an integer.
    pub fn set(mut self, of: BitType, at: impl Into<BitOffset>, value: i64) -> Self {
        self.frame = integer(self.frame.arg("SET"), of, at.into()).arg(value);
        self
    }

    /// Adds to an integer.
    pub fn incr_by(mut self, of: BitType, at: impl Into<BitOffset>, by: i64) -> Self {
        self.frame = integer(self.frame.arg("INCRBY"), of, at.into()).arg(by);
        self
    }

    /// Sets how the following operations handle results that do not fit.
    pub fn overflow(mut self, overflow: BitOverflow) -> Self {
        let word = match overflow {
            BitOverflow::Wrap => "WRAP",
            BitOverflow::Saturate => "SAT",
            BitOverflow::Fail => "FAIL",
        };
        self.frame = self.frame.arg("OVERFLOW").arg(word);
        self
    }
}

command! {
    /// `BITFIELD_RO`: reads integers of any width inside a string, in order. A read.
    BitFieldRo => Vec<i64>
}

impl BitFieldRo {
    /// Reads from the string at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("BITFIELD_RO").key(key).read_only())
    }

    /// Reads an integer.
    pub fn get(mut self, of: BitType, at: impl Into<BitOffset>) -> Self {
        self.frame = integer(self.frame.arg("GET"), of, at.into());
        self
    }
}
