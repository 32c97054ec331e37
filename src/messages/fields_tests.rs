//! Structs as fields, there and back.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{from_fields, to_fields};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs<const N: usize>(fields: [(&str, &str); N]) -> Pairs {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn texts(fields: &Pairs) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn read<T: DeserializeOwned>(fields: &Pairs) -> T {
    from_fields(fields).expect("readable")
}

fn refusal<T: DeserializeOwned + std::fmt::Debug>(fields: &Pairs) -> String {
    from_fields::<T, _, _>(fields).expect_err("unreadable").to_string()
}

#[track_caller]
fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> Pairs {
    let fields = to_fields(value).expect("writable");
    assert_eq!(&read::<T>(&fields), value, "{:?}", texts(&fields));
    fields
}

pub(super) mod raw_bytes {
    pub(in crate::messages) fn serialize<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(in crate::messages) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_byte_buf(Bytes)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    #[serde(rename = "with space")]
    Renamed,
    Text(String),
    Both(u8, u8),
    Struct {
        a: i32,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    flag: bool,
    letter: char,
    small: i8,
    large: u64,
    huge: i128,
    ratio: f64,
    single: f32,
    text: String,
    maybe: Option<u32>,
    maybe_text: Option<String>,
    kind: Kind,
    newtype: Meters,
    list: Vec<String>,
    tuple: (u8, String),
    map: BTreeMap<String, i64>,
    nested: Option<Box<Nested>>,
    unit: (),
    #[serde(with = "raw_bytes")]
    blob: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nested {
    name: String,
    kind: Kind,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        Just(Kind::Renamed),
        any::<String>().prop_map(Kind::Text),
        any::<(u8, u8)>().prop_map(|(a, b)| Kind::Both(a, b)),
        any::<i32>().prop_map(|a| Kind::Struct { a }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    let finite = || any::<f64>().prop_filter("NaN is not equal to itself", |x| !x.is_nan());
    (
        any::<(bool, char, i8, u64, i128, String, Option<u32>, Option<String>)>(),
        any::<(Vec<String>, (u8, String), BTreeMap<String, i64>, Vec<u8>)>(),
        (finite(), any::<f32>().prop_filter("NaN", |x| !x.is_nan()), finite()),
        (kind(), proptest::option::of((any::<String>(), kind()))),
    )
        .prop_map(|(a, b, (ratio, single, meters), (kind, nested))| Everything {
            flag: a.0,
            letter: a.1,
            small: a.2,
            large: a.3,
            huge: a.4,
            ratio,
            single,
            text: a.5,
            maybe: a.6,
            maybe_text: a.7,
            kind,
            newtype: Meters(meters),
            list: b.0,
            tuple: b.1,
            map: b.2,
            nested: nested.map(|(name, kind)| Box::new(Nested { name, kind })),
            unit: (),
            blob: b.3,
        })
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Tagged {
    Inbound { from: String, size: u64, score: f64, seen: bool, tags: Vec<u8>, note: Option<u8> },
    Wrapped(Nested),
    Closed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u64,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    count: i32,
    name: String,
    both: (u8, u8),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Number(u64),
    Struct { a: String, b: u8 },
    Unit,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn structs_come_back_as_they_were(value in everything()) {
        there_and_back(&value);
    }

    /// A text that looks like a number must stay a text, and the other way round.
    #[test]
    fn tagged_enums_come_back_as_they_were(
        from in "[0-9]{0,3}|true|null|\\[1\\]|.*", size in any::<u64>(), score in -1e9..1e9_f64, seen: bool,
        tags: Vec<u8>, note: Option<u8>
    ) {
        there_and_back(&Tagged::Inbound { from, size, score, seen, tags, note });
    }

    #[test]
    fn flattened_structs_come_back_as_they_were(
        id: u64, count: i32, name in "[0-9]{0,3}|.*", both: (u8, u8), extra in "[0-9]{0,3}"
    ) {
        let rest = BTreeMap::from([("extra".to_owned(), extra)]);
        there_and_back(&Flat { id, inner: Inner { count, name, both }, rest });
    }

    #[test]
    fn maps_come_back_as_they_were(map in any::<HashMap<i32, String>>()) {
        there_and_back(&map);
    }

    /// Whatever a stream holds: an answer or an error, no panic, and never the data in the error.
    #[test]
    fn foreign_fields_never_panic(fields in any::<Vec<(Vec<u8>, Vec<u8>)>>()) {
        let _ = from_fields::<Everything, _, _>(&fields);
        let _ = from_fields::<Tagged, _, _>(&fields);
        let _ = from_fields::<Kind, _, _>(&fields);
        prop_assert_eq!(fields.is_empty(), read::<HashMap<serde_bytes_like::Bytes, serde_bytes_like::Bytes>>(&fields).is_empty());
    }
}

/// Any bytes as a key, as `serde_bytes` has it.
mod serde_bytes_like {
    #[derive(serde::Deserialize, PartialEq, Eq, Hash)]
    pub(super) struct Bytes(#[serde(with = "super::raw_bytes")] Vec<u8>);
}

#[test]
fn scalars_are_text_and_the_rest_is_json() {
    let value = Everything {
        flag: true,
        letter: 'ä',
        small: -1,
        large: u64::MAX,
        huge: i128::MIN,
        ratio: 0.1,
        single: 3.0,
        text: "42".into(),
        maybe: Some(7),
        maybe_text: None,
        kind: Kind::Renamed,
        newtype: Meters(f64::NEG_INFINITY),
        list: vec!["a".into()],
        tuple: (1, "b".into()),
        map: BTreeMap::from([("c".into(), 2)]),
        nested: None,
        unit: (),
        blob: vec![0, 255],
    };
    let fields = there_and_back(&value);
    let (last, most) = fields.split_last().expect("fields");
    assert_eq!(last.1, [0, 255]);
    let expected = [
        ("flag", "true"),
        ("letter", "ä"),
        ("small", "-1"),
        ("large", "18446744073709551615"),
        ("huge", "-170141183460469231731687303715884105728"),
        ("ratio", "0.1"),
        ("single", "3.0"),
        ("text", "42"),
        ("maybe", "7"),
        ("kind", "with space"),
        ("newtype", "-inf"),
        ("list", "[\"a\"]"),
        ("tuple", "[1,\"b\"]"),
        ("map", "{\"c\":2}"),
        ("unit", "null"),
    ];
    assert_eq!(most, pairs(expected));
}

#[test]
fn enums_as_a_whole() {
    assert_eq!(there_and_back(&Kind::Struct { a: 1 }), pairs([("Struct", "{\"a\":1}")]));
    assert_eq!(there_and_back(&Kind::Text("42".into())), pairs([("Text", "42")]));
    assert_eq!(there_and_back(&Kind::Both(1, 2)), pairs([("Both", "[1,2]")]));
    assert_eq!(there_and_back(&Tagged::Closed), pairs([("type", "closed")]));
    there_and_back(&Tagged::Wrapped(Nested { name: "7".into(), kind: Kind::Struct { a: 3 } }));
    for value in [Adjacent::Number(3), Adjacent::Struct { a: "1".into(), b: 2 }, Adjacent::Unit] {
        let mut fields = there_and_back(&value);
        // A hash may answer its fields in any order.
        fields.reverse();
        assert_eq!(read::<Adjacent>(&fields), value);
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    age: u8,
    kind: Option<Kind>,
}

#[test]
fn the_last_of_duplicates_counts_and_unknown_fields_are_ignored() {
    let fields = pairs([("name", "a"), ("age", "nonsense"), ("x", "y"), ("name", "b"), ("age", "3")]);
    assert_eq!(read::<User>(&fields), User { name: "b".into(), age: 3, kind: None });
    assert_eq!(read::<Vec<(String, String)>>(&fields), texts(&fields));
    assert_eq!(read::<HashMap<String, String>>(&fields).len(), 3);
    let many: Pairs = (0..200).map(|n| (format!("f{}", n % 100).into_bytes(), n.to_string().into_bytes())).collect();
    assert!(read::<HashMap<String, u32>>(&many).values().all(|n| *n >= 100));
}

#[test]
fn errors_name_the_field_and_never_the_data() {
    let refused = |fields| refusal::<User>(&fields);
    assert_eq!(refused(pairs([])), "field `name` is missing");
    assert_eq!(refused(pairs([("name", "x"), ("age", "secret")])), "field `age` is no number that fits u8");
    assert_eq!(
        refused(pairs([("name", "x"), ("kind", "secret")])),
        "field `kind` is none of the variants Plain, with space, Text, Both, Struct"
    );
    assert_eq!(
        refused(pairs([("name", "x"), ("kind", "{\"Struct\":\"secret\"}")])),
        "field `kind` is JSON of another type"
    );
    let binary = vec![(b"name".to_vec(), vec![0xff])];
    assert_eq!(refused(binary), "field `name` is not UTF-8; take it as bytes (serde_bytes)");
    let tagged = pairs([("type", "inbound"), ("from", "x"), ("size", "secret"), ("score", "1"), ("seen", "1")]);
    assert!(!refusal::<Tagged>(&tagged).contains("secret"), "{}", refusal::<Tagged>(&tagged));
    assert!(!refusal::<Tagged>(&pairs([("type", "secret")])).contains("secret"));
}

#[test]
fn what_has_no_fields_is_refused() {
    let none = "only a struct, a map or an enum with content can be written as fields";
    let words = |error: crate::Result<Pairs>| error.expect_err("refused").to_string();
    assert_eq!(words(to_fields(&1)), none);
    assert_eq!(words(to_fields("text")), none);
    assert_eq!(words(to_fields(&[1, 2])), none);
    assert_eq!(words(to_fields(&Kind::Plain)), none);
    let names = BTreeMap::from([(vec![1], 1)]);
    assert_eq!(words(to_fields(&names)), "the names of fields must be text, numbers or bytes");
    let nested = BTreeMap::from([("a", names)]);
    assert_eq!(words(to_fields(&nested)), "a nested value cannot be written as JSON: its maps need text as names");
}

/// Ablation: with redis-rs' own spelling in `Fields::add` the field of HSET is `1`, without `spelled_bools` HGET is an error.
#[test]
fn booleans_are_written_in_one_way_and_read_in_both() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flags {
        on: bool,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flattened {
        #[serde(flatten)]
        flags: Flags,
    }
    use crate::{Command, HGet, HMGet, HSet};
    use redis::Value;
    let by_hand = HSet::new("user:1").field("on", true).fields([("off", &false)]);
    let expected: [&[u8]; 6] = [b"HSET", b"user:1", b"on", b"true", b"off", b"false"];
    assert!(by_hand.frame().args().eq(expected), "{:?}", by_hand.frame().args().collect::<Vec<_>>());
    assert_eq!(there_and_back(&Flags { on: true }), pairs([("on", "true")]));
    for (text, is) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        let fields = pairs([("on", text)]);
        assert_eq!(read::<Flags>(&fields), Flags { on: is });
        assert_eq!(read::<Flattened>(&fields).flags, Flags { on: is }, "{text}");
        let value = || Value::BulkString(text.into());
        assert_eq!(HGet::<bool>::reply(value()).expect("a boolean"), Some(is), "{text}");
        let pair = Value::Array(vec![value(), Value::BulkString(b"x".into()), Value::Nil]);
        assert_eq!(HMGet::<(bool, String, Option<bool>)>::reply(pair).expect("booleans"), (is, "x".into(), None));
        assert_eq!(HGet::<String>::reply(value()).expect("a text"), Some(text.into()));
    }
}

/// Ablation: without `without_trace` it is a decode error that the type denies unknown fields.
#[test]
fn a_type_that_denies_unknown_fields_need_not_know_the_trace() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        name: String,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", deny_unknown_fields)]
    enum Tagged {
        Named { name: String },
        Traced { traceparent: String },
    }
    use crate::streams::delivery::FromEntry;
    let id = crate::StreamId::MIN;
    let entry = |fields: [(&str, &str); 3]| pairs(fields);
    let strict = entry([("name", "a"), ("traceparent", "00-x"), ("name", "b")]);
    assert_eq!(Strict::from_entry(id, &strict).expect("readable"), Strict { name: "b".into() });
    let tagged = entry([("type", "Named"), ("name", "a"), ("traceparent", "00-x")]);
    assert_eq!(Tagged::from_entry(id, &tagged).expect("readable"), Tagged::Named { name: "a".into() });
    let traced = pairs([("type", "Traced"), ("traceparent", "00-x")]);
    assert_eq!(Tagged::from_entry(id, &traced).expect("readable"), Tagged::Traced { traceparent: "00-x".into() });
    assert!(Strict::from_entry(id, &entry([("name", "a"), ("other", "x"), ("traceparent", "00-x")])).is_err());
}

/// Ablation: with `takes_fields` always true the last three hold no more.
#[test]
fn only_types_with_fields_can_be_deliveries() {
    use crate::{StreamEntry, streams::delivery::FromEntry};
    assert!(User::takes_fields() && Kind::takes_fields() && Tagged::takes_fields() && Flat::takes_fields());
    assert!(<()>::takes_fields() && StreamEntry::takes_fields() && HashMap::<String, String>::takes_fields());
    assert!(<()>::from_entry(crate::StreamId::MIN, &pairs([("a", "b")])).is_ok());
    assert!(!String::takes_fields() && !u64::takes_fields() && !bool::takes_fields());
}
