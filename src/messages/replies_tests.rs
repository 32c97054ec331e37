//! Server answers of RESP2 and RESP3, and the replies decoded from them.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value::{self, Array, Int, Map, Nil, Okay, SimpleString};
use redis::{FromRedisValue as _, ToRedisArgs as _};

use crate::*;

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn words<const N: usize>(words: [&str; N]) -> Value {
    Array(words.map(text).to_vec())
}

fn entry(id: &str) -> Value {
    Array(vec![text(id), words(["f", "1", "f", "2"])])
}

fn deleted(id: &str) -> Value {
    Array(vec![text(id), Nil])
}

/// Asserts that a reply is the entry above.
fn is_entry(entry: &StreamEntry, ms: u64) {
    let field = |value: &str| (b"f".to_vec(), value.as_bytes().to_vec());
    assert_eq!(entry, &StreamEntry { id: StreamId::new(ms, 0), fields: vec![field("1"), field("2")] });
    assert_eq!(entry.get("f"), Some(&b"2"[..]));
    assert!(!entry.is_deleted());
}

/// The same map in RESP2 and RESP3.
fn both(pairs: Vec<(&str, Value)>) -> [Value; 2] {
    let flat = pairs.iter().flat_map(|(name, value)| [text(name), value.clone()]).collect();
    [Array(flat), Map(pairs.into_iter().map(|(name, value)| (text(name), value)).collect())]
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct User {
    name: String,
    age: Option<u8>,
}

#[test]
fn strings_and_keys_are_decoded() {
    assert!(!Set::reply(Nil).expect("a reply"));
    assert!(Set::reply(Okay).expect("a reply"));
    assert_eq!(Get::<u64>::reply(text("7")).expect("a reply"), Some(7));
    assert_eq!(Get::<u64>::reply(Nil).expect("a reply"), None);
    assert_eq!(MGet::<u8>::reply(Array(vec![text("7"), Nil])).expect("a reply"), [Some(7), None]);
    assert_eq!(Ttl::reply(Int(-2)).expect("a reply"), TimeToLive::NoKey);
    assert_eq!(Ttl::reply(Int(-1)).expect("a reply").remaining(), None);
    assert_eq!(Ttl::reply(Int(3)).expect("a reply"), TimeToLive::Remaining(Duration::from_secs(3)));
    assert_eq!(PTtl::reply(Int(3)).expect("a reply").remaining(), Some(Duration::from_millis(3)));
    assert!(PTtl::reply(Int(-3)).is_err());
    assert_eq!(Type::reply(SimpleString("zset".into())).expect("a reply"), Some(KeyType::SortedSet));
    assert_eq!(Type::reply(SimpleString("none".into())).expect("a reply"), None);
    let module = Type::reply(SimpleString("MBbloom--".into())).expect("a reply").expect("a type");
    assert_eq!(module.as_str(), "MBbloom--");
    assert_eq!(LPop::<String>::new("l").count(1).frame().name(), "LPOP");
    assert!(LPopMany::<String>::reply(Nil).expect("a reply").is_empty());
}

#[test]
fn hashes_are_decoded_as_maps_and_structs() {
    for answer in both(vec![("name", text("ada")), ("age", text("36"))]) {
        let ada = User { name: "ada".into(), age: Some(36) };
        assert_eq!(HGetAll::<Struct<User>>::reply(answer.clone()).expect("a reply").into_inner(), ada);
        assert_eq!(HGetAll::<Option<Struct<User>>>::reply(answer.clone()).expect("a reply"), Some(Struct(ada)));
        let map = HGetAll::<HashMap<String, String>>::reply(answer).expect("a reply");
        assert_eq!(map.get("age").map(String::as_str), Some("36"));
    }
    for missing in [Array(vec![]), Map(vec![])] {
        assert!(HGetAll::<HashMap<String, String>>::reply(missing.clone()).expect("a reply").is_empty());
        assert_eq!(HGetAll::<Option<Struct<User>>>::reply(missing.clone()).expect("a reply"), None);
        let error = HGetAll::<Struct<User>>::reply(missing).expect_err("missing");
        assert_eq!(error.to_string(), "there is no such hash; ask for Option<Struct<..>> to get None then");
    }
    let error = HGetAll::<Struct<User>>::reply(words(["name", "ada", "age", "secret"])).expect_err("no number");
    assert_eq!(error.to_string(), "field `age` is no number that fits u8");
    assert_eq!(error.kind(), ErrorKind::Decode);
    let two = HMGet::<(String, Option<u8>)>::reply(Array(vec![text("ada"), Nil])).expect("a reply");
    assert_eq!(two, ("ada".to_owned(), None));
}

#[test]
fn json_is_encoded_immediately_and_keeps_its_text() {
    let json = Json::new(User { name: "ada".into(), age: None }).expect("writable");
    assert_eq!(json.text(), br#"{"name":"ada","age":null}"#);
    let stored = br#"{ "name": "ada" }"#;
    let read = Get::<Json<User>>::reply(Value::BulkString(stored.to_vec())).expect("a reply").expect("a value");
    assert_eq!(read.name, "ada");
    assert_eq!(read.to_redis_args(), [stored.to_vec()]);
    assert!(Json::new(HashMap::from([((1, 2), 3)])).is_err());
    let precise = Json::new(vec![-989_066_185.398_768_1_f64, 5e-324]).expect("writable");
    let read = Json::<Vec<f64>>::from_redis_value(Value::BulkString(precise.text().to_vec())).expect("readable");
    assert_eq!(*read, *precise);
    let words = |answer| Get::<Json<User>>::reply(text(answer)).expect_err("unreadable").to_string();
    assert_eq!(words("{\"name\":1}"), "the value is JSON, but not of the requested type");
    assert_eq!(words("secret"), "the value is not JSON");
}

#[test]
fn sorted_sets_with_scores_are_decoded() {
    let expected = vec![("a".to_owned(), 1.5), ("b".to_owned(), f64::INFINITY)];
    let resp2 = words(["a", "1.5", "b", "inf"]);
    let pair = |member, score| Array(vec![text(member), Value::Double(score)]);
    let resp3 = Array(vec![pair("a", 1.5), pair("b", f64::INFINITY)]);
    for answer in [resp2, resp3] {
        assert_eq!(ZRange::<(String, f64)>::reply(answer).expect("a reply"), expected);
    }
    assert_eq!(ZAdd::<Option<f64>>::reply(Nil).expect("a reply"), None);
    assert_eq!(ZAdd::<u64>::reply(Int(2)).expect("a reply"), 2);
}

#[test]
fn entries_keep_order_and_duplicates() {
    let entries = XRange::reply(Array(vec![entry("1-0"), entry("2-0")])).expect("a reply");
    is_entry(&entries[0], 1);
    is_entry(&entries[1], 2);
    assert_eq!(XAdd::<StreamId>::reply(text("5-7")).expect("a reply"), StreamId::new(5, 7));
    assert_eq!(XAdd::<Option<StreamId>>::reply(Nil).expect("a reply"), None);
    let broken = XRange::reply(Array(vec![Array(vec![text("1-0"), words(["odd"])])])).expect_err("broken");
    assert_eq!(broken.kind(), ErrorKind::Decode);
}

#[test]
fn pages_of_both_protocols_are_decoded() {
    let resp2 = Array(vec![Array(vec![text("x"), Array(vec![entry("1-0"), deleted("2-0")])])]);
    let resp3 = Map(vec![(text("x"), Array(vec![entry("1-0"), deleted("2-0")]))]);
    for answer in [resp2, resp3] {
        let pages = XReadGroup::reply(answer).expect("a reply");
        assert_eq!(pages[0].stream, b"x");
        is_entry(&pages[0].entries[0], 1);
        assert!(pages[0].entries[1].is_deleted());
    }
    assert!(XRead::reply(Nil).expect("a reply").is_empty());
}

#[test]
fn claims_of_all_versions_are_decoded() {
    let entries = XClaim::<Vec<StreamEntry>>::reply(Array(vec![Nil, entry("2-0"), deleted("3-0")])).expect("a reply");
    is_entry(&entries[0], 2);
    assert!(entries[1].is_deleted());
    let ids = XClaim::<Vec<StreamId>>::reply(words(["1-0", "2-0"])).expect("a reply");
    assert_eq!(ids, [StreamId::new(1, 0), StreamId::new(2, 0)]);
    let v6 = XAutoClaim::<StreamEntry>::reply(Array(vec![text("0-0"), Array(vec![Nil, entry("2-0")])]));
    let v6 = v6.expect("a reply");
    assert_eq!((v6.cursor, v6.entries.len(), v6.deleted.len()), (StreamId::MIN, 1, 0));
    let v7 = Array(vec![text("9-0"), words(["2-0"]), words(["3-0"])]);
    let v7 = XAutoClaim::<StreamId>::reply(v7).expect("a reply");
    assert_eq!((v7.cursor, v7.deleted), (StreamId::new(9, 0), vec![StreamId::new(3, 0)]));
}

#[test]
fn pending_entries_of_a_group_are_decoded() {
    let none = XPending::reply(Array(vec![Int(0), Nil, Nil, Nil])).expect("a reply");
    assert_eq!(none, PendingSummary::default());
    let some = Array(vec![Int(2), text("1-0"), text("2-0"), Array(vec![words(["c", "2"])])]);
    let some = XPending::reply(some).expect("a reply");
    assert_eq!((some.count, some.highest), (2, Some(StreamId::new(2, 0))));
    assert_eq!(some.consumers, [(b"c".to_vec(), 2)]);
    let entries = Array(vec![Array(vec![text("1-0"), text("c"), Int(1500), Int(3)])]);
    let entries = XPendingEntries::reply(entries).expect("a reply");
    assert_eq!((entries[0].idle, entries[0].deliveries), (Duration::from_millis(1500), 3));
}

#[test]
fn information_about_streams_is_decoded() {
    let stream = vec![
        ("length", Int(1)),
        ("radix-tree-keys", Int(1)),
        ("last-generated-id", text("2-0")),
        ("entries-added", Int(5)),
        ("first-entry", entry("2-0")),
        ("last-entry", Nil),
    ];
    for answer in both(stream) {
        let info = XInfoStream::reply(answer).expect("a reply");
        assert_eq!((info.length, info.entries_added, info.max_deleted_entry_id), (1, Some(5), None));
        is_entry(&info.first_entry.expect("an entry"), 2);
        assert_eq!(info.last_entry, None);
    }
    let group = vec![("name", text("g")), ("pending", Int(3)), ("last-delivered-id", text("1-0")), ("lag", Nil)];
    for answer in both(group) {
        let groups = XInfoGroups::reply(Array(vec![answer])).expect("a reply");
        assert_eq!((&groups[0].name[..], groups[0].pending, groups[0].lag), (&b"g"[..], 3, None));
    }
    for (inactive, expected) in [(Int(-1), None), (Int(7), Some(Duration::from_millis(7)))] {
        for answer in both(vec![("name", text("c")), ("idle", Int(5)), ("inactive", inactive)]) {
            let consumers = XInfoConsumers::reply(Array(vec![answer])).expect("a reply");
            assert_eq!((consumers[0].idle, consumers[0].inactive), (Duration::from_millis(5), expected));
        }
    }
}

#[test]
fn answers_of_an_unexpected_shape_are_errors() {
    for answer in [Okay, Int(-1), text("x"), Array(vec![Int(1)]), Array(vec![Array(vec![])]), Map(vec![(Nil, Nil)])] {
        let answers: Vec<Result<()>> = vec![
            XRange::reply(answer.clone()).map(drop),
            XReadGroup::reply(answer.clone()).map(drop),
            XAutoClaim::<StreamEntry>::reply(answer.clone()).map(drop),
            XPending::reply(answer.clone()).map(drop),
            XPendingEntries::reply(answer).map(drop),
        ];
        assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::Decode)));
    }
}

#[test]
fn stream_ids_are_parsed_and_ordered() {
    let id = |text: &str| text.parse::<StreamId>();
    assert_eq!(id("5"), Ok(StreamId::new(5, 0)));
    assert_eq!(id(&StreamId::MAX.to_string()), Ok(StreamId::MAX));
    for bad in ["", "-", "1-", "-1", "+1-0", "1-2-3", " 1-0", "$", ">", "18446744073709551616-0"] {
        assert_eq!(id(bad), Err(InvalidStreamId), "{bad}");
    }
    assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
    assert_eq!(StreamId::MAX.next(), None);
    assert!(StreamId::new(9, 5) < StreamId::new(10, 0));
    assert_eq!(StreamId::new(3, 4).to_redis_args(), [b"3-4"]);
}
