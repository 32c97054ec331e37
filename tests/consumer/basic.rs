//! The stream consumer against a real server: reading, answering, pausing, draining.

use std::time::Duration;

use crate::stream_support::*;
use redis_actix::prelude::*;

#[actix::test]
async fn entries_are_handled_and_acknowledged() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    for n in 0..1_000 {
        redis.send(XAdd::new("orders").entry(&Job { n }).unwrap()).await.unwrap();
    }
    handler.handled(1_000).await;
    eventually("all acknowledged", async || consumer.stats().await.unwrap().acked == 1_000).await;
    assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 0);
    assert_eq!(handler.distinct(), 1_000);
    let report = consumer.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((report.unfinished, report.unacknowledged), (0, 0));
}

#[actix::test]
async fn a_retry_comes_back_after_its_delay_and_the_last_one_is_a_dead_letter() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Failed("no stock".into()));
    let consumer = quick("orders", "billing")
        .retry([Duration::from_millis(100)])
        .max_deliveries(3)
        .start::<Job>(&redis, handler.recipient())
        .unwrap();
    let id = redis.send(XAdd::new("orders").entry(&Job { n: 7 }).unwrap()).await.unwrap();
    handler.handled(3).await;
    eventually("a dead letter", async || consumer.stats().await.unwrap().dead_lettered == 1).await;
    let seen = handler.seen();
    assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    for pair in seen.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!((90..300).contains(&gap.as_millis()), "{gap:?}");
    }
    let dead = redis.send(XRange::new("orders:dlq", ..)).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].get("dead:id"), Some(id.to_string().as_bytes()));
    assert_eq!(dead[0].get("dead:reason"), Some(&b"max_deliveries"[..]));
    assert_eq!(dead[0].get("dead:error"), Some(&b"no stock"[..]));
    assert_eq!(dead[0].get("dead:deliveries"), Some(&b"3"[..]));
    assert_eq!(dead[0].get("n"), Some(&b"7"[..]));
    assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 0);
}

#[actix::test]
async fn a_paused_consumer_hands_out_nothing_and_goes_on_after() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    redis.send(XAdd::new("orders").entry(&Job { n: 0 }).unwrap()).await.unwrap();
    handler.handled(1).await;
    consumer.pause();
    eventually("paused", async || consumer.stats().await.unwrap().state == "paused").await;
    for n in 1..50 {
        redis.send(XAdd::new("orders").entry(&Job { n }).unwrap()).await.unwrap();
    }
    assert_eq!(handler.seen().len(), 1);
    consumer.resume();
    eventually("all handled", async || handler.distinct() == 50).await;
    assert!(handler.seen().iter().all(|seen| seen.attempt == 1), "what went back is not counted");
}

#[actix::test]
async fn a_killed_server_costs_nothing_that_was_acknowledged() {
    let fixture = StreamFixture::persistent();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    let mut added = 0;
    for round in 0..3 {
        let until = added + 500;
        while added < until {
            if redis.send(XAdd::new("orders").entry(&Job { n: added }).unwrap().idempotent()).await.is_ok() {
                added += 1;
            }
        }
        fixture.server.kill().unwrap();
        fixture.server.restart().unwrap();
        let _ = round;
    }
    eventually("everything handled", async || handler.distinct() as u64 == added).await;
    eventually("everything acknowledged", async || {
        redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 0)
    })
    .await;
    println!("{:?}", consumer.stats().await.unwrap());
}
