//! Structs and maps as fields of hashes and stream entries: the reading half.

use std::collections::HashMap;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::fields_error::{TextAddress, Wrong, place};
use crate::error::{Error, Result};

/// Up to so many fields, looking for a later one of the same name is cheaper than a table of names.
const FEW: usize = 64;

/// Reads a struct or a map from the fields of a hash or a stream entry, as
/// [`to_fields`](crate::to_fields) writes them; a `Vec` of pairs takes them as they are.
///
/// Fields that the type does not know are ignored (unless it has `#[serde(deny_unknown_fields)]`). Of
/// several fields with one name the last counts. Text must be UTF-8; `serde_bytes` takes any bytes.
/// `true`, `false`, `1` and `0` are booleans. An `Option` is `None` when its field is missing.
///
/// Inside `#[serde(flatten)]` and enums with `#[serde(tag = ..)]`, where serde does not say which type it
/// wants, numbers and nested values are found all the same, at the cost of one more pass over the fields
/// for each. Enums with `#[serde(untagged)]` get text only.
///
/// # Errors
/// When a field is missing or does not fit. The error names fields of structs, and never quotes data.
pub fn from_fields<T: DeserializeOwned, K: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(K, V)]) -> Result<T> {
    let mut typed = Vec::new();
    loop {
        match T::deserialize(WholeValue { all: fields, typed: &typed }) {
            Ok(value) => return Ok(value),
            Err(Wrong { text: Some(text), .. }) if !typed.contains(&text) => typed.push(text),
            Err(wrong) => return Err(Error::decode(wrong.to_string())),
        }
    }
}

/// Deserialises the value that has the fields.
struct WholeValue<'de, 'a, N, W> {
    all: &'de [(N, W)],
    typed: &'a [TextAddress],
}

impl<'de, 'a, N: AsRef<[u8]>, W: AsRef<[u8]>> WholeValue<'de, 'a, N, W> {
    fn entries(self, known: &'static [&'static str]) -> Entries<'de, 'a, N, W> {
        let last = (self.all.len() > FEW)
            .then(|| self.all.iter().enumerate().map(|(at, (name, _))| (name.as_ref(), at)).collect::<HashMap<_, _>>());
        Entries { all: self.all, typed: self.typed, at: 0, known, last, value: None }
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
        let pairs = self.all.iter().map(|(name, value)| Pair(name.as_ref(), value.as_ref()));
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
                name: Text { text: name.as_ref(), typed: self.typed },
                content: Text { text: value.as_ref(), typed: self.typed },
            }),
            _ => Err(Wrong::new("too few or too many: an enum is one field, named like its variant")),
        }
    }

    fn deserialize_ignored_any<X: Visitor<'de>>(self, visitor: X) -> Result<X::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier
    }
}

/// A field with its value, for those who want a list of pairs.
struct Pair<'de>(&'de [u8], &'de [u8]);

impl<'de> IntoDeserializer<'de, Wrong> for Pair<'de> {
    type Deserializer = de::value::SeqDeserializer<std::array::IntoIter<Text<'de, 'static>, 2>, Wrong>;

    fn into_deserializer(self) -> Self::Deserializer {
        de::value::SeqDeserializer::new([self.0, self.1].map(|text| Text { text, typed: &[] }).into_iter())
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
    typed: &'a [TextAddress],
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
            if !self.comes_again(name, at) {
                self.value = Some((name, value.as_ref()));
                return seed.deserialize(Text { text: name, typed: &[] }).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let (name, text) = self.value.take().unwrap_or_default();
        seed.deserialize(Text { text, typed: self.typed }).map_err(|mut wrong| {
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
    typed: &'a [TextAddress],
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
        if self.typed.contains(&place(self.text)) {
            // It was wanted as something else than text.
            match self.text {
                b"true" => return visitor.visit_bool(true),
                b"false" => return visitor.visit_bool(false),
                b"null" => return visitor.visit_unit(),
                [b'[' | b'{', ..] => return self.json(|json| json.deserialize_any(visitor)),
                _ => {}
            }
            if let Ok(number) = self.parse() {
                return visitor.visit_u64(number);
            }
            if let Ok(number) = self.parse() {
                return visitor.visit_i64(number);
            }
            if let Ok(number) = self.parse() {
                return visitor.visit_f64(number);
            }
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
