//! Messages for later, against a real server.

use std::time::{Duration, Instant, SystemTime};

use crate::stream_support::*;
use redis_actix::prelude::*;
use redis_actix::{Outcome, Scheduled};

fn job(n: u64) -> XAdd {
    XAdd::new("orders").entry(&Job { n }).unwrap()
}

#[actix::test]
async fn a_message_comes_when_its_time_has_come_and_not_before() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing")
        .scheduled_every(Duration::from_millis(50))
        .start::<Job>(&redis, handler.recipient())
        .unwrap();
    let asked = Instant::now();
    redis.schedule_in(job(2), Duration::from_millis(700)).await.unwrap();
    redis.schedule(job(1), SystemTime::now() + Duration::from_millis(300)).await.unwrap();
    redis.schedule(job(0), SystemTime::UNIX_EPOCH).await.unwrap();
    handler.handled(3).await;
    let seen = handler.seen();
    assert_eq!(seen.iter().map(|seen| seen.n).collect::<Vec<_>>(), [0, 1, 2]);
    let late: Vec<_> = seen.iter().map(|seen| (seen.at - asked).as_millis()).collect();
    // Without the look at the clock (ZRANGEBYSCORE up to +inf) all came at once.
    assert!(late[1] >= 295 && late[2] >= 695, "{late:?}");
    assert!(late[0] < 250 + late[1] && late[2] < 5_000, "{late:?}");
    assert_eq!(Scheduled::new(&redis, "orders").count().await.unwrap(), 0);
    assert_eq!(redis.send(Exists::key("orders:scheduled:messages")).await.unwrap(), 0, "nothing is left behind");
    drop(consumer);
}

#[actix::test]
async fn many_that_move_move_each_message_once() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    for n in 0..500 {
        redis.schedule(job(n), SystemTime::now()).await.unwrap();
    }
    let movers: Vec<_> = (0..8).map(|_| Scheduled::new(&fixture.redis(), "orders")).collect();
    let moved = futures_util::future::join_all(movers.iter().map(Scheduled::move_due)).await;
    let moved: Vec<u64> = moved.into_iter().map(Result::unwrap).collect();
    // With ZRANGEBYSCORE, XADD and ZREM as commands of their own there were 862.
    assert_eq!(moved.iter().sum::<u64>(), 500, "{moved:?}");
    let entries = redis.send(XRange::new("orders", ..)).await.unwrap();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.decode::<Job>().unwrap().n).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>(), "each once, in the order in which they were scheduled");
}

#[actix::test]
async fn what_is_cancelled_does_not_come_and_what_comes_is_whole() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let scheduled = Scheduled::new(&redis, "orders");
    let ticket = redis.schedule(job(1), SystemTime::now()).await.unwrap();
    let whole = XAdd::new("orders").field("raw", b"\x00\xff\r\n").field("a", 1).field("a", 2).max_len(5);
    redis.schedule(whole, SystemTime::now()).await.unwrap();
    let parsed = ticket.to_string().parse().unwrap();
    assert!(scheduled.cancel(&parsed).await.unwrap());
    assert!(!scheduled.cancel(&ticket).await.unwrap(), "only once");
    assert_eq!(scheduled.move_due().await.unwrap(), 1);
    let entries = redis.send(XRange::new("orders", ..)).await.unwrap();
    assert_eq!(entries.len(), 1);
    let raw = |text: &[u8]| text.to_vec();
    assert_eq!(
        entries[0].fields,
        [(raw(b"raw"), raw(b"\x00\xff\r\n")), (raw(b"a"), raw(b"1")), (raw(b"a"), raw(b"2"))]
    );
    for n in 0..20 {
        redis.schedule(job(n).max_len(5), SystemTime::now()).await.unwrap();
    }
    scheduled.move_due().await.unwrap();
    assert_eq!(redis.send(XLen::new("orders")).await.unwrap(), 5, "trimmed as the message said");
    let own = redis.schedule(job(1).id(redis_actix::StreamId::new(1, 1)), SystemTime::now()).await.unwrap_err();
    assert!(own.to_string().contains("gets its id when its time has come"), "{own}");
    assert!(redis.schedule(XAdd::new("orders"), SystemTime::now()).await.is_err(), "no fields");
}

#[actix::test]
async fn what_cannot_be_moved_waits() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let scheduled = Scheduled::new(&redis, "orders");
    redis.send(Set::new("orders", "no stream")).await.unwrap();
    redis.schedule(job(1), SystemTime::now()).await.unwrap();
    assert_eq!(scheduled.move_due().await.unwrap_err().code(), Some("WRONGTYPE"));
    assert_eq!(scheduled.count().await.unwrap(), 1);
    redis.send(Del::key("orders")).await.unwrap();
    assert_eq!(scheduled.move_due().await.unwrap(), 1);
}

#[actix::test]
async fn messages_outlive_their_scheduler_and_the_server() {
    let fixture = StreamFixture::persistent();
    let redis = fixture.redis();
    for n in 0..50 {
        redis.schedule_in(job(n), Duration::from_millis(200)).await.unwrap();
    }
    redis.shutdown(Duration::from_secs(1)).await.unwrap();
    fixture.server.kill().unwrap();
    fixture.server.restart().unwrap();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumers: Vec<_> = ["c1", "c2"]
        .map(|name| quick("orders", "billing").consumer(name).start::<Job>(&redis, handler.recipient()).unwrap())
        .into();
    eventually("all handled", async || handler.distinct() == 50).await;
    assert_eq!(handler.seen().len(), 50, "each once, with two consumers");
    drop(consumers);
}
