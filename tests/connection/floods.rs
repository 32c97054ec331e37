//! More than a connection can do, for as long as somebody likes.

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

use crate::support::{PATIENCE, config, hasty, ms};

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

/// Ablation: without `RedisActor::count` the deadline is never seen: the mailbox is never empty.
#[actix::test]
async fn deadlines_are_met_while_several_threads_flood_the_mailbox() {
    let server = FakeServer::builder().on(|_| Answer::Silence).start().expect("a server");
    let redis = hasty(config(server.port()).liveness(None)).start_on_own_thread().expect("started");
    redis.ready(PATIENCE).await.expect("ready");
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let (addr, stop, waiting) = (redis.addr().clone(), stop.clone(), Arc::new(AtomicUsize::new(0)));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // Enough that the mailbox is never empty, not more than memory holds.
                    if waiting.load(Ordering::SeqCst) < 20_000 {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        addr.do_send(Counted(waiting.clone()));
                    } else {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut outcome = None;
    for _ in 0..3 {
        let call = redis.addr().send(Incr::new("k").timeout(ms(100)));
        outcome = tokio::time::timeout(PATIENCE / 2, call).await.ok();
    }
    stop.store(true, Ordering::SeqCst);
    floods.into_iter().for_each(|flood| flood.join().expect("no panic"));
    let error = outcome.expect("the deadline was never seen").expect("the actor is there").expect_err("no answer");
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Overloaded), "{error}");
}

/// Ablation: with a plain wake-up after a full turn, and the timer as the only clock, the deadline is seen after the flood.
#[actix::test]
async fn deadlines_are_met_while_the_server_floods_the_link_with_pushes() {
    let server = FakeServer::builder().on(|_| Answer::Silence).start().expect("a server");
    let redis = hasty(config(server.port()).liveness(None)).start_on_own_thread().expect("started");
    redis.ready(PATIENCE).await.expect("ready");
    let pushes = b">2\r\n+hello\r\n+x\r\n".repeat(4_000);
    let stop = Arc::new(AtomicBool::new(false));
    let (server, stopped) = (Arc::new(server), stop.clone());
    let flood = thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            server.send(&pushes);
            thread::sleep(ms(1));
        }
    });
    let call = redis.send(Get::<String>::new("k").timeout(ms(200)));
    let outcome = tokio::time::timeout(PATIENCE / 4, call).await;
    stop.store(true, Ordering::SeqCst);
    aside_join(flood).await;
    let error = outcome.expect("the deadline was not seen").expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

async fn aside_join(thread: thread::JoinHandle<()>) {
    crate::support::aside(move || thread.join().expect("no panic")).await;
}
