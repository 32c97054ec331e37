//! Futures that are polled once and then kept: no other caller notices.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::poll;
use redis_actix::prelude::*;
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, config};

/// Ablation: with the first waiter holding a lock over the whole wait (the gate of before) all others fail as overloaded.
#[actix::test]
async fn a_send_that_is_not_polled_does_not_block_others() {
    let answering = Arc::new(AtomicBool::new(false));
    let held = answering.clone();
    let answer = move |argv: &[Vec<u8>]| match argv[0].as_slice() {
        b"GET" if held.load(Ordering::SeqCst) => Answer::raw("$-1\r\n"),
        b"GET" => Answer::Silence,
        b"EXISTS" => Answer::raw(":1\r\n"),
        _ => Answer::Default,
    };
    let server = FakeServer::builder().on(answer).start().unwrap();
    let config = config(server.port()).max_in_flight(1).max_queued(1).command_timeout(TIME_LIMIT).build().unwrap();
    let redis = Redis::builder(config).start().unwrap();
    redis.ready(TIME_LIMIT).await.unwrap();

    // One in flight and one that waits for the link: there is no room for a third.
    let in_flight = redis.send(Get::<String>::new("a"));
    let queued = redis.send(Exists::new(["b"]));
    let mut kept: Vec<_> = (0..10).map(|_| Box::pin(redis.send(Get::<String>::new("kept")))).collect();
    for kept in &mut kept {
        assert!(poll!(kept.as_mut()).is_pending());
    }
    let mut polled = pin!(redis.send(Get::<String>::new("polled")));
    assert!(poll!(polled.as_mut()).is_pending());

    server.command_named("GET", TIME_LIMIT).await.unwrap();
    answering.store(true, Ordering::SeqCst);
    server.send(b"$-1\r\n");
    in_flight.await.unwrap();
    queued.await.unwrap();
    tokio::time::timeout(TIME_LIMIT, polled).await.expect("not overloaded").expect("answered");
    for _ in 0..20 {
        redis.send(Get::<String>::new("later")).await.unwrap();
    }
    drop(kept);
}
