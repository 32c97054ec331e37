//! What JSON would change without a word, found before it is written.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

/// Why a value is not the same after JSON. The words of a foreign `Serialize` may quote data, and are not kept.
#[derive(Debug)]
pub(super) enum Lossy {
    /// JSON has no number for it: serde_json writes `null`.
    NotFinite,
    /// `Some(None)` and `Some(())` are `null`, which is read as `None`.
    NullInSome,
    /// Its own `Serialize` failed, or it is not for JSON at all. serde_json says the same.
    Foreign,
}

impl fmt::Display for Lossy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => {
                "JSON has no NaN and no infinity; give such a float a field of its own, or write it as text"
            }
            Self::NullInSome => "an Option with null in it would be read as None; make it a variant of an enum instead",
            Self::Foreign => "the value's own Serialize failed",
        })
    }
}

impl std::error::Error for Lossy {}

impl ser::Error for Lossy {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Foreign
    }
}

/// Refuses what JSON has no word for: floats that are not finite.
pub(super) fn has_json<T: Serialize + ?Sized>(value: &T) -> Result<(), Lossy> {
    value.serialize(Check { exact: false }).map(drop)
}

/// Refuses in addition what JSON writes as something else: `null` in an Option.
pub(super) fn comes_back_from_json<T: Serialize + ?Sized>(value: &T) -> Result<(), Lossy> {
    value.serialize(Check { exact: true }).map(drop)
}

/// Walks over a value; says of each part whether it is `null`.
#[derive(Clone, Copy)]
struct Check {
    exact: bool,
}

type Null = bool;

macro_rules! plain {
    ($($method:ident($($arg:ty),*) = $null:literal;)*) => {
        $(fn $method(self, $(_: $arg),*) -> Result<Null, Lossy> { Ok($null) })*
    };
}

macro_rules! parts {
    ($($of:ident: $method:ident($($name:ty)?);)*) => {
        $(impl ser::$of for Check {
            type Ok = Null;
            type Error = Lossy;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<(), Lossy> {
                value.serialize(*self).map(drop)
            }

            fn end(self) -> Result<Null, Lossy> {
                Ok(false)
            }
        })*
    };
}

parts! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}

impl ser::SerializeMap for Check {
    type Ok = Null;
    type Error = Lossy;

    // What JSON cannot have as a name serde_json refuses by itself.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Lossy> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Lossy> {
        value.serialize(*self).map(drop)
    }

    fn end(self) -> Result<Null, Lossy> {
        Ok(false)
    }
}

impl Serializer for Check {
    type Ok = Null;
    type Error = Lossy;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain! {
        serialize_bool(bool) = false; serialize_char(char) = false; serialize_str(&str) = false;
        serialize_bytes(&[u8]) = false; serialize_i8(i8) = false; serialize_i16(i16) = false;
        serialize_i32(i32) = false; serialize_i64(i64) = false; serialize_i128(i128) = false;
        serialize_u8(u8) = false; serialize_u16(u16) = false; serialize_u32(u32) = false;
        serialize_u64(u64) = false; serialize_u128(u128) = false;
        serialize_unit_variant(&'static str, u32, &'static str) = false;
        serialize_none() = true; serialize_unit() = true; serialize_unit_struct(&'static str) = true;
    }

    fn serialize_f32(self, number: f32) -> Result<Null, Lossy> {
        if number.is_finite() { Ok(false) } else { Err(Lossy::NotFinite) }
    }

    fn serialize_f64(self, number: f64) -> Result<Null, Lossy> {
        if number.is_finite() { Ok(false) } else { Err(Lossy::NotFinite) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Null, Lossy> {
        match value.serialize(self)? {
            true if self.exact => Err(Lossy::NullInSome),
            null => Ok(null),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Null, Lossy> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Null, Lossy> {
        value.serialize(self).map(|_| false)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Lossy> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Lossy> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Lossy> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Lossy> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Lossy> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Lossy> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Lossy> {
        Ok(self)
    }
}
