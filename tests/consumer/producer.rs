//! Producers and the care of groups, against a real server.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::stream_support::*;
use redis_actix::prelude::*;
use redis_actix::{ConsumerGroup, Entry, OnceBy, Outcome, Producer, Removal, StreamId, TraceParent};

fn entry(n: u64) -> Entry {
    Entry::new(&Job { n }).unwrap()
}

async fn numbers(redis: &Redis, stream: &str) -> Vec<u64> {
    let entries = redis.send(XRange::new(stream, ..)).await.unwrap();
    entries.iter().map(|entry| entry.decode::<Job>().unwrap().n).collect()
}

#[actix::test]
async fn trimming_stops_at_what_a_group_still_needs() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let producer = Producer::new(&redis, "orders").max_len(10).keep_needed();
    for n in 0..100 {
        producer.append(entry(n)).await.unwrap();
    }
    // Without the look at the groups there were 10 of them, and a group that came later could not have the rest.
    assert_eq!(numbers(&redis, "orders").await.len(), 100, "without a group everything is kept");
    let (fast, slow) = (ConsumerGroup::new(&redis, "orders", "fast"), ConsumerGroup::new(&redis, "orders", "slow"));
    assert!(fast.create(StreamId::MIN).await.unwrap() && slow.create(StreamId::MIN).await.unwrap());
    let read = async |group: &str, count: u64| {
        let pages = redis.send(XReadGroup::new(group, "c", ["orders"]).count(count)).await.unwrap();
        pages.into_iter().flat_map(|page| page.entries).map(|entry| entry.id).collect::<Vec<_>>()
    };
    let all = read("fast", 100).await;
    redis.send(XAck::new("orders", "fast", all)).await.unwrap();
    let first = read("slow", 30).await;
    assert_eq!(producer.trim().await.unwrap(), 0, "the slow group has all of it before it, or pending");
    // All but the one of number 20.
    redis.send(XAck::new("orders", "slow", first.iter().filter(|id| **id != first[20]))).await.unwrap();
    assert_eq!(producer.trim().await.unwrap(), 20);
    assert_eq!(numbers(&redis, "orders").await, (20..100).collect::<Vec<_>>());
    redis.send(XAck::new("orders", "slow", [first[20]])).await.unwrap();
    let appended = producer.append(entry(100)).await.unwrap();
    assert_eq!(appended.trimmed, Some(10), "up to the entry delivered last");
    assert_eq!(numbers(&redis, "orders").await, (30..101).collect::<Vec<_>>());
    let rest = read("slow", 1_000).await;
    redis.send(XAck::new("orders", "slow", rest)).await.unwrap();
    let rest = read("fast", 1_000).await;
    redis.send(XAck::new("orders", "fast", rest)).await.unwrap();
    assert_eq!(producer.trim().await.unwrap(), 61);
    assert_eq!(numbers(&redis, "orders").await, (91..101).collect::<Vec<_>>(), "ten are left");
}

#[actix::test]
async fn trimming_by_age_stops_there_too() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    for n in 0..20 {
        redis
            .send(XAdd::new("orders").entry(&Job { n }).unwrap().id(StreamId::new(n + 1, u64::MAX - n)))
            .await
            .unwrap();
    }
    let group = ConsumerGroup::new(&redis, "orders", "billing");
    group.create(StreamId::new(12, u64::MAX - 11)).await.unwrap();
    let producer = Producer::new(&redis, "orders").max_age(Duration::from_secs(3600)).keep_needed();
    let appended = producer.append(entry(20)).await.unwrap();
    assert_eq!(appended.trimmed, Some(12));
    assert_eq!(numbers(&redis, "orders").await, (12..21).collect::<Vec<_>>());
    let careless = Producer::new(&redis, "orders").max_age(Duration::from_secs(3600));
    let exact = careless.clone().trim().await.unwrap();
    assert_eq!((exact, numbers(&redis, "orders").await), (8, vec![20]), "without keep_needed age alone decides");
}

#[actix::test]
async fn no_message_is_lost_to_trimming_while_consumers_are_behind() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler =
        Recorder::start_with(|job| if job.attempt() == 1 && job.n % 10 == 0 { Outcome::Retry } else { Outcome::Ack });
    let events = Events::watch();
    let consumer =
        quick("orders", "billing").on_event(events.recipient()).start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("the group", async || ConsumerGroup::new(&redis, "orders", "billing").info().await.unwrap().is_some())
        .await;
    let producer = Producer::new(&redis, "orders").max_len(5).keep_needed();
    for n in 0..2_000 {
        producer.append(entry(n)).await.unwrap();
    }
    eventually("all handled", async || handler.distinct() == 2_000).await;
    // With `max_len(5)` alone 184 were trimmed while they waited for another attempt.
    assert_eq!(consumer.stats().await.unwrap().trimmed, 0);
    assert_eq!(events.count(|kind| matches!(kind, StreamEventKind::Trimmed { .. })), 0);
    eventually("it is short in the end", async || {
        producer.trim().await.unwrap();
        redis.send(XLen::new("orders")).await.unwrap() <= 5
    })
    .await;
}

#[actix::test]
async fn entries_trimmed_before_they_are_handled_are_reported() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::RetryAfter(Duration::from_millis(300)));
    let events = Events::watch();
    let consumer =
        quick("orders", "billing").on_event(events.recipient()).start::<Job>(&redis, handler.recipient()).unwrap();
    let id = redis.send(XAdd::new("orders").entry(&Job { n: 1 }).unwrap()).await.unwrap();
    handler.handled(1).await;
    redis.send(XTrim::max_len("orders", 0)).await.unwrap();
    events.saw("trimmed", |kind| matches!(kind, StreamEventKind::Trimmed { ids } if *ids == [id])).await;
    assert_eq!((consumer.stats().await.unwrap().trimmed, handler.seen().len()), (1, 1));
}

#[actix::test]
async fn a_message_with_an_id_is_added_once_whatever_is_sent_twice() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    assert!(!redis.stream_features().await.unwrap().idempotent_add, "none of the servers of the tests has it");
    let producer = Producer::new(&redis, "orders").remember(Duration::from_millis(400), 50);
    let first = producer.append(entry(1).once("order-1")).await.unwrap();
    let again = producer.append(entry(1).once("order-1")).await.unwrap();
    assert_eq!((first.by, again.by, first.id), (Some(OnceBy::Script), Some(OnceBy::ScriptKnewIt), again.id));
    // Twenty producers, each message from all of them.
    let producers: Vec<_> =
        (0..20).map(|_| Producer::new(&fixture.redis(), "orders").remember(Duration::from_millis(400), 50)).collect();
    let all = producers
        .iter()
        .flat_map(|producer| (0..50_u64).map(move |n| producer.append(entry(n).once(format!("many-{n}")))));
    let ids: BTreeSet<_> = futures_util::future::join_all(all).await.into_iter().map(|done| done.unwrap().id).collect();
    // Without the check of remembered ids each was added: `again` was a new entry, too.
    assert_eq!((ids.len(), redis.send(XLen::new("orders")).await.unwrap()), (50, 51));
    assert!(producer.append(entry(1).once("")).await.is_err());
    assert!(!producer.configure_server().await.unwrap());

    // Remembered ids are bounded in number and in time.
    for n in 0..200 {
        producer.append(entry(n).once(n.to_string())).await.unwrap();
        assert!(redis.send(ZCard::new("orders:once")).await.unwrap() <= 50);
        assert!(redis.send(HLen::new("orders:once:entries")).await.unwrap() <= 51);
    }
    eventually("it is forgotten", async || redis.send(Exists::key("orders:once")).await.unwrap() == 0).await;
    let late = producer.append(entry(1).once("199")).await.unwrap();
    assert_eq!(late.by, Some(OnceBy::Script));
}

#[actix::test]
async fn a_message_is_fields_or_json_and_carries_its_trace() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug, Clone)]
    struct Order {
        customer: Option<String>,
        items: Vec<(u32, f64)>,
        paid: bool,
    }
    #[derive(serde::Deserialize)]
    struct Envelope {
        order: Order,
    }
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let producer = Producer::new(&redis, "orders");
    let trace = TraceParent::new(false).child();
    let order = Order { customer: Some("ada ä".into()), items: vec![(1, 2.5), (2, 0.1)], paid: true };
    producer.append(Entry::new(&order).unwrap().traceparent(trace)).await.unwrap();
    producer.append(Entry::json("order", &order).unwrap().field("more", "x")).await.unwrap();
    let entries = redis.send(XRange::new("orders", ..)).await.unwrap();
    assert_eq!(entries[0].decode::<Order>().unwrap(), order);
    assert_eq!((entries[0].traceparent(), entries[1].traceparent()), (Some(trace), None));
    let json = r#"{"customer":"ada ä","items":[[1,2.5],[2,0.1]],"paid":true}"#;
    assert_eq!(entries[1].get("order"), Some(json.as_bytes()));
    assert_eq!(entries[1].decode::<Envelope>().unwrap().order, order);
    let approx = Producer::new(&redis, "many").max_len(100);
    for n in 0..1_000 {
        approx.append(entry(n)).await.unwrap();
    }
    let left = redis.send(XLen::new("many")).await.unwrap();
    assert!((100..300).contains(&left), "{left}");
}

#[actix::test]
async fn a_group_can_be_made_moved_looked_at_and_removed() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let group = ConsumerGroup::new(&redis, "orders", "billing");
    assert!(group.info().await.unwrap().is_none() && group.pending().await.unwrap().is_none());
    assert!(group.create_at_end().await.unwrap() && !group.create(StreamId::MIN).await.unwrap());
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    for n in 0..10 {
        redis.send(XAdd::new("orders").entry(&Job { n }).unwrap().id(StreamId::new(1_000 * (n + 1), 0))).await.unwrap();
    }
    handler.handled(10).await;
    let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    group.seek_to(at(8_000)).await.unwrap();
    // The reader that waits for new entries does not see that the group was moved until its BLOCK ends.
    handler.handled(13).await;
    assert_eq!(handler.seen()[10..].iter().map(|seen| seen.n).collect::<Vec<_>>(), [7, 8, 9]);
    group.seek(StreamId::MIN).await.unwrap();
    handler.handled(23).await;
    eventually("all acknowledged", async || group.pending().await.unwrap().unwrap().count == 0).await;
    consumer.drain(Duration::from_secs(5)).await.unwrap();
    group.seek(StreamId::new(5_000, 0)).await.unwrap();
    redis.send(XDel::new("orders", [StreamId::new(7_000, 0)])).await.unwrap();
    let info = group.info().await.unwrap().unwrap();
    assert_eq!((info.lag, info.pending), (None, 0), "in the middle, with a hole: the server cannot tell");
    group.seek_to_end().await.unwrap();
    redis.send(XAdd::new("orders").entry(&Job { n: 99 }).unwrap()).await.unwrap();
    group.seek(StreamId::MIN).await.unwrap();
    assert_eq!(redis.send(XReadGroup::new("billing", "x", ["orders"]).count(100)).await.unwrap()[0].entries.len(), 10);
    assert_eq!(group.info().await.unwrap().unwrap().lag, Some(0));
    assert_eq!(group.pending_entries(4).await.unwrap().len(), 4);
    assert!(group.destroy().await.unwrap() && !group.destroy().await.unwrap());
    assert_eq!(group.seek(StreamId::MIN).await.unwrap_err().code(), Some("NOGROUP"));
}

#[actix::test]
async fn only_consumers_with_nothing_pending_that_do_nothing_are_removed() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let group = ConsumerGroup::new(&redis, "orders", "billing");
    group.create(StreamId::MIN).await.unwrap();
    redis.send(XAdd::new("orders").entry(&Job { n: 1 }).unwrap()).await.unwrap();
    for name in ["holds", "idle", "busy"] {
        redis.send(XReadGroup::new("billing", name, ["orders"])).await.unwrap();
        redis.send(XGroupCreateConsumer::new("orders", "billing", name)).await.unwrap();
    }
    let none = Duration::ZERO;
    assert_eq!(group.remove_consumer("absent", none).await.unwrap(), Removal::NotThere);
    // Without the check for pending entries it was removed, and its pending message with it.
    assert_eq!(group.remove_consumer("holds", none).await.unwrap(), Removal::Pending(1));
    assert_eq!(group.remove_consumer("busy", Duration::from_secs(3600)).await.unwrap(), Removal::Active);
    assert_eq!(group.remove_consumer("busy", none).await.unwrap(), Removal::Removed);
    let removed = group.remove_dead_consumers(none).await.unwrap();
    assert_eq!(removed, [b"idle"]);
    let left: Vec<_> = group.consumers().await.unwrap().into_iter().map(|consumer| consumer.name).collect();
    assert_eq!(left, [b"holds"]);
    assert_eq!(group.pending().await.unwrap().unwrap().count, 1);
}

#[actix::test]
async fn what_all_groups_have_acknowledged_is_deleted_if_that_is_wished() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let other = ConsumerGroup::new(&redis, "orders", "shipping");
    other.create(StreamId::MIN).await.unwrap();
    for n in 0..20 {
        redis.send(XAdd::new("orders").entry(&Job { n }).unwrap()).await.unwrap();
    }
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let billing = quick("orders", "billing").delete_acknowledged().start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("acknowledged", async || billing.stats().await.unwrap().acked == 20).await;
    // Without the look at the other groups nothing was left.
    assert_eq!(redis.send(XLen::new("orders")).await.unwrap(), 20, "the other group has not seen them");
    let shipping = quick("orders", "shipping").delete_acknowledged().start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("deleted", async || redis.send(XLen::new("orders")).await.unwrap() == 0).await;
    eventually("acknowledged", async || shipping.stats().await.unwrap().acked == 20).await;
    println!("{:?}", redis.stream_features().await.unwrap());
}
