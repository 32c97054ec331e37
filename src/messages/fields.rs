//! Structs and maps as fields of hashes and stream entries: the writing half.

use std::{fmt, fmt::Write as _};

use redis::ToSingleRedisArg;
use serde::ser::{self, Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};

use super::fields_looks::looks;
use super::json_check::{Lossy, comes_back_from_json};
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
/// | a newtype struct | its content |
/// | a `serde_json::Value` | its content; texts that look like something else in quotes (`"42"`) |
/// | anything else: lists, structs, maps, variants with content | JSON |
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
/// What would be read as something else is refused: a float that is not finite inside of JSON, and an `Option` that holds
/// another one which is `None` (or a unit, or null), `None` as a value of a map. [`from_fields`](crate::from_fields) says which types are refused when they
/// are read, because a field does not say of which type its text is.
///
/// # Errors
/// When `value` is neither a struct nor a map nor an enum with content, when a name is not a scalar, when a
/// nested map has names that JSON cannot have, when it would not be the same when it is read, or when its `Serialize` fails.
pub fn to_fields<T: Serialize + ?Sized>(value: &T) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    write_fields(value, &mut |name, text| fields.push((name.to_vec(), text.to_vec())))?;
    Ok(fields)
}

/// Receives each field with its value.
type Sink<'a> = dyn FnMut(&[u8], &[u8]) + 'a;

fn write_fields<T: Serialize + ?Sized>(value: &T, sink: &mut Sink<'_>) -> Result<()> {
    let written = match value.serialize(WholeValue(sink)) {
        // A variant with several values: JSON calls it a map with one entry, and so do we.
        Err(Refused::Variant(name)) => variant(name, value).map(|content| sink(name.as_bytes(), &content)),
        Err(Refused::Nested) => Err(Refused::NoFields),
        other => other,
    };
    written.map_err(|refused| Error::invalid_command(refused.to_string()))
}

/// The content of a variant as JSON: what stands between `{"name":` and `}`.
fn variant<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<Vec<u8>, Refused> {
    let (mut whole, mut head) = (Vec::new(), vec![b'{']);
    json(value, &mut whole)?;
    serde_json::to_writer(&mut head, name).map_err(|_| Refused::Json)?;
    head.push(b':');
    let content = whole.strip_prefix(&head[..]).and_then(|rest| rest.strip_suffix(b"}"));
    content.map(<[u8]>::to_vec).ok_or(Refused::Foreign)
}

/// Writes JSON from which the same value is read.
fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refused> {
    match comes_back_from_json(value) {
        Ok(()) | Err(Lossy::Foreign) => serde_json::to_writer(out, value).map_err(|_| Refused::Json),
        Err(lossy) => Err(Refused::Lossy(lossy)),
    }
}

/// The fields that a message gathers for its end.
#[derive(Clone, Default)]
pub(super) struct Fields(Frame);

impl Fields {
    pub(super) fn add<V: ToSingleRedisArg>(&mut self, field: impl ToSingleRedisArg, value: V) {
        let fields = std::mem::take(&mut self.0).arg(field);
        // redis-rs writes booleans as 1 and 0, structs have true and false: a field is written in one way.
        self.0 = match std::any::type_name::<V>().trim_start_matches('&') {
            "bool" => fields.arg(if value.to_redis_args().iter().any(|text| text == b"1") { "true" } else { "false" }),
            _ => fields.arg(value),
        };
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
    /// A variant with several values.
    Variant(&'static str),
    /// `None` where a variant needs content.
    Empty,
    NoneInMap,
    Lossy(Lossy),
    NoFields,
    Name,
    Json,
    Foreign,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lossy(lossy) => return lossy.fmt(f),
            Self::Empty => "a variant that holds None would be a field without a value; give it a variant of its own",
            Self::NoneInMap => {
                "a map with None as a value would come back without its name; leave the name out instead"
            }
            Self::Nested | Self::Variant(_) | Self::NoFields => {
                "only a struct, a map or an enum with content can be written as fields"
            }
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
    /// The field is one of a map, not of a struct.
    in_map: bool,
}

impl<'a, 's> WholeValue<'a, 's> {
    fn entries(self) -> Entries<'a, 's> {
        Entries { sink: self.0, name: Vec::new(), text: Vec::new(), in_map: false }
    }
}

macro_rules! refuse {
    ($error:expr; $($method:ident($($arg:ty),*);)*) => {
        $(fn $method(self, $(_: $arg),*) -> Result<Self::Ok, Refused> { Err($error) })*
    };
}

/// A value that is neither a struct nor a map.
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
            variant: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, Refused> {
            Err(Refused::Variant(variant))
        }
        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            variant: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, Refused> {
            Err(Refused::Variant(variant))
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

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let mut entries = self.entries();
        entries.name.extend_from_slice(variant.as_bytes());
        if entries.value(value)? { Ok(()) } else { Err(Refused::Empty) }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        Ok(self.entries())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        Ok(self.entries())
    }
}

impl Entries<'_, '_> {
    /// False when there was nothing to write.
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<bool, Refused> {
        self.text.clear();
        let written = match value.serialize(Scalar::of::<T>(&mut self.text)) {
            Err(Refused::Nested | Refused::Variant(_)) => {
                self.text.clear();
                json(value, &mut self.text)?;
                Written::Text
            }
            scalar => scalar?,
        };
        let written = written != Written::Nothing;
        if written {
            (self.sink)(&self.name, &self.text);
        }
        Ok(written)
    }
}

impl SerializeStruct for Entries<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        self.name.clear();
        self.name.extend_from_slice(name.as_bytes());
        self.value(value).map(drop)
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
        // Fields of structs with `flatten` have plain texts as names, what a map has is behind a reference.
        self.in_map = std::any::type_name::<T>() != "str";
        match name.serialize(Scalar { out: &mut self.name, of: "" }) {
            Ok(Written::Text | Written::Null) => Ok(()),
            Ok(Written::Nothing) | Err(Refused::Nested | Refused::Variant(_)) => Err(Refused::Name),
            Err(refused) => Err(refused),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if self.value(value)? || !self.in_map { Ok(()) } else { Err(Refused::NoneInMap) }
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

/// What became of a scalar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Text,
    /// A unit.
    Null,
    /// `None`.
    Nothing,
}

/// Serialises one scalar into a buffer.
struct Scalar<'a> {
    out: &'a mut Vec<u8>,
    /// The name of its type.
    of: &'static str,
}

impl<'a> Scalar<'a> {
    fn of<T: ?Sized>(out: &'a mut Vec<u8>) -> Self {
        Self { out, of: std::any::type_name::<T>() }
    }

    fn inner<T: Serialize + ?Sized>(self, value: &T) -> Result<Written, Refused> {
        value.serialize(Scalar::of::<T>(self.out))
    }

    fn bytes(self, bytes: &[u8]) -> Result<Written, Refused> {
        self.out.extend_from_slice(bytes);
        Ok(Written::Text)
    }

    fn null(self) -> Result<Written, Refused> {
        self.bytes(b"null").map(|_| Written::Null)
    }
}

impl fmt::Write for Scalar<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident: $number:ty as $format:literal;)*) => {
        $(fn $method(mut self, number: $number) -> Result<Written, Refused> {
            write!(self, $format, number).map_err(|_| Refused::Foreign)?;
            Ok(Written::Text)
        })*
    };
}

impl Serializer for Scalar<'_> {
    type Ok = Written;
    type Error = Refused;
    type SerializeMap = Impossible<Written, Refused>;
    type SerializeStruct = Impossible<Written, Refused>;
    compounds!(Written);

    numbers! {
        serialize_i8: i8 as "{}"; serialize_i16: i16 as "{}"; serialize_i32: i32 as "{}"; serialize_i64: i64 as "{}";
        serialize_u8: u8 as "{}"; serialize_u16: u16 as "{}"; serialize_u32: u32 as "{}"; serialize_u64: u64 as "{}";
        serialize_i128: i128 as "{}"; serialize_u128: u128 as "{}"; serialize_bool: bool as "{}";
        serialize_char: char as "{}"; serialize_f32: f32 as "{:?}"; serialize_f64: f64 as "{:?}";
    }

    fn serialize_str(self, text: &str) -> Result<Written, Refused> {
        // Who reads a serde_json::Value takes a number for a number, so that its texts which look like one have quotes.
        if self.of.contains("serde_json::value::Value") && !looks(text.as_bytes()).is_text() {
            serde_json::to_writer(self.out, text).map_err(|_| Refused::Json)?;
            return Ok(Written::Text);
        }
        self.bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Written, Refused> {
        self.bytes(bytes)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Written, Refused> {
        self.bytes(variant.as_bytes())
    }

    fn serialize_none(self) -> Result<Written, Refused> {
        Ok(Written::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Written, Refused> {
        match self.inner(value)? {
            Written::Text => Ok(Written::Text),
            Written::Null | Written::Nothing => Err(Refused::Lossy(Lossy::NullInSome)),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Written, Refused> {
        self.inner(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<Written, Refused> {
        Err(Refused::Variant(variant))
    }

    fn serialize_unit(self) -> Result<Written, Refused> {
        self.null()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Written, Refused> {
        self.null()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        Err(Refused::Nested)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        Err(Refused::Nested)
    }
}
