//! An answer that comes soon is looked for without sleeping, one that does not come is not, and who says so sleeps always.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use redis_actix::ErrorKind;
use redis_actix::prelude::*;
use support::{PATIENCE, alone, config, hasty, server};
use tokio::runtime::Handle;

const ASKED: u64 = 100;

// Each test runs in a process of its own: threads that might look are counted per process, and on two cores those of two
// tests would keep each other from it.

/// How often this thread went to sleep while one caller asked so many times.
async fn sleeps(redis: &Redis) -> u64 {
    let slept = || Handle::current().metrics().worker_park_count(0);
    let before = slept();
    for _ in 0..ASKED {
        redis.send(Get::<String>::new("k")).await.expect("answered");
    }
    slept() - before
}

/// Ablation: without looking again each of the answers is slept for, and no round is ever one of these.
#[actix::test]
async fn answers_that_come_soon_are_not_slept_for() {
    if !alone("answers_that_come_soon_are_not_slept_for") {
        return;
    }
    if available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        println!("one core: there is nothing to look for while the server does not run");
        return;
    }
    let server = server();
    let redis = hasty(config(server.port())).start().expect("started");
    // A machine that is busy with other things may be slow for some rounds.
    let deadline = Instant::now() + PATIENCE;
    while sleeps(&redis).await > ASKED / 2 {
        assert!(Instant::now() < deadline, "never looked for");
    }
}

#[actix::test]
async fn who_says_so_sleeps_for_each() {
    if !alone("who_says_so_sleeps_for_each") {
        return;
    }
    let server = server();
    let redis = hasty(config(server.port()).busy_poll(false)).start().expect("started");
    assert!(sleeps(&redis).await >= ASKED);
}

/// Ablation: with no end to it the thread looks for as long as the command waits.
#[actix::test]
async fn a_server_that_is_silent_is_not_looked_for() {
    const SILENCE: Duration = Duration::from_millis(400);
    if !alone("a_server_that_is_silent_is_not_looked_for") {
        return;
    }
    let server = server();
    let redis = hasty(config(server.port())).start().expect("started");
    sleeps(&redis).await;
    server.stop_process().expect("frozen");
    let busy = || Handle::current().metrics().worker_total_busy_duration(0);
    let before = busy();
    let late = redis.send(Get::<String>::new("k").timeout(SILENCE)).await.expect_err("frozen");
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let busy = busy() - before;
    assert!(busy < SILENCE / 4, "busy for {busy:?} of {SILENCE:?}");
    server.cont_process().expect("thawed");
}
