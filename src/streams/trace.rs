//! The trace that a message belongs to, as W3C Trace Context has it.

use std::{fmt, str::FromStr};

use super::delivery::Delivery;
use crate::messages::{fields_error::TRACE_FIELD as FIELD, streams_replies::StreamEntry};

/// A W3C `traceparent`: `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
///
/// It travels as a field of that name: [`XAdd::traceparent`](crate::XAdd::traceparent) writes it,
/// [`Delivery::traceparent`] reads it.
///
/// ```
/// use redis_actix::TraceParent;
///
/// let parent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// let child = parent.child();
/// assert_eq!(child.trace_id(), parent.trace_id());
/// assert!(child.is_sampled() && child.span_id() != parent.span_id());
/// # Ok::<(), redis_actix::InvalidTraceParent>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// A text that is no [`TraceParent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTraceParent;

impl fmt::Display for InvalidTraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a traceparent is 00-, 32 hexadecimal digits for the trace, -, 16 for the span, -, 2 for the flags, all in \
             lower case; neither trace nor span may be zero",
        )
    }
}

impl std::error::Error for InvalidTraceParent {}

impl TraceParent {
    /// The first span of a new trace.
    #[must_use]
    pub fn new(sampled: bool) -> Self {
        Self { trace: fastrand::u128(1..), span: fastrand::u64(1..), flags: u8::from(sampled) }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: fastrand::u64(1..), ..self }
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(self) -> u128 {
        self.trace
    }

    /// The span.
    #[must_use]
    pub fn span_id(self) -> u64 {
        self.span
    }

    /// Whether whoever began the trace records it.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    pub(crate) fn of_fields(fields: &[(Vec<u8>, Vec<u8>)]) -> Option<Self> {
        let (_, value) = fields.iter().rev().find(|(name, _)| name == FIELD.as_bytes())?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Reads version 00, and of later versions the part that this one has, as the standard asks.
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let part = |range: std::ops::Range<usize>| text.get(range).ok_or(InvalidTraceParent);
        let digits = |part: &str| match part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            true => u128::from_str_radix(part, 16).map_err(|_| InvalidTraceParent),
            false => Err(InvalidTraceParent),
        };
        let dashes = [2, 35, 52].into_iter().all(|at| text.as_bytes().get(at) == Some(&b'-'));
        let version = digits(part(0..2)?)?;
        let ends = match (version, text.as_bytes().get(55)) {
            (0, end) => end.is_none(),
            (255, _) => false,
            (_, end) => end.is_none_or(|end| *end == b'-'),
        };
        let (trace, span, flags) = (digits(part(3..35)?)?, digits(part(36..52)?)?, digits(part(53..55)?)?);
        if !dashes || !ends || trace == 0 || span == 0 {
            return Err(InvalidTraceParent);
        }
        Ok(Self { trace, span: span as u64, flags: flags as u8 })
    }
}

impl<T, R> Delivery<T, R> {
    /// The trace that the message belongs to, if its producer said so.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        TraceParent::of_fields(self.fields())
    }
}

impl StreamEntry {
    /// The trace that the message belongs to, if its producer said so.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        TraceParent::of_fields(&self.fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_is_read_and_written_as_the_standard_says() {
        let parent: TraceParent = TEXT.parse().expect("valid");
        assert_eq!((parent.to_string().as_str(), parent.is_sampled()), (TEXT, true));
        let later = format!("01{}-more", &TEXT[2..]);
        assert_eq!(later.parse(), Ok(parent));
        for wrong in [
            "",
            "00",
            &TEXT[..54],
            &format!("{TEXT}-more"),
            &TEXT.to_uppercase(),
            &TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &TEXT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &format!("ff{}", &TEXT[2..]),
            &TEXT.replace('-', "_"),
            "00-äbf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(InvalidTraceParent), "{wrong}");
        }
    }
}
