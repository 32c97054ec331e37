//! Structs and maps as fields of hashes and stream entries: the writing half.

use std::{fmt, fmt::Write as _};

use redis::ToSingleRedisArg;
use serde::ser::{self, Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::error::{Error, Result};
use crate::frame::Frame;

/// Writes a struct or a map as fields of a hash or a stream entry, in its order.
///
/// | value | is written as |
/// |---|---|
/// | numbers, `char`, text | text; floats as `1.5`, `1e300`, `inf` |
/// | `bool` | `true` or `false` |
/// | bytes (`serde_bytes`, not `Vec<u8>`) | the bytes |
/// | `None` | nothing: the field is left out |
/// | a variant without content | its name |
/// | a newtype struct | what is in it |
/// | anything else: lists, structs, maps, variants with content | JSON, which turns floats that are not finite into `null` |
///
/// An enum as the whole value becomes one field, named like its variant; with `#[serde(tag = ..)]` it
/// becomes the fields of its variant and the tag. `#[serde(flatten)]`, `rename`, `skip_serializing_if` and
/// `with` do what they always do.
///
/// ```
/// use redis_actix::{from_fields, to_fields};
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Order {
///     customer: String,
///     total: f64,
///     note: Option<String>,
///     items: Vec<u32>,
/// }
///
/// let order = Order { customer: "ada".into(), total: 9.5, note: None, items: vec![1, 2] };
/// let fields = to_fields(&order)?;
/// assert_eq!(fields.len(), 3);
/// assert_eq!(fields[2], (b"items".to_vec(), b"[1,2]".to_vec()));
/// assert_eq!(from_fields::<Order, _, _>(&fields)?, order);
/// # Ok::<(), redis_actix::Error>(())
/// ```
///
/// # Errors
/// When `value` is neither a struct nor a map nor an enum with content, when a name is not a scalar, when a
/// nested map has names that JSON cannot have, or when its `Serialize` fails.
pub fn to_fields<T: Serialize + ?Sized>(value: &T) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    write_fields(value, &mut |name, text| fields.push((name.to_vec(), text.to_vec())))?;
    Ok(fields)
}

/// Receives each field with its value.
type Sink<'a> = dyn FnMut(&[u8], &[u8]) + 'a;

fn write_fields<T: Serialize + ?Sized>(value: &T, sink: &mut Sink<'_>) -> Result<()> {
    let written = match value.serialize(WholeValue(sink)) {
        // A variant with content: JSON calls it a map with one entry, and so do we.
        Err(Refused::Nested) => match serde_json::to_value(value) {
            Ok(map @ serde_json::Value::Object(_)) => map.serialize(WholeValue(sink)).map(drop),
            Ok(_) => Err(Refused::NoFields),
            Err(_) => Err(Refused::Json),
        },
        other => other,
    };
    written.map_err(|refused| Error::invalid_command(refused.to_string()))
}

/// The fields that a message gathers for its end.
#[derive(Clone, Default)]
pub(super) struct Fields(Frame);

impl Fields {
    pub(super) fn add(&mut self, field: impl ToSingleRedisArg, value: impl ToSingleRedisArg) {
        self.0 = std::mem::take(&mut self.0).arg(field).arg(value);
    }

    pub(super) fn entry<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        write_fields(value, &mut |name, text| {
            self.0.push(name);
            self.0.push(text);
        })
    }

    pub(super) fn finish(self, head: Frame, none: &'static str) -> Frame {
        if self.0.len() == 0 { head.invalid(none) } else { head.concat(self.0) }
    }
}

/// Why something was not written. The words of a foreign `Serialize` may quote data, and are not kept.
#[derive(Debug)]
enum Refused {
    /// Not a scalar: JSON is the way.
    Nested,
    NoFields,
    Name,
    Json,
    Foreign,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nested | Self::NoFields => "only a struct, a map or an enum with content can be written as fields",
            Self::Name => "the names of fields must be text, numbers or bytes",
            Self::Json => "a nested value cannot be written as JSON: its maps need text as names",
            Self::Foreign => "the value's own Serialize failed",
        })
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Foreign
    }
}

/// Serialises the value that has the fields.
struct WholeValue<'a, 's>(&'a mut Sink<'s>);

/// Serialises one field after the other, through two buffers that live as long as the entry.
struct Entries<'a, 's> {
    sink: &'a mut Sink<'s>,
    name: Vec<u8>,
    text: Vec<u8>,
}

impl<'a, 's> WholeValue<'a, 's> {
    fn entries(self) -> Entries<'a, 's> {
        Entries { sink: self.0, name: Vec::new(), text: Vec::new() }
    }
}

macro_rules! refuse {
    ($error:expr; $($method:ident($($arg:ty),*);)*) => {
        $(fn $method(self, $(_: $arg),*) -> Result<Self::Ok, Refused> { Err($error) })*
    };
}

/// What is neither a struct nor a map.
macro_rules! compounds {
    ($ok:ty) => {
        type SerializeSeq = Impossible<$ok, Refused>;
        type SerializeTuple = Impossible<$ok, Refused>;
        type SerializeTupleStruct = Impossible<$ok, Refused>;
        type SerializeTupleVariant = Impossible<$ok, Refused>;
        type SerializeStructVariant = Impossible<$ok, Refused>;

        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Refused> {
            Err(Refused::Nested)
        }
        fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Refused> {
            Err(Refused::Nested)
        }
        fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Refused> {
            Err(Refused::Nested)
        }
        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, Refused> {
            Err(Refused::Nested)
        }
        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, Refused> {
            Err(Refused::Nested)
        }
        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<$ok, Refused> {
            Err(Refused::Nested)
        }
        fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<$ok, Refused> {
            value.serialize(self)
        }
        fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<$ok, Refused> {
            value.serialize(self)
        }
    };
}

impl<'a, 's> Serializer for WholeValue<'a, 's> {
    type Ok = ();
    type Error = Refused;
    type SerializeMap = Entries<'a, 's>;
    type SerializeStruct = Entries<'a, 's>;
    compounds!(());

    refuse! { Refused::NoFields;
        serialize_bool(bool); serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]);
        serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64); serialize_i128(i128);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64); serialize_u128(u128);
        serialize_f32(f32); serialize_f64(f64); serialize_none(); serialize_unit();
        serialize_unit_struct(&'static str); serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        Ok(self.entries())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        Ok(self.entries())
    }
}

impl Entries<'_, '_> {
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.text.clear();
        let written = match value.serialize(Scalar(&mut self.text)) {
            Err(Refused::Nested) => {
                self.text.clear();
                serde_json::to_writer(&mut self.text, value).map_err(|_| Refused::Json)?;
                true
            }
            scalar => scalar?,
        };
        if written {
            (self.sink)(&self.name, &self.text);
        }
        Ok(())
    }
}

impl SerializeStruct for Entries<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        self.name.clear();
        self.name.extend_from_slice(name.as_bytes());
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Refused> {
        self.name.clear();
        match name.serialize(Scalar(&mut self.name)) {
            Ok(true) => Ok(()),
            Ok(false) | Err(Refused::Nested) => Err(Refused::Name),
            Err(refused) => Err(refused),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

/// Serialises one scalar into a buffer; true when there was something to write.
struct Scalar<'a>(&'a mut Vec<u8>);

impl Scalar<'_> {
    fn bytes(self, bytes: &[u8]) -> Result<bool, Refused> {
        self.0.extend_from_slice(bytes);
        Ok(true)
    }
}

impl fmt::Write for Scalar<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident: $number:ty as $format:literal;)*) => {
        $(fn $method(mut self, number: $number) -> Result<bool, Refused> {
            write!(self, $format, number).map_err(|_| Refused::Foreign)?;
            Ok(true)
        })*
    };
}

impl Serializer for Scalar<'_> {
    type Ok = bool;
    type Error = Refused;
    type SerializeMap = Impossible<bool, Refused>;
    type SerializeStruct = Impossible<bool, Refused>;
    compounds!(bool);

    numbers! {
        serialize_i8: i8 as "{}"; serialize_i16: i16 as "{}"; serialize_i32: i32 as "{}"; serialize_i64: i64 as "{}";
        serialize_u8: u8 as "{}"; serialize_u16: u16 as "{}"; serialize_u32: u32 as "{}"; serialize_u64: u64 as "{}";
        serialize_i128: i128 as "{}"; serialize_u128: u128 as "{}"; serialize_bool: bool as "{}";
        serialize_char: char as "{}"; serialize_f32: f32 as "{:?}"; serialize_f64: f64 as "{:?}";
    }

    fn serialize_str(self, text: &str) -> Result<bool, Refused> {
        self.bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<bool, Refused> {
        self.bytes(bytes)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<bool, Refused> {
        self.bytes(variant.as_bytes())
    }

    fn serialize_none(self) -> Result<bool, Refused> {
        Ok(false)
    }

    fn serialize_unit(self) -> Result<bool, Refused> {
        self.bytes(b"null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<bool, Refused> {
        self.bytes(b"null")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        Err(Refused::Nested)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        Err(Refused::Nested)
    }
}
