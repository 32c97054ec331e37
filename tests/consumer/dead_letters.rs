//! Dead letters against a real server: what they tell, and the way back.

use std::time::{Duration, SystemTime};

use crate::stream_support::*;
use redis_actix::prelude::*;
use redis_actix::{DeadLetterFilter, DeadLetters, TraceParent};

/// Sends every entry to the dead letters, but for those that came back.
async fn some_dead(fixture: &StreamFixture, entries: u64) -> (Redis, redis_actix::StreamConsumer, Recording) {
    let redis = fixture.redis();
    let handler = Recorder::start_with(|job| match job.field("again") {
        None if job.n % 2 == 0 => Outcome::reject("no customer"),
        None => Outcome::Failed("no stock".to_owned()),
        Some(_) => Outcome::Ack,
    });
    let consumer = quick("orders", "billing").max_deliveries(1).start::<Job>(&redis, handler.recipient()).unwrap();
    for n in 0..entries {
        redis.send(XAdd::new("orders").entry(&Job { n }).unwrap()).await.unwrap();
    }
    eventually("all dead", async || consumer.stats().await.unwrap().dead_lettered == entries).await;
    (redis, consumer, handler)
}

#[actix::test]
async fn a_dead_letter_describes_its_message() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Failed("no stock".to_owned()));
    let consumer = quick("orders", "billing").max_deliveries(2).start::<Job>(&redis, handler.recipient()).unwrap();
    let trace = TraceParent::new(true);
    let before = SystemTime::now() - Duration::from_secs(1);
    // A name that looks like one of ours, a name twice, and bytes that are no text.
    let add = XAdd::new("orders").field("dead:id", "mine").field("n", 7).field("raw", b"\xff\x00").field("n", 8);
    let id = redis.send(add.traceparent(trace)).await.unwrap();
    eventually("dead", async || consumer.stats().await.unwrap().dead_lettered == 1).await;
    let letters = consumer.dead_letters().list(DeadLetterFilter::all()).await.unwrap();
    let letter = &letters[0];
    assert_eq!((letter.original, letter.deliveries), (id, 2));
    assert_eq!((&*letter.stream, &*letter.group, &*letter.consumer), ("orders", "billing", "c1"));
    assert_eq!((&*letter.reason, &*letter.error), ("max_deliveries", "no stock"));
    assert!(letter.first_seen > before && letter.last_seen >= letter.first_seen, "{letter:?}");
    assert!(letter.last_seen < SystemTime::now() + Duration::from_secs(1), "{letter:?}");
    assert_eq!(letter.traceparent(), Some(trace));
    let names: Vec<_> = letter.fields.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(names, ["dead:id", "n", "raw", "n", "traceparent"]);
    assert_eq!(letter.fields[2].1, b"\xff\x00");
    assert_eq!(consumer.dead_letters().get(letter.id).await.unwrap().as_ref(), Some(letter));
    // It comes back exactly as it was.
    assert_eq!(consumer.redrive(DeadLetterFilter::all()).await.unwrap(), 1);
    let back = redis.send(XRevRange::new("orders", ..).count(1)).await.unwrap();
    assert_eq!(back[0].fields, letter.fields);
}

#[actix::test]
async fn letters_are_chosen_listed_sent_back_and_purged() {
    let fixture = StreamFixture::start();
    let (redis, consumer, handler) = some_dead(&fixture, 300).await;
    let dead = DeadLetters::new(&redis, "orders", "billing");
    assert_eq!(dead.count().await.unwrap(), 300);
    assert_eq!(dead.list(DeadLetterFilter::all().limit(7)).await.unwrap().len(), 7);
    let rejected = dead.list(DeadLetterFilter::all().reason("rejected")).await.unwrap();
    assert_eq!(rejected.len(), 150);
    assert!(rejected.iter().all(|letter| letter.error == "no customer"));
    let later = DeadLetterFilter::all().since(SystemTime::now() + Duration::from_secs(600));
    assert_eq!(dead.list(later).await.unwrap(), []);
    let other = DeadLetters::new(&redis, "orders", "shipping");
    assert_eq!(other.purge(DeadLetterFilter::all()).await.unwrap(), 0, "those of another group are not its own");
    let one = DeadLetterFilter::all().ids([rejected[3].id]);
    assert_eq!(dead.purge(one).await.unwrap(), 1);
    // All others die again at once: with a redrive that continues with new letters this would not end.
    let chosen = DeadLetterFilter::all().matching(|letter| letter.reason == "max_deliveries");
    assert_eq!(consumer.redrive(chosen).await.unwrap(), 150);
    handler.handled(450).await;
    eventually("dead again", async || consumer.stats().await.unwrap().dead_lettered == 450).await;
    assert_eq!(dead.count().await.unwrap(), 299);
    assert_eq!(dead.purge(DeadLetterFilter::all()).await.unwrap(), 299);
    assert_eq!((dead.count().await.unwrap(), redis.send(XLen::new("orders")).await.unwrap()), (0, 450));
}

#[actix::test]
async fn two_that_redrive_the_same_letters_send_each_back_once() {
    let fixture = StreamFixture::start();
    let (redis, consumer, _) = some_dead(&fixture, 200).await;
    consumer.drain(Duration::from_secs(5)).await.unwrap();
    let dead = DeadLetters::new(&redis, "orders", "billing");
    let (one, two) =
        futures_util::future::join(dead.redrive(DeadLetterFilter::all()), dead.redrive(DeadLetterFilter::all())).await;
    // With XADD and XDEL as commands of their own there were 400.
    assert_eq!(one.unwrap() + two.unwrap(), 200);
    assert_eq!(redis.send(XLen::new("orders")).await.unwrap(), 400);
}

#[actix::test]
async fn entries_that_cannot_be_dead_lettered_or_redriven_stay_where_they_are() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    redis.send(Set::new("orders:dlq", "no stream")).await.unwrap();
    let (handler, events) = (Recorder::start_with(|_| Outcome::reject("no customer")), Events::watch());
    let consumer =
        quick("orders", "billing").on_event(events.recipient()).start::<Job>(&redis, handler.recipient()).unwrap();
    redis.send(XAdd::new("orders").entry(&Job { n: 1 }).unwrap()).await.unwrap();
    let wrong_type = |kind: &StreamEventKind| matches!(kind, StreamEventKind::DeadLetterFailed { error, .. } if error.code() == Some("WRONGTYPE"));
    events.saw("the wrong type", wrong_type).await;
    // With `redis.pcall` in the script, which goes on after an error as MULTI does, there was no such event: the
    // message was acknowledged, and nowhere.
    assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 1);
    redis.send(Del::key("orders:dlq")).await.unwrap();
    eventually("dead-lettered", async || consumer.stats().await.unwrap().dead_lettered == 1).await;

    fixture.server.command(["CONFIG", "SET", "maxmemory", "1"]).unwrap().ok().unwrap();
    let full = consumer.redrive(DeadLetterFilter::all()).await.unwrap_err();
    assert_eq!(full.code(), Some("OOM"), "{full}");
    assert_eq!(redis.send(XLen::new("orders:dlq")).await.unwrap(), 1);
    fixture.server.command(["CONFIG", "SET", "maxmemory", "0"]).unwrap().ok().unwrap();
    assert_eq!(consumer.redrive(DeadLetterFilter::all()).await.unwrap(), 1);
    eventually("dead again", async || consumer.stats().await.unwrap().dead_lettered == 2).await;
}

#[actix::test]
async fn without_memory_a_message_stays_pending_until_there_is_some() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let server = std::sync::Arc::new(fixture);
    let full = server.clone();
    let events = Events::watch();
    let handler = Recorder::start_with(move |_| {
        full.server.command(["CONFIG", "SET", "maxmemory", "1"]).unwrap().ok().unwrap();
        Outcome::reject("no customer")
    });
    let consumer =
        quick("orders", "billing").on_event(events.recipient()).start::<Job>(&redis, handler.recipient()).unwrap();
    redis.send(XAdd::new("orders").entry(&Job { n: 1 }).unwrap()).await.unwrap();
    let out_of_memory = |kind: &StreamEventKind| matches!(kind, StreamEventKind::DeadLetterFailed { error, .. } if error.code() == Some("OOM"));
    events.saw("out of memory", out_of_memory).await;
    assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 1);
    server.server.command(["CONFIG", "SET", "maxmemory", "0"]).unwrap().ok().unwrap();
    eventually("dead-lettered", async || consumer.stats().await.unwrap().dead_lettered == 1).await;
    assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 0);
}

/// Ablation: without the count of moves it goes on until the entry has too many fields for a script, after 300 and more moves.
#[actix::test]
async fn an_entry_that_consumers_move_to_each_other_stops_after_16_moves() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let rejects = || Recorder::start_with(|_| Outcome::reject("no"));
    let (one, other) = (rejects(), rejects());
    let start = |stream: &str, letters: &str, handler: Recording| {
        let consumer = quick(stream, "billing").dead_letter(letters).on_event(events.recipient());
        consumer.start::<Job>(&redis, handler.recipient()).unwrap()
    };
    let consumers = [start("orders", "letters", one.clone()), start("letters", "orders", other.clone())];
    add(&redis, 0..1).await;
    events
        .saw("the end of the moves", |kind| matches!(kind, redis_actix::StreamEventKind::DeadLetterFailed { .. }))
        .await;
    let moved: usize = one.seen().len() + other.seen().len();
    assert!((17..=20).contains(&moved), "{moved} deliveries");
    let pending = async |stream: &str| redis.send(XPending::new(stream, "billing")).await.unwrap().count;
    assert_eq!(pending("orders").await + pending("letters").await, 1, "it is not lost");
    for consumer in consumers {
        consumer.drain(secs(5)).await.unwrap();
    }
}
