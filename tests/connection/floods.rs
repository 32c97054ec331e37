//! Sustained load beyond the capacity of a connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use actix::Message;
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Frame, Value};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, aside, config, hasty, ms};

/// A command that counts itself out when the actor takes it from its mailbox.
struct Counted(Arc<AtomicUsize>);

impl Message for Counted {
    type Result = redis_actix::Result<Value>;
}

impl Command for Counted {
    type Reply = Value;

    fn frame(&self) -> Frame {
        self.0.fetch_sub(1, Ordering::SeqCst);
        Frame::new("INCR").key("k")
    }

    fn reply(value: Value) -> redis_actix::Result<Value> {
        Ok(value)
    }
}

/// actix leaves a mailbox only when it is empty: `RedisActor::count` leaves it earlier.
///
/// Ablation: without `count` fails with "the deadline was not seen".
#[actix::test]
async fn deadlines_are_met_while_several_threads_flood_the_mailbox() {
    let server = FakeServer::builder().on(|_| Answer::Silence).start().expect("a server");
    let redis = hasty(config(server.port()).liveness(None)).start_on_own_thread().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    // In flight before the flood, so that it is not turned away by full queues.
    let call = redis.send(Incr::new("k").timeout(ms(300)));
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = Arc::new(AtomicUsize::new(0));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let (addr, stop, waiting) = (redis.addr().clone(), stop.clone(), waiting.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // Enough that the mailbox is never empty, not more than memory holds.
                    if waiting.load(Ordering::SeqCst) < 50_000 {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        addr.do_send(Counted(waiting.clone()));
                    } else {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let outcome = tokio::time::timeout(TIME_LIMIT / 2, call).await;
    stop.store(true, Ordering::SeqCst);
    aside(move || floods.into_iter().for_each(|flood| flood.join().expect("no panic"))).await;
    let error = outcome.expect("the deadline was not seen").expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

/// A command of a handle keeps its place behind the messages that were sent before it, and expires there.
///
/// Ablation: without `take_expired` in `RedisActor::count` fails with "behind 400000 messages".
#[actix::test]
async fn a_command_behind_a_full_mailbox_expires_in_time() {
    const MESSAGES: usize = 400_000;
    let server = FakeServer::builder().on(|_| Answer::Silence).start().expect("a server");
    let redis = hasty(config(server.port()).liveness(None)).start_on_own_thread().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let waiting = Arc::new(AtomicUsize::new(MESSAGES));
    let addr = redis.addr().clone();
    for _ in 0..MESSAGES {
        addr.do_send(Counted(waiting.clone()));
    }
    // Not by the clock: it is answered while messages that were sent before it are still in the mailbox.
    let error = redis.send(Incr::new("k").timeout(ms(1))).await.expect_err("late");
    assert!(waiting.load(Ordering::SeqCst) > 0, "behind {MESSAGES} messages");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, redis_actix::Fate::NotSent), "{error}");
}
