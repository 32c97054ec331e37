//! Panics in the user's code beside the handler itself.

use std::fmt;

use actix::prelude::*;
use redis_actix::Delivery;

use crate::stream_support::*;

struct Unwritable;

impl fmt::Display for Unwritable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("injected into Display");
    }
}

struct Failing {
    seen: Vec<u64>,
    done: tokio::sync::watch::Sender<usize>,
}

impl Actor for Failing {
    type Context = Context<Self>;
}

type Fails = Delivery<Job, Result<(), Unwritable>>;

impl Handler<Fails> for Failing {
    type Result = Result<(), Unwritable>;

    fn handle(&mut self, job: Fails, _: &mut Self::Context) -> Self::Result {
        if job.n.is_multiple_of(40) && job.attempt() == 1 {
            return Err(Unwritable);
        }
        self.seen.push(job.n);
        self.done.send_replace(self.seen.len());
        Ok(())
    }
}

/// Ablation: without the fence the consumer is restarted at each of them and closed at the fifth ("not within 20s: all are
/// handled").
#[actix::test]
async fn an_error_that_cannot_be_written_is_a_failed_attempt_and_no_more() {
    injected_panics_are_quiet();
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let (done, handled) = tokio::sync::watch::channel(0);
    let handler = Failing { seen: Vec::new(), done }.start();
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient::<Fails>()).unwrap();
    add(&redis, 0..200).await;
    eventually("all are handled", async || *handled.borrow() == 200).await;
    settled(&redis).await;
    let restarted =
        |kind: &redis_actix::StreamEventKind| matches!(kind, redis_actix::StreamEventKind::Restarted { .. });
    assert_eq!(events.count(restarted), 0, "{:?}", events.all());
    assert_eq!(consumer.stats().await.unwrap().retried, 5);
}
