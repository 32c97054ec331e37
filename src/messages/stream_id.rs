//! Ids of stream entries.

use std::ops::Bound;
use std::{fmt, str::FromStr};

use redis::{FromRedisValue, ParsingError, RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};
use smallvec::SmallVec;

use super::shape;
use crate::error::{Error, Result};

/// The id of a stream entry: milliseconds since the Unix epoch by the server's clock, and a sequence number within
/// the millisecond. The ids of a stream increase strictly.
///
/// ```
/// use redis_actix::StreamId;
///
/// let id: StreamId = "1526919030474-55".parse()?;
/// assert_eq!(id, StreamId::new(1526919030474, 55));
/// assert!(id > StreamId::MIN);
/// assert_eq!(id.to_string(), "1526919030474-55");
/// # Ok::<(), redis_actix::InvalidStreamId>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Milliseconds since the Unix epoch.
    pub ms: u64,
    /// The sequence number within the millisecond, from 0.
    pub seq: u64,
}

/// The error of a text that is not a [`StreamId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidStreamId;

impl fmt::Display for InvalidStreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid stream id: expected two numbers, such as 1526919030474-0, or the first of them")
    }
}

impl std::error::Error for InvalidStreamId {}

type Text = SmallVec<[u8; 48]>;

impl StreamId {
    /// Before every entry: no entry has this id.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The highest possible id.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id `ms-seq`.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The next id, or `None` after [`StreamId::MAX`].
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(Self { ms: self.ms, seq }),
            (None, Some(ms)) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    fn text(self, before: &[u8]) -> Text {
        let mut number = itoa::Buffer::new();
        let mut text = Text::from_slice(before);
        text.extend_from_slice(number.format(self.ms).as_bytes());
        text.push(b'-');
        text.extend_from_slice(number.format(self.seq).as_bytes());
        text
    }

    /// A bound of XRANGE and similar commands; `open` is the text for no bound.
    pub(super) fn bound(bound: Bound<&Self>, open: &str) -> Text {
        match bound {
            Bound::Included(id) => id.text(b""),
            Bound::Excluded(id) => id.text(b"("),
            Bound::Unbounded => Text::from_slice(open.as_bytes()),
        }
    }

    pub(super) fn from_value(value: Value) -> Result<Self> {
        let bytes = shape::bytes(value)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| shape::unexpected())?;
        text.parse().map_err(|_| Error::decode("the server's answer is not the id of a stream entry"))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    /// Parses `ms-seq`, or `ms` alone for `ms-0`. Digits only: no sign, no space.
    fn from_str(text: &str) -> Result<Self, InvalidStreamId> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map_err(|_| InvalidStreamId),
            false => Err(InvalidStreamId),
        };
        Ok(Self { ms: number(ms)?, seq: number(seq)? })
    }
}

impl From<InvalidStreamId> for Error {
    fn from(error: InvalidStreamId) -> Self {
        Self::invalid_command(error.to_string())
    }
}

impl ToRedisArgs for StreamId {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(&self.text(b""));
    }
}

impl ToSingleRedisArg for StreamId {}

impl FromRedisValue for StreamId {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Ok(Self::from_value(value)?)
    }
}
