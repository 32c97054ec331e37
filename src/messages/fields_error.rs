//! Why fields cannot be read as a type, told without what is in them.

use std::{borrow::Cow, fmt};

use serde::de::{self, Expected, Unexpected};

/// Which text an error is about, by its place in memory: serde keeps borrowed text where it is, so that
/// this tells which of the fields was wanted as something else than text.
pub(super) type TextAddress = (usize, usize);

pub(super) fn place(text: &[u8]) -> TextAddress {
    (text.as_ptr() as usize, text.len())
}

/// Why something does not fit, without the data.
#[derive(Debug)]
pub(super) struct Wrong {
    why: Cow<'static, str>,
    pub(super) field: Option<&'static str>,
    pub(super) text: Option<TextAddress>,
}

impl Wrong {
    pub(super) fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self { why: why.into(), field: None, text: None }
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

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let text = match found {
            Unexpected::Str(text) => Some(place(text.as_bytes())),
            Unexpected::Bytes(bytes) => Some(place(bytes)),
            _ => None,
        };
        Self { text, ..Self::new(format!("is of another type, expected {expected}")) }
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("has a value that does not fit, expected {expected}"))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("has the wrong number of elements, expected {expected}"))
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        // A variant with content, taken for the name of one.
        let text = found.starts_with('{').then(|| place(found.as_bytes()));
        let why = format!("is none of the variants {}", expected.join(", "));
        Self { text, ..Self::new(why) }
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self::new("is not known to the type, which denies unknown ones")
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field: Some(field), ..Self::new("is missing") }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { field: Some(field), ..Self::new("is there twice") }
    }
}
