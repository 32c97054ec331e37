//! Why fields cannot be read as a type, without their content.

use std::{borrow::Cow, cell::RefCell, fmt};

use serde::de::{self, Expected, Unexpected};

use super::fields_looks::Key;

/// Which text an error is about, by its place in memory: serde keeps borrowed text where it is, so that
/// this names the fields that was wanted as something else than text.
pub(super) type TextAddress = (usize, usize);

pub(super) fn address(text: &[u8]) -> TextAddress {
    (text.as_ptr() as usize, text.len())
}

/// The field that carries the trace of an entry.
pub(crate) const TRACE_FIELD: &str = "traceparent";

/// A value that a type refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A text, and whether a boolean was wanted.
    Text(TextAddress, bool),
    Value(Key),
}

thread_local! {
    /// Everything that was found in a pass, with what an Option or an untagged enum has swallowed: serde makes an error for
    /// each, and does not let it see anything of the pass.
    static FOUND: RefCell<Vec<Found>> = const { RefCell::new(Vec::new()) };
}

/// Bounds what one pass may note.
const MOST_FOUND: usize = 1 << 16;

/// Runs a pass, and returns the refused values. Passes may be nested: a `Deserialize` may read fields itself.
pub(super) fn noting<T>(pass: impl FnOnce() -> T) -> (T, Vec<Found>) {
    let outer = FOUND.take();
    let result = pass();
    (result, FOUND.replace(outer))
}

fn note(found: Found) {
    FOUND.with_borrow_mut(|all| {
        if all.len() < MOST_FOUND {
            all.push(found);
        }
    });
}

/// Why something does not fit, without the data.
#[derive(Debug)]
pub(super) struct Wrong {
    why: Cow<'static, str>,
    pub(super) field: Option<&'static str>,
    pub(super) found: Option<Found>,
    /// A field that the type does not know.
    pub(super) unknown_trace: bool,
}

impl Wrong {
    pub(super) fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self { why: why.into(), field: None, found: None, unknown_trace: false }
    }

    fn finding(found: Option<Found>, why: String) -> Self {
        if let Some(found) = found {
            note(found);
        }
        Self { found, ..Self::new(why) }
    }
}

fn found(found: &Unexpected<'_>, expected: &dyn Expected) -> Option<Found> {
    match found {
        Unexpected::Str(text) => Some(Found::Text(address(text.as_bytes()), expected.to_string() == "a boolean")),
        Unexpected::Bytes(bytes) => Some(Found::Text(address(bytes), false)),
        other => Key::of(other).map(Found::Value),
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "field `{field}` {}", self.why),
            None => write!(f, "a field {}", self.why),
        }
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    // What serde and foreign implementations say may quote data: their words are not kept.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("was refused by its own Deserialize")
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::finding(found(&unexpected, expected), format!("is of another type, expected {expected}"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::finding(found(&unexpected, expected), format!("has a value that does not fit, expected {expected}"))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("has the wrong number of elements, expected {expected}"))
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        // A variant with content, taken for the name of one.
        let content = found.starts_with('{').then(|| Found::Text(address(found.as_bytes()), false));
        Self::finding(content, format!("is none of the variants {}", expected.join(", ")))
    }

    fn unknown_field(name: &str, _: &'static [&'static str]) -> Self {
        let unknown_trace = name == TRACE_FIELD;
        Self { unknown_trace, ..Self::new("is not known to the type, which denies unknown ones") }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field: Some(field), ..Self::new("is missing") }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { field: Some(field), ..Self::new("is there twice") }
    }
}
