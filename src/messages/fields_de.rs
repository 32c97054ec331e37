//! Structs and maps as fields of hashes and stream entries: the reading half.

use std::{cell::RefCell, collections::HashMap};

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::fields_error::{TRACE_FIELD, TextAddress, Wrong, address};
use super::fields_looks::{Looks, looks};

/// Up to this number of fields, searching for a later one of the same name is cheaper than a table of names.
const FEW: usize = 64;

/// How a text is given to a type that does not say which type it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    /// As the text that it is.
    #[default]
    Text,
    /// As what it looks like.
    Looks,
    /// `1` and `0` as booleans.
    Bool,
    /// As bytes, for types that refuse text.
    Bytes,
    /// As a number that is nowhere else, to see whether numbers are taken.
    Number,
    /// As invalid bytes, which count the visitors that try the value.
    Poison,
}

/// A number that no field has, as far as can be said.
pub(super) const NUMBER: u64 = 0x7a3d_91c6_05fe_b842;
/// Bytes that are no text.
pub(super) static POISON: &[u8] = &[0xff, 0xfe];

/// One pass over the fields.
pub(super) struct Pass<'de, 'a> {
    pub(super) forms: &'a HashMap<TextAddress, Form>,
    /// What looks like something else than text is given as that, unless `forms` knows better.
    pub(super) by_looks: bool,
    /// The field that carries the trace is left out.
    pub(super) without_trace: bool,
    /// Values that were wanted without a type, and look like something else than text.
    pub(super) asked: RefCell<Vec<&'de [u8]>>,
}

impl Pass<'_, '_> {
    fn form(&self, text: &[u8]) -> Form {
        let usual = if self.by_looks { Form::Looks } else { Form::Text };
        self.forms.get(&address(text)).copied().unwrap_or(usual)
    }
}

/// Deserialises the value that has the fields.
pub(super) struct WholeValue<'de, 'a, N, W> {
    pub(super) all: &'de [(N, W)],
    pub(super) pass: &'a Pass<'de, 'a>,
}

impl<'de, 'a, N: AsRef<[u8]>, W: AsRef<[u8]>> WholeValue<'de, 'a, N, W> {
    fn entries(self, known: &'static [&'static str]) -> Entries<'de, 'a, N, W> {
        let last = (self.all.len() > FEW)
            .then(|| self.all.iter().enumerate().map(|(at, (name, _))| (name.as_ref(), at)).collect::<HashMap<_, _>>());
        Entries { all: self.all, pass: self.pass, at: 0, known, last, value: None }
    }
}

impl<'de, N: AsRef<[u8]>, W: AsRef<[u8]>> Deserializer<'de> for WholeValue<'de, '_, N, W> {
    type Error = Wrong;

    fn deserialize_any<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_map(self.entries(&[]))
    }

    fn deserialize_struct<X: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: X,
    ) -> Result<X::Value, Wrong> {
        visitor.visit_map(self.entries(known))
    }

    fn deserialize_newtype_struct<X: Visitor<'de>>(self, _: &'static str, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        let pairs = self.all.iter().map(|(name, value)| Pair(name.as_ref(), value.as_ref(), self.pass));
        visitor.visit_seq(de::value::SeqDeserializer::new(pairs))
    }

    fn deserialize_enum<X: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: X,
    ) -> Result<X::Value, Wrong> {
        // As it was written: one field, named like the variant.
        match self.all {
            [(name, value)] => visitor.visit_enum(Variant {
                name: Text { text: name.as_ref(), pass: self.pass, is_name: true },
                content: Text { text: value.as_ref(), pass: self.pass, is_name: false },
            }),
            _ => Err(Wrong::new("too few or too many: an enum is one field, named like its variant")),
        }
    }

    fn deserialize_ignored_any<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_unit()
    }

    fn deserialize_unit<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct
        tuple tuple_struct map identifier
    }
}

/// A field with its value, for types that want a list of pairs.
struct Pair<'de, 'a>(&'de [u8], &'de [u8], &'a Pass<'de, 'a>);

impl<'de, 'a> IntoDeserializer<'de, Wrong> for Pair<'de, 'a> {
    type Deserializer = de::value::SeqDeserializer<std::array::IntoIter<Text<'de, 'a>, 2>, Wrong>;

    fn into_deserializer(self) -> Self::Deserializer {
        let text = |(text, is_name)| Text { text, pass: self.2, is_name };
        de::value::SeqDeserializer::new([(self.0, true), (self.1, false)].map(text).into_iter())
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for Text<'de, '_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Walks over the fields without a map between.
struct Entries<'de, 'a, N, W> {
    all: &'de [(N, W)],
    pass: &'a Pass<'de, 'a>,
    at: usize,
    known: &'static [&'static str],
    /// Where each name comes last, when there are many fields.
    last: Option<HashMap<&'de [u8], usize>>,
    value: Option<(&'de [u8], &'de [u8])>,
}

impl<N: AsRef<[u8]>, W> Entries<'_, '_, N, W> {
    fn comes_again(&self, name: &[u8], at: usize) -> bool {
        match &self.last {
            Some(last) => last.get(name).is_some_and(|&last| last > at),
            None => self.all.iter().skip(at + 1).any(|(later, _)| later.as_ref() == name),
        }
    }
}

impl<'de, N: AsRef<[u8]>, W: AsRef<[u8]>> de::MapAccess<'de> for Entries<'de, '_, N, W> {
    type Error = Wrong;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        while let Some((name, value)) = self.all.get(self.at) {
            let (name, at) = (name.as_ref(), self.at);
            self.at += 1;
            let hidden = self.pass.without_trace && name == TRACE_FIELD.as_bytes();
            if !hidden && !self.comes_again(name, at) {
                self.value = Some((name, value.as_ref()));
                return seed.deserialize(Text { text: name, pass: self.pass, is_name: true }).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let (name, text) = self.value.take().unwrap_or_default();
        seed.deserialize(Text { text, pass: self.pass, is_name: false }).map_err(|mut wrong| {
            let field = self.known.iter().copied().find(|known| known.as_bytes() == name);
            wrong.field = field.or(wrong.field);
            wrong
        })
    }
}

/// Deserialises one value.
#[derive(Clone, Copy)]
struct Text<'de, 'a> {
    text: &'de [u8],
    pass: &'a Pass<'de, 'a>,
    /// Names are text, unless text is refused.
    is_name: bool,
}

impl<'de> Text<'de, '_> {
    fn str(self) -> Result<&'de str, Wrong> {
        std::str::from_utf8(self.text).map_err(|_| Wrong::new("is not UTF-8; take it as bytes (serde_bytes)"))
    }

    fn parse<T: std::str::FromStr>(self) -> Result<T, Wrong> {
        let number = std::str::from_utf8(self.text).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| Wrong::new(format!("is no number that fits {}", std::any::type_name::<T>())))
    }

    /// Reads JSON, and no text after it.
    fn json<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>) -> serde_json::Result<T>,
    ) -> Result<T, Wrong> {
        let mut json = serde_json::Deserializer::from_slice(self.text);
        read(&mut json).and_then(|value| json.end().map(|()| value)).map_err(|error| {
            Wrong::new(if error.is_data() { "is JSON of another type" } else { "is not the JSON that its type needs" })
        })
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
            visitor.$visit(self.parse()?)
        })*
    };
}

macro_rules! nested {
    ($($method:ident($($arg:ident: $type:ty),*))*) => {
        $(fn $method<X: Visitor<'de>>(self, $($arg: $type,)* visitor: X) -> Result<X::Value, Wrong> {
            self.json(|json| json.$method($($arg,)* visitor))
        })*
    };
}

impl<'de> Deserializer<'de> for Text<'de, '_> {
    type Error = Wrong;

    numbers! {
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i128 visit_i128 deserialize_u128 visit_u128 deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    nested! {
        deserialize_seq() deserialize_map() deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
    }

    fn deserialize_any<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        let looks = looks(self.text);
        if !looks.is_text() && !self.is_name {
            self.pass.asked.borrow_mut().push(self.text);
        }
        let form = if self.is_name && self.pass.by_looks { Form::Text } else { self.pass.form(self.text) };
        match form {
            Form::Looks => match looks {
                Looks::Bool(is) => return visitor.visit_bool(is),
                Looks::Null => return visitor.visit_unit(),
                Looks::Unsigned(number) => return visitor.visit_u64(number),
                Looks::Signed(number) => return visitor.visit_i64(number),
                Looks::Float(number) => return visitor.visit_f64(number),
                Looks::List | Looks::Map | Looks::Quoted => return self.json(|json| json.deserialize_any(visitor)),
                Looks::Text => {}
            },
            Form::Bool => return self.deserialize_bool(visitor),
            Form::Number => return visitor.visit_u64(NUMBER),
            Form::Poison => return visitor.visit_borrowed_bytes(POISON),
            Form::Bytes => return visitor.visit_borrowed_bytes(self.text),
            Form::Text => {}
        }
        match std::str::from_utf8(self.text) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_borrowed_bytes(self.text),
        }
    }

    fn deserialize_bool<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        match self.text {
            b"true" | b"1" => visitor.visit_bool(true),
            b"false" | b"0" => visitor.visit_bool(false),
            _ => Err(Wrong::new("is neither true nor false")),
        }
    }

    fn deserialize_str<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_borrowed_str(self.str()?)
    }

    fn deserialize_string<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        self.deserialize_any(visitor)
    }

    fn deserialize_bytes<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_borrowed_bytes(self.text)
    }

    fn deserialize_byte_buf<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<X: Visitor<'de>>(self, _: &'static str, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<X: Visitor<'de>>(self, _: &'static str, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<X: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: X,
    ) -> Result<X::Value, Wrong> {
        if self.text.starts_with(b"{") {
            return self.json(|json| json.deserialize_enum(name, variants, visitor));
        }
        visitor.visit_enum(self.str()?.into_deserializer())
    }

    fn deserialize_ignored_any<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_unit()
    }
}

/// A variant whose name is a field and whose content is its value.
struct Variant<'de, 'a> {
    name: Text<'de, 'a>,
    content: Text<'de, 'a>,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'de, 'a> {
    type Error = Wrong;
    type Variant = Text<'de, 'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), Wrong> {
        Ok((seed.deserialize(self.name)?, self.content))
    }
}

impl<'de> de::VariantAccess<'de> for Text<'de, '_> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Wrong> {
        seed.deserialize(self)
    }

    fn tuple_variant<X: Visitor<'de>>(self, len: usize, visitor: X) -> Result<X::Value, Wrong> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<X: Visitor<'de>>(self, fields: &'static [&'static str], visitor: X) -> Result<X::Value, Wrong> {
        self.deserialize_struct("", fields, visitor)
    }
}
