//! Whether a command that waits may have run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redis_actix::ConnectionEvent;
use redis_actix::prelude::*;
use redis_actix_test::{Answer, FakeServer, Proxy};

use crate::support::{Diary, TIME_LIMIT, config, hasty, ms};
use crate::waiting;

/// Issue 16, row 9: the first attempt may have taken an element, and no second one reaches the server.
///
/// Ablation: without the note of the first attempt it fails with `left: NotSent, right: Unknown`.
#[actix::test]
async fn an_idempotent_pop_whose_link_was_lost_may_have_run() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("started");
    let redis = hasty(config(proxy.port())).start().expect("started");
    let pop = redis.send(BLPop::new(["l"], TIME_LIMIT).idempotent().timeout(ms(1_500)));
    waiting(&server, 1).await;
    proxy.refuse();
    proxy.reset_all();
    let error = pop.await.expect_err("no answer");
    assert_eq!(error.fate(), Fate::Unknown, "{error}");
}

/// The second attempt is answered, and what the first one took is reported.
///
/// Ablation: without the report it fails with `never saw the report`.
#[actix::test]
async fn an_element_that_an_earlier_attempt_may_have_taken_is_reported() {
    let attempts = Arc::new(AtomicBool::new(false));
    let server = FakeServer::builder()
        .on(move |argv| match argv.first().map(Vec::as_slice) {
            Some(b"BLPOP") if !attempts.swap(true, Ordering::SeqCst) => Answer::Close,
            Some(b"BLPOP") => Answer::raw("*2\r\n$6\r\ntest:l\r\n$1\r\ny\r\n"),
            _ => Answer::raw("+OK\r\n"),
        })
        .start()
        .expect("started");
    let (builder, diary) = Diary::of(hasty(config(server.port())));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let popped = redis.send(BLPop::new(["l"], TIME_LIMIT).typed::<String>().idempotent()).await.expect("answered");
    assert_eq!(popped.expect("an element").value, "y");
    diary.entry("the report", |event| matches!(event, ConnectionEvent::MayBeLost { .. })).await;
}
