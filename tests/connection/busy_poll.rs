//! Busy polling, where it is switched on: a reply that comes soon is polled for, one that does not come is not.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::support::{TIME_LIMIT, alone, config, hasty, server};
use redis_actix::ErrorKind;
use redis_actix::prelude::*;
use redis_actix_test::{Answer, FakeServer};
use tokio::runtime::Handle;

const ASKED: u64 = 1_000;

// Each test runs in a process of its own, because it needs a core for itself and one for the server.

/// The maximum busy poll of these tests.
const POLL: Duration = Duration::from_micros(100);

/// The number of sleeps of this thread until `asking` has ended.
async fn sleeps_during<R>(asking: impl Future<Output = R>) -> u64 {
    let slept = || Handle::current().metrics().worker_park_count(0);
    let before = slept();
    asking.await;
    slept() - before
}

async fn ask(redis: &Redis, times: u64) {
    for _ in 0..times {
        redis.send(Get::<Option<String>>::new("k")).await.expect("answered");
    }
}

async fn sleeps(redis: &Redis) -> u64 {
    sleeps_during(ask(redis, ASKED)).await
}

/// The most sleeps of a round, of those up to the first that has `enough`: a machine that is busy with other things may hide
/// them.
async fn most_sleeps(enough: u64, mut round: impl AsyncFnMut() -> u64) -> u64 {
    let mut most = 0;
    for _ in 0..30 {
        most = most.max(round().await);
        if most >= enough {
            break;
        }
    }
    most
}

/// A connection whose replies are busy-polled; `None` where polling leaves no core to the server.
async fn polling(port: u16) -> Option<Redis> {
    if available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        println!("one core: the server does not run while this thread polls");
        return None;
    }
    let redis = hasty(config(port).busy_poll(POLL)).start().expect("started");
    // A machine that is busy with other things may be slow for some rounds.
    let deadline = Instant::now() + TIME_LIMIT;
    while sleeps_during(ask(&redis, 100)).await > 50 {
        assert!(Instant::now() < deadline, "never busy-polled");
    }
    Some(redis)
}

/// Ablation: without polling again the thread sleeps for each reply, in every round.
#[actix::test]
async fn replies_that_come_soon_are_busy_polled() {
    if alone("busy_poll::replies_that_come_soon_are_busy_polled") {
        let server = server();
        polling(server.port()).await;
    }
}

#[actix::test]
async fn the_thread_sleeps_for_each_reply_by_default() {
    if !alone("busy_poll::the_thread_sleeps_for_each_reply_by_default") {
        return;
    }
    let server = server();
    if polling(server.port()).await.is_some() {
        let redis = hasty(config(server.port())).start().expect("started");
        assert!(sleeps(&redis).await >= ASKED);
    }
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("linux");
    Duration::from_nanos(times.split(' ').next().and_then(|on_core| on_core.parse().ok()).expect("a number"))
}

/// Ablation: without a limit the thread polls for as long as the command waits.
#[actix::test]
async fn a_silent_server_is_not_polled_for_long() {
    const SILENCE: Duration = Duration::from_millis(400);
    if !alone("busy_poll::a_silent_server_is_not_polled_for_long") {
        return;
    }
    let server = server();
    let Some(redis) = polling(server.port()).await else { return };
    server.stop_process().expect("frozen");
    let before = processor_time();
    let late = redis.send(Get::<String>::new("k").timeout(SILENCE)).await.expect_err("frozen");
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let spent = processor_time() - before;
    assert!(spent < SILENCE / 20, "{spent:?} of {SILENCE:?} spent");
    server.cont_process().expect("thawed");
}

/// Ablation: with callers of another thread taken for callers of this one, it sleeps once per command only.
#[actix::test]
async fn replies_to_another_thread_are_not_polled() {
    const TAKES: Duration = Duration::from_micros(50);
    if !alone("busy_poll::replies_to_another_thread_are_not_polled") {
        return;
    }
    let busy = |argv: &[Vec<u8>]| {
        if argv[0] != b"GET" {
            return Answer::Default;
        }
        let asked = Instant::now();
        while asked.elapsed() < TAKES {
            std::hint::spin_loop();
        }
        Answer::raw("$-1\r\n")
    };
    let server = FakeServer::builder().on(busy).start().expect("started");
    let redis = hasty(config(server.port()).busy_poll(POLL)).start().expect("started");
    let most = most_sleeps(ASKED * 7 / 5, async || {
        let (done, finished) = tokio::sync::oneshot::channel();
        let redis = redis.clone();
        let asking = std::thread::spawn(move || {
            actix::System::new().block_on(ask(&redis, ASKED));
            let _ = done.send(());
        });
        let sleeps = sleeps_during(finished).await;
        asking.join().expect("asked");
        sleeps
    })
    .await;
    assert!(most >= ASKED * 7 / 5, "{most} sleeps for {ASKED} questions and as many answers");
}
