//! What entries of any kind become on their way from a real server into a handler.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stream_support::*;
use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Delivery, FromEntry, Outcome};
use serde::Deserialize;
use tokio::sync::mpsc;

/// Bytes as they are.
#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        from.deserialize_bytes(Visitor)
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Everything {
    count: i64,
    huge: u128,
    ratio: f64,
    paid: bool,
    flag: bool,
    note: Option<String>,
    missing: Option<u8>,
    items: Vec<BTreeMap<String, f32>>,
    raw: Bytes,
    twice: u8,
    #[serde(default)]
    state: State,
}

#[derive(Debug, PartialEq, Deserialize, Default)]
enum State {
    #[default]
    Fresh,
    Paid {
        by: String,
    },
}

struct Hands<T>(mpsc::UnboundedSender<Delivery<T>>);

impl<T: FromEntry + Unpin> Actor for Hands<T> {
    type Context = Context<Self>;
}

impl<T: FromEntry + Unpin> Handler<Delivery<T>> for Hands<T> {
    type Result = Outcome;

    fn handle(&mut self, delivery: Delivery<T>, _: &mut Self::Context) -> Outcome {
        self.0.send(delivery).unwrap();
        Outcome::Ack
    }
}

fn hands<T: FromEntry + Unpin>() -> (Recipient<Delivery<T>>, mpsc::UnboundedReceiver<Delivery<T>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Hands(sender).start().recipient(), receiver)
}

fn everything() -> XAdd {
    XAdd::new("orders")
        .field("twice", "no number")
        .field("count", i64::MIN)
        .field("huge", u128::MAX.to_string())
        .field("ratio", "1e-300")
        .field("paid", "true")
        .field("flag", 0)
        .field("note", "")
        .field("items", r#"[{"a":1.5},{}]"#)
        .field("raw", b"\xff\x00\xfe")
        .field("state", r#"{"Paid":{"by":"ada"}}"#)
        .field(b"\xc3\x28 is no name", "unknown name")
        .field("twice", 2)
}

#[actix::test]
async fn every_kind_of_field_is_read_and_the_raw_fields_stay_as_they_are() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    redis.send(everything()).await.unwrap();
    let (handler, mut seen) = hands::<Everything>();
    let consumer = quick("orders", "billing").start::<Everything>(&redis, handler).unwrap();
    let delivery = seen.recv().await.unwrap();
    let expected = Everything {
        count: i64::MIN,
        huge: u128::MAX,
        ratio: 1e-300,
        paid: true,
        flag: false,
        note: Some(String::new()),
        missing: None,
        items: vec![BTreeMap::from([("a".to_owned(), 1.5)]), BTreeMap::new()],
        raw: Bytes(b"\xff\x00\xfe".to_vec()),
        twice: 2,
        state: State::Paid { by: "ada".to_owned() },
    };
    assert_eq!(*delivery.payload(), expected);
    let twice: Vec<_> =
        delivery.fields().iter().filter(|(name, _)| name == b"twice").map(|(_, value)| &value[..]).collect();
    assert_eq!(twice, [&b"no number"[..], b"2"], "both, in order");
    assert_eq!(delivery.field(b"\xc3\x28 is no name"), Some(&b"unknown name"[..]));
    drop(consumer);
}

#[actix::test]
async fn one_that_does_not_fit_is_dead_alone_and_keeps_its_bytes() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    for n in 0..10_u8 {
        let add = XAdd::new("orders").field("n", n).field(b"\xff\xfe", b"\x80");
        redis.send(if n == 5 { add.field("n", b"\xff") } else { add }).await.unwrap();
    }
    let (handler, mut seen) = hands::<Job>();
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..9 {
        numbers.push(seen.recv().await.unwrap().n);
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    eventually("dead", async || consumer.stats().await.unwrap().dead_lettered == 1).await;
    let letter = consumer.dead_letters().list(Default::default()).await.unwrap().remove(0);
    assert_eq!((&*letter.reason, &*letter.error), ("decode", "field `n` is no number that fits u64"));
    assert_eq!(letter.fields[1], (b"\xff\xfe".to_vec(), b"\x80".to_vec()));
    assert_eq!(consumer.drain(Duration::from_secs(5)).await.unwrap().unfinished, 0);
}
