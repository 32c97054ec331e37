//! What a text may be besides text. A field does not say of which type it was when it was written.

use serde::de::{IgnoredAny, Unexpected};

/// What a text looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Looks {
    Text,
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    List,
    Map,
    /// A text in quotes, as JSON has it.
    Quoted,
}

/// A refused value that is no text, as serde reports it: by its value, without its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(u64),
    List,
    Map,
}

impl Looks {
    pub(super) fn is_text(self) -> bool {
        self == Self::Text
    }

    pub(super) fn key(self) -> Option<Key> {
        Some(match self {
            Self::Text | Self::Quoted => return None,
            Self::Null => Key::Null,
            Self::Bool(is) => Key::Bool(is),
            Self::Unsigned(number) => Key::Unsigned(number),
            Self::Signed(number) => Key::Signed(number),
            Self::Float(number) => Key::Float(number.to_bits()),
            Self::List => Key::List,
            Self::Map => Key::Map,
        })
    }
}

impl Key {
    pub(super) fn of(found: &Unexpected<'_>) -> Option<Self> {
        Some(match *found {
            Unexpected::Unit | Unexpected::Option => Self::Null,
            Unexpected::Bool(is) => Self::Bool(is),
            Unexpected::Unsigned(number) => Self::Unsigned(number),
            Unexpected::Signed(number) => Self::Signed(number),
            Unexpected::Float(number) => Self::Float(number.to_bits()),
            Unexpected::Seq => Self::List,
            Unexpected::Map => Self::Map,
            _ => return None,
        })
    }
}

/// Numbers as Rust reads them, and everything that is JSON.
pub(super) fn looks(text: &[u8]) -> Looks {
    match text {
        b"null" => return Looks::Null,
        b"true" => return Looks::Bool(true),
        b"false" => return Looks::Bool(false),
        [b'[', ..] if is_json(text) => return Looks::List,
        [b'{', ..] if is_json(text) => return Looks::Map,
        [b'"', ..] if is_json(text) => return Looks::Quoted,
        // The beginnings of numbers, of infinities and of NaN.
        [b'0'..=b'9' | b'+' | b'-' | b'.' | b'i' | b'I' | b'n' | b'N', ..] => {}
        _ => return Looks::Text,
    }
    let Ok(text) = std::str::from_utf8(text) else { return Looks::Text };
    let unsigned = text.parse().map(Looks::Unsigned);
    let signed = unsigned.or_else(|_| text.parse().map(Looks::Signed));
    signed.or_else(|_| text.parse().map(Looks::Float)).unwrap_or(Looks::Text)
}

pub(super) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}
