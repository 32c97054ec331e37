//! Every shape that serde's derive has, written as fields and read again: the same, or an error, never something else.

use std::{cell::Cell, collections::BTreeMap, fmt::Debug};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{from_fields, to_fields};

/// Any value of a type. Texts often look like something else.
trait Any: Sized {
    fn any(rng: &mut fastrand::Rng) -> Self;
}

macro_rules! any {
    ($($type:ty = |$rng:ident| $value:expr;)*) => {
        $(impl Any for $type {
            fn any($rng: &mut fastrand::Rng) -> Self { $value }
        })*
    };
}

any! {
    bool = |rng| rng.bool();
    u8 = |rng| if rng.bool() { rng.u8(0..3) } else { rng.u8(..) };
    i16 = |rng| rng.i16(..);
    u64 = |rng| if rng.bool() { rng.u64(0..3) } else { rng.u64(..) };
    i64 = |rng| if rng.bool() { rng.i64(-3..3) } else { rng.i64(..) };
    f64 = |rng| *rng.choice(&[0.0, 1.0, -2.5, 1e300, 0.1, -0.0, 5e-324]).unwrap();
    f32 = |rng| *rng.choice(&[0.0, 1.0, -2.5, 3.4e38, 0.1]).unwrap();
    i128 = |rng| rng.i128(..);
    char = |rng| *rng.choice(&['a', '5', '0', '1', '[', '"', 'ä', '\u{0}']).unwrap();
    () = |_rng| ();
    String = |rng| {
        let texts = ["", "a", "0", "1", "42", "007", "-3", "+5", "1.5", "1e3", "inf", "NaN", "true", "false", "null",
            "[1,2]", "{\"a\":1}", "\"5\"", "\"a\"", "\"", "[", " 5", "ä", "a b", "18446744073709551616"];
        (*rng.choice(&texts).unwrap()).to_owned()
    };
    Value = |rng| match rng.u8(0..8) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => u64::any(rng).into(),
        3 => i64::any(rng).into(),
        4 => f64::any(rng).into(),
        5 => vec![u64::any(rng)].into(),
        6 => serde_json::json!({ "a": String::any(rng) }),
        _ => String::any(rng).into(),
    };
}

impl<T: Any> Any for Option<T> {
    fn any(rng: &mut fastrand::Rng) -> Self {
        rng.bool().then(|| T::any(rng))
    }
}

impl<T: Any> Any for Vec<T> {
    fn any(rng: &mut fastrand::Rng) -> Self {
        (0..rng.usize(0..3)).map(|_| T::any(rng)).collect()
    }
}

impl<T: Any> Any for Box<T> {
    fn any(rng: &mut fastrand::Rng) -> Self {
        Self::new(T::any(rng))
    }
}

impl<A: Any, B: Any> Any for (A, B) {
    fn any(rng: &mut fastrand::Rng) -> Self {
        (A::any(rng), B::any(rng))
    }
}

impl<T: Any> Any for BTreeMap<String, T> {
    fn any(rng: &mut fastrand::Rng) -> Self {
        (0..rng.usize(1..4)).map(|n| (format!("{}{n}", ["k", "7"][n % 2]), T::any(rng))).collect()
    }
}

impl<T: Any> Any for BTreeMap<i16, T> {
    fn any(rng: &mut fastrand::Rng) -> Self {
        (0..rng.usize(1..4)).map(|_| (i16::any(rng), T::any(rng))).collect()
    }
}

/// A struct of any attributes and fields, with a way to make one.
macro_rules! shape {
    ($(#[$meta:meta])* struct $name:ident $(<$generic:ident>)? { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$meta])*
        struct $name $(<$generic>)? { $($(#[$field_meta])* $field: $type,)* }

        impl $(<$generic: Any>)? Any for $name $(<$generic>)? {
            fn any(rng: &mut fastrand::Rng) -> Self {
                Self { $($field: Any::any(rng),)* }
            }
        }
    };
}

/// An enum whose variants have no, one or named values.
macro_rules! choice {
    ($(#[$meta:meta])* enum $name:ident $(<$generic:ident>)? { $($variant:ident $(($one:ty))? $({ $($field:ident: $type:ty),* })?,)* }) => {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$meta])*
        enum $name $(<$generic>)? { $($variant $(($one))? $({ $($field: $type),* })?,)* }

        impl $(<$generic: Any>)? Any for $name $(<$generic>)? {
            fn any(rng: &mut fastrand::Rng) -> Self {
                let all: &[fn(&mut fastrand::Rng) -> Self] =
                    &[$(|_rng| Self::$variant $((<$one>::any(_rng)))? $({ $($field: Any::any(_rng)),* })?),*];
                rng.choice(all).unwrap()(rng)
            }
        }
    };
}

shape! { struct One<T> { v: T, }}
shape! { struct Two<T> { number: u64, name: String, v: T, w: T, }}
shape! { struct Flat<T> { id: u64, #[serde(flatten)] inner: T, }}
shape! { struct Outer<T> { key: String, #[serde(flatten)] inner: T, }}
shape! { struct FlatOption<T> { id: u64, #[serde(flatten)] inner: Option<T>, }}
shape! { struct FlatMap<T> { number: u64, name: String, #[serde(flatten)] rest: BTreeMap<String, T>, }}
shape! { struct FlatTwice<T> { #[serde(flatten)] first: One<T>, #[serde(flatten)] rest: BTreeMap<String, String>, }}
shape! { #[serde(transparent)] struct Clear<T> { v: T, }}
shape! { #[serde(deny_unknown_fields, rename_all = "UPPERCASE")] struct Strict<T> { v: T, }}
choice! { enum External<T> { Plain, Holds(T), Named { v: T, w: String }, }}
choice! { #[serde(tag = "type")] enum Tagged<T> { Plain, Holds(One<T>), Named { v: T, w: String }, }}
choice! { #[serde(tag = "t", content = "c")] enum Adjacent<T> { Plain, Holds(T), Named { v: T, w: String }, }}
choice! { #[serde(untagged)] enum Structs<T> { Named { v: T, w: String }, Other { x: T }, }}
choice! { #[serde(untagged)] enum Narrowing { Number { x: u64 }, Text { x: String }, }}
choice! { #[serde(untagged)] enum NumberFirst { Number(u64), Text(String), }}
choice! { #[serde(untagged)] enum TextFirst { Text(String), Number(u64), }}
choice! { #[serde(untagged)] enum BoolFirst { Flag(bool), Number(u64), Text(String), }}
choice! { #[serde(untagged)] enum NumberOrList { Number(f64), List(Vec<u8>), Map(BTreeMap<String, String>), }}
choice! { #[serde(untagged)] enum LetterOrNumber { Letter(char), Number(u8), }}
choice! { #[serde(untagged)] enum NothingOrText { Nothing(()), Text(String), }}
choice! { #[serde(rename_all = "kebab-case")] enum Named { First, SecondOne, True, }}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Bytes(#[serde(with = "super::fields_tests::raw_bytes")] Vec<u8>);

any! { Bytes = |rng| Self(String::any(rng).into_bytes().into_iter().chain(rng.bool().then_some(0xff)).collect()); }

thread_local! {
    static SHAPES: Cell<usize> = const { Cell::new(0) };
}

/// How many of 300 values were refused when they were written, and when they were read.
#[track_caller]
fn refusals<T: Any + Serialize + DeserializeOwned + PartialEq + Debug>() -> (usize, usize) {
    SHAPES.set(SHAPES.get() + 1);
    let mut rng = fastrand::Rng::with_seed(42);
    let (mut written, mut read) = (0, 0);
    for _ in 0..300 {
        let value = T::any(&mut rng);
        let Ok(mut fields) = to_fields(&value) else {
            written += 1;
            continue;
        };
        if rng.bool() {
            // A hash may answer in any order.
            fields.reverse();
        }
        match from_fields::<T, _, _>(&fields) {
            Ok(back) => assert_eq!(back, value, "{} by {:?}", std::any::type_name::<T>(), texts(&fields)),
            Err(_) => read += 1,
        }
    }
    (written, read)
}

fn texts(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// The same in every place that a type may have.
macro_rules! everywhere {
    ($($type:ty),*) => {
        $(
            come_back::<FlatOption<One<$type>>>();
            dedicated_runner!($type);
        )*
    };
}

macro_rules! dedicated_runner {
    ($($type:ty),*) => {
        $(
            come_back::<One<$type>>();
            come_back::<Two<$type>>();
            come_back::<Flat<One<$type>>>();
            come_back::<Flat<Two<$type>>>();
            come_back::<FlatTwice<$type>>();
            come_back::<Strict<$type>>();
            come_back::<Tagged<$type>>();
            come_back::<Adjacent<$type>>();
            come_back::<Flat<Tagged<$type>>>();
            come_back::<Flat<Adjacent<$type>>>();
        )*
    };
}

#[track_caller]
fn come_back<T: Any + Serialize + DeserializeOwned + PartialEq + Debug>() {
    let (written, read) = refusals::<T>();
    assert_eq!((written, read), (0, 0), "{} is refused", std::any::type_name::<T>());
}

/// Shapes: scalars, lists, pairs, maps and enums in a struct, twice, flattened, flattened as an Option, beside a flattened
/// map, strict, tagged, adjacently tagged, and flattened as those.
/// Ablation: with the first pass that fits taken for the value, FlatOption<One<bool>> is None instead of Some.
#[test]
fn every_shape_of_a_known_type_comes_back_as_it_was() {
    everywhere!(bool, u8, i16, u64, i64, f64, f32, char, String, Named, Vec<u8>, Vec<String>, (u8, String));
    everywhere!(BTreeMap<String, u64>, Box<One<String>>, Clear<String>, Clear<u64>, ());
    everywhere!(External<u8>, Vec<External<String>>, Value, Vec<Option<u8>>);
    // serde itself reads a flattened Option of a struct whose fields are all optional as Some, whatever was written.
    dedicated_runner!(Option<u64>, Option<String>, Option<bool>, Option<Vec<u8>>);
    assert!(SHAPES.get() >= 60, "{}", SHAPES.get());
}

/// Maps of all kinds beside known fields, and enums without a tag where the text says which variant it is.
#[test]
fn flattened_maps_and_untagged_structs_come_back_as_they_were() {
    come_back::<One<BTreeMap<i16, String>>>();
    come_back::<Two<BTreeMap<i16, String>>>();
    come_back::<One<Bytes>>();
    come_back::<Two<Bytes>>();
    come_back::<Flat<Two<Bytes>>>();
    come_back::<FlatOption<One<Bytes>>>();
    come_back::<Tagged<Bytes>>();
    come_back::<FlatMap<Bytes>>();
    come_back::<BTreeMap<String, String>>();
    come_back::<BTreeMap<i16, u64>>();
    come_back::<BTreeMap<String, Value>>();
    come_back::<FlatMap<String>>();
    come_back::<FlatMap<u64>>();
    come_back::<FlatMap<bool>>();
    come_back::<FlatMap<Value>>();
    come_back::<FlatMap<Vec<u8>>>();
    come_back::<FlatMap<One<String>>>();
    come_back::<Structs<u64>>();
    come_back::<Structs<Vec<u8>>>();
    come_back::<Flat<Structs<u64>>>();
    come_back::<Flat<FlatMap<String>>>();
    come_back::<Flat<External<u64>>>();
    come_back::<One<NumberOrList>>();
    come_back::<One<Vec<NumberFirst>>>();
    come_back::<One<BTreeMap<String, TextFirst>>>();
    come_back::<Tagged<NumberOrList>>();
    come_back::<Clear<Flat<One<u64>>>>();
    come_back::<Outer<FlatOption<One<bool>>>>();
    come_back::<FlatOption<Outer<One<String>>>>();
    come_back::<One<Box<Value>>>();
    come_back::<One<Structs<f64>>>();
}

/// What a field cannot tell is refused: by the writer where it can see it, else by the reader.
#[test]
fn what_would_come_back_as_something_else_is_refused() {
    let written = |counts: (usize, usize)| assert!(counts.0 > 0 && counts.1 == 0, "{counts:?}");
    let read = |counts: (usize, usize)| assert!(counts.0 == 0 && counts.1 > 0, "{counts:?}");
    // None in a variant, None in an Option, a unit in an Option.
    written(refusals::<External<Option<String>>>());
    // A variant without content as a whole.
    written(refusals::<External<Vec<u8>>>());
    written(refusals::<One<Option<Option<u8>>>>());
    written(refusals::<One<Option<()>>>());
    written(refusals::<One<Option<Value>>>());
    written(refusals::<FlatMap<Option<Value>>>());
    written(refusals::<BTreeMap<String, Option<u8>>>());
    written(refusals::<One<Vec<Option<Option<u8>>>>>());
    // Variants that take a text and what it looks like.
    read(refusals::<One<NumberFirst>>());
    read(refusals::<One<TextFirst>>());
    read(refusals::<One<BoolFirst>>());
    read(refusals::<One<LetterOrNumber>>());
    read(refusals::<One<NothingOrText>>());
    read(refusals::<FlatMap<NumberFirst>>());
    read(refusals::<FlatMap<TextFirst>>());
    read(refusals::<Flat<One<TextFirst>>>());
    read(refusals::<FlatOption<One<NumberFirst>>>());
    read(refusals::<Tagged<TextFirst>>());
    read(refusals::<Narrowing>());
    read(refusals::<Flat<Narrowing>>());
    // serde has no numbers of 128 bits and no maps with numbers as names inside of flatten, and JSON no bytes.
    read(refusals::<Flat<One<BTreeMap<i16, String>>>>());
    come_back::<One<i128>>();
    read(refusals::<Flat<One<i128>>>());
    read(refusals::<Adjacent<Bytes>>());
    // A tag is enough.
    come_back::<One<Adjacent<String>>>();
    come_back::<Flat<One<Adjacent<u64>>>>();
}

/// Ablation: without `Lossy::NotFinite` in `Json::new` the text is `null`.
#[test]
fn json_of_a_float_that_is_not_finite_is_an_error() {
    let words = |error: crate::Result<crate::Json<f64>>| error.expect_err("refused").to_string();
    let expected = "the value cannot be written as JSON: JSON has no NaN and no infinity; give such a float a field of its own, \
                    or write it as text";
    assert_eq!(words(crate::Json::new(f64::NAN)), expected);
    assert!(crate::Json::new(vec![One { v: Some(f64::INFINITY) }]).is_err());
    assert!(crate::Json::new(Some(())).is_ok());
    assert!(to_fields(&One { v: vec![f64::NAN] }).is_err());
    assert_eq!(
        texts(&to_fields(&One { v: f64::NEG_INFINITY }).expect("a field of its own")),
        [("v".into(), "-inf".into())]
    );
}

/// Passes are bounded: the sum of the fields that they visit is at most `MOST` and one pass.
/// Ablation: without `by_looks` 1,600 numbers need 1,600 passes.
#[test]
fn many_fields_of_unknown_types_are_read_in_few_passes() {
    shape! { struct Numbers { #[serde(flatten)] all: BTreeMap<String, u64>, }}
    for many in [400, 1600] {
        let numbers = Numbers { all: (0..many).map(|n| (format!("n{n}"), n)).collect() };
        assert_eq!(from_fields::<Numbers, _, _>(&to_fields(&numbers).expect("fields")).expect("numbers"), numbers);
    }
    // 800 numbers beside 800 texts that look like numbers exceed the bound: the result is an error or the value, in bounded time.
    let both = FlatMixed {
        numbers: Some((0..800).map(|n| (format!("n{n}"), n)).collect()),
        texts: (0..800).map(|n| (format!("t{n}"), format!("{}", 10_000 + n))).collect(),
    };
    let _ = from_fields::<FlatMixed, _, _>(&to_fields(&both).expect("fields"));
}

shape! { struct FlatMixed {
    #[serde(flatten)] texts: BTreeMap<String, String>,
    #[serde(flatten)] numbers: Option<BTreeMap<String, u64>>,
}}
