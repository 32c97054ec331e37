//! What a peer may make us hold, and the words for a broken rule.

use std::fmt;

/// Bounds on one reply. They exist for a hostile or broken peer; the defaults are far beyond what Redis sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Levels of nesting, the innermost value included. 100 as in redis-rs, whose recursive `Drop`, `Debug` and
    /// conversions of [`redis::Value`] are used at that depth; scripts can return deep tables, so less would refuse replies
    /// that another client takes.
    pub(crate) depth: usize,
    /// Bytes of one string. Redis' own `proto-max-bulk-len` is 512 MiB.
    pub(crate) bulk: usize,
    /// Elements of one reply over all its levels, keys and values of a map counted each.
    pub(crate) elements: usize,
    /// Bytes of one line, and of one error text.
    pub(crate) line: usize,
    /// Bytes of text in one aggregate reply over all its levels.
    pub(crate) reply: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 100,
            bulk: 512 * 1024 * 1024,
            elements: 16 * 1024 * 1024,
            line: 64 * 1024,
            reply: 1024 * 1024 * 1024,
        }
    }
}

/// The rule of the protocol, or of our [`Limits`], that the peer broke. Holds no byte of the reply except an unknown type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// Nested deeper than this many levels.
    Depth(usize),
    /// A string longer than this was announced.
    BulkLength(usize),
    /// More elements than this were announced in one reply.
    Elements(usize),
    /// A line, or an error text, longer than this.
    LineLength(usize),
    /// More text than this in one reply.
    ReplySize(usize),
    /// A negative length that does not mean nil.
    NegativeLength,
    /// A number or a length that is not an integer of 64 bits.
    Integer,
    /// A double that is not a number.
    Double,
    /// A big number with something else than digits.
    BigNumber,
    /// A boolean other than `t` and `f`.
    Boolean,
    /// A null with something behind it.
    Null,
    /// A string whose announced length is not followed by a line end.
    BodyEnd,
    /// An error that redis-rs' parser does not take: none is known.
    ErrorText,
    /// A verbatim string without its format.
    Verbatim,
    /// A push without its kind.
    PushKind,
    /// A streamed string or aggregate, which no server sends unasked.
    Streamed,
    /// A byte that starts no type.
    UnknownType(u8),
}

impl ProtocolError {
    /// Whether a reply exceeds a limit of this client; the protocol itself would allow it.
    pub(crate) fn is_limit(self) -> bool {
        matches!(
            self,
            Self::Depth(_) | Self::BulkLength(_) | Self::Elements(_) | Self::LineLength(_) | Self::ReplySize(_)
        )
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_limit() {
            "a reply is larger than this client accepts: "
        } else {
            "the server broke the protocol: "
        })?;
        match self {
            Self::Depth(limit) => write!(f, "reply nested deeper than {limit} levels"),
            Self::BulkLength(limit) => write!(f, "string longer than {limit} bytes announced"),
            Self::Elements(limit) => {
                write!(f, "more than {limit} elements announced in one reply")
            }
            Self::LineLength(limit) => write!(f, "line longer than {limit} bytes"),
            Self::ReplySize(limit) => write!(f, "more than {limit} bytes of text in one reply"),
            Self::NegativeLength => f.write_str("negative length where none has a meaning"),
            Self::Integer => f.write_str("number that is not a 64-bit integer"),
            Self::Double => f.write_str("double that is not a number"),
            Self::BigNumber => f.write_str("big number that is not made of digits"),
            Self::Boolean => f.write_str("boolean that is neither t nor f"),
            Self::Null => f.write_str("null with something behind it"),
            Self::BodyEnd => f.write_str("string that does not end where its length says"),
            Self::ErrorText => f.write_str("error reply that cannot be read"),
            Self::Verbatim => f.write_str("verbatim string without a format"),
            Self::PushKind => f.write_str("push message without a kind"),
            Self::Streamed => f.write_str("streamed reply, which this client never asks for"),
            // The first byte of a TLS alert or handshake.
            Self::UnknownType(0x15 | 0x16) => f.write_str("the answer is tls; use rediss:// or REDIS_TLS=true"),
            Self::UnknownType(byte) => {
                write!(f, "unknown reply type '{}', is this a redis server?", byte.escape_ascii())
            }
        }
    }
}

impl std::error::Error for ProtocolError {}
