//! Limits on replies, and the protocol errors.

use std::fmt;

/// Limits on one reply, against a hostile or broken peer. The defaults are far above what Redis sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Nesting levels, including the innermost value. 100 as in redis-rs, because [`redis::Value`] has a recursive
    /// `Drop`, `Debug` and conversions. Scripts can return deep tables, so a lower limit would refuse replies that
    /// other clients accept.
    pub(crate) depth: usize,
    /// The size of one string in bytes. Redis' own `proto-max-bulk-len` is 512 MiB.
    pub(crate) bulk: usize,
    /// The number of elements of one reply over all levels; keys and values of a map count separately.
    pub(crate) elements: usize,
    /// The length of one line, and of one error text, in bytes.
    pub(crate) line: usize,
    /// The text in one aggregate reply over all levels, in bytes.
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

/// The protocol rule or the limit that the peer violated. Contains no byte of the reply except an unknown type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// Nesting deeper than this number of levels.
    Depth(usize),
    /// An announced string longer than this.
    BulkLength(usize),
    /// More announced elements than this in one reply.
    Elements(usize),
    /// A line, or an error text, longer than this.
    LineLength(usize),
    /// More text than this in one reply.
    ReplySize(usize),
    /// A negative length other than that of nil.
    NegativeLength,
    /// A number or a length that is not a 64-bit integer.
    Integer,
    /// A double that is not a number.
    Double,
    /// A big number with characters other than digits.
    BigNumber,
    /// A boolean other than `t` and `f`.
    Boolean,
    /// A null followed by other bytes.
    Null,
    /// A string without a line end after its announced length.
    BodyEnd,
    /// An error that redis-rs' parser does not accept: no such error is known.
    ErrorText,
    /// A verbatim string without its format.
    Verbatim,
    /// A push without its kind.
    PushKind,
    /// A streamed string or aggregate, which servers send only on request.
    Streamed,
    /// A byte that is not the start of a type.
    UnknownType(u8),
}

impl ProtocolError {
    /// Whether the reply exceeds a limit of this client, but conforms to the protocol.
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
            Self::NegativeLength => f.write_str("negative length of a type without nil"),
            Self::Integer => f.write_str("number that is not a 64-bit integer"),
            Self::Double => f.write_str("double that is not a number"),
            Self::BigNumber => f.write_str("big number that is not made of digits"),
            Self::Boolean => f.write_str("boolean that is neither t nor f"),
            Self::Null => f.write_str("null followed by other bytes"),
            Self::BodyEnd => f.write_str("string without a line end after its length"),
            Self::ErrorText => f.write_str("error reply that cannot be parsed"),
            Self::Verbatim => f.write_str("verbatim string without a format"),
            Self::PushKind => f.write_str("push message without a kind"),
            Self::Streamed => f.write_str("streamed reply, which this client never requests"),
            // The first byte of a TLS alert or handshake.
            Self::UnknownType(0x15 | 0x16) => f.write_str("the answer is tls; use rediss:// or REDIS_TLS=true"),
            Self::UnknownType(byte) => {
                write!(f, "unknown reply type '{}', is this a redis server?", byte.escape_ascii())
            }
        }
    }
}

impl std::error::Error for ProtocolError {}
