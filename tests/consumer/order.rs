//! Entries of a key, and those of others.

use actix::clock::sleep;
use redis_actix::{Outcome, StreamEventKind as Kind};

use crate::stream_support::*;

fn numbers(handler: &Recording) -> Vec<u64> {
    handler.seen().into_iter().map(|seen| seen.n).collect()
}

/// Ablation: released by a pause, entries of a key come back behind those that were read meanwhile.
#[actix::test]
async fn the_order_of_a_key_holds_over_pause_resume_release_and_retry() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::working(|job| {
        let answer = match (job.n, job.attempt()) {
            (7 | 31, 1) => Outcome::Retry,
            (n @ 1000.., _) => panic!("{n}"),
            _ => Outcome::Ack,
        };
        async move {
            sleep(ms(3)).await;
            answer
        }
    });
    let consumer = quick("orders", "billing").ordered_by(|_: &Job| 0).min_idle(secs(60)).retry([ms(20)]);
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..40).await;
    for calls in [5, 15, 30] {
        handler.handled(calls).await;
        consumer.pause();
        eventually("paused", async || consumer.stats().await.unwrap().in_flight == 0).await;
        let next = 40 + 10 * calls as u64 / 5;
        add(&redis, [next, next + 1]).await;
        consumer.resume();
    }
    eventually("all", async || handler.distinct() == 46).await;
    settled(&redis).await;
    let mut seen = numbers(&handler);
    seen.dedup();
    assert!(seen.is_sorted(), "{seen:?}");
}

/// Ablation: with entries that are delivered again in one line for all keys nothing of the others is handled.
#[actix::test]
async fn only_the_key_that_must_wait_waits() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, 0..6).await;
    tell(&fixture.server, ["XGROUP", "CREATE", "t:orders", "billing", "0"]);
    tell(&fixture.server, ["XREADGROUP", "GROUP", "billing", "c1", "COUNT", "6", "STREAMS", "t:orders", ">"])
        .ok()
        .unwrap();
    let handler = Recorder::start_with(|job| if job.n == 0 { Outcome::RetryAfter(secs(3600)) } else { Outcome::Ack });
    let consumer = quick("orders", "billing").ordered_by(|job: &Job| job.n % 6);
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 6..60).await;
    eventually("all other keys", async || handler.distinct() == 51).await;
    let seen = numbers(&handler);
    assert!(seen.iter().filter(|n| *n % 6 == 0).eq(&[0]), "{seen:?}");
}

/// Ablation: where what waits for its key keeps its room no other key gets any.
#[actix::test]
async fn a_window_full_of_one_key_is_given_up_for_others() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|job| if job.n == 0 { Outcome::RetryAfter(ms(1_500)) } else { Outcome::Ack });
    let consumer = quick("orders", "billing").ordered_by(|job: &Job| job.n < 100).max_in_flight(4).batch(16);
    let consumer = consumer.max_deliveries(2).on_event(events.recipient());
    add(&redis, 0..100).await;
    add(&redis, 100..120).await;
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("those of the other key", async || numbers(&handler).iter().filter(|n| **n >= 100).count() == 20).await;
    assert_eq!(numbers(&handler).iter().filter(|n| **n < 100).count(), 1, "the first one has not had its next attempt");
    events.saw("the first one is dead", |kind| matches!(kind, Kind::DeadLettered { .. })).await;
    handler.all_of(120).await;
    let key: Vec<_> = numbers(&handler).into_iter().filter(|n| *n < 100).collect();
    assert!(key.is_sorted(), "{key:?}");
    settled(&redis).await;
}
