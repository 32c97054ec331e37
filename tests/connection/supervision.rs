//! The actor under its guardian: one address through panics, and a visible end.

use std::time::{Duration, Instant};

use crate::support::{TIME_LIMIT, config, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, RestartLimit};

/// Ablation: under `actix::Supervisor` instead of the guardian the address stays closed for good.
#[actix::test]
async fn the_same_address_answers_again_within_a_second_of_a_panic() {
    crate::support::injected_panics_are_quiet();
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let addr = redis.addr().clone();
    assert_eq!(addr.send(Incr::new("k")).await.expect("alive").expect("counted"), 1);
    for nth in 0..2 {
        crate::support::fall_over(&redis, Get::<i64>::new("k")).await.expect("answered, and fatal");
        let fell = Instant::now();
        let count = addr.send(Incr::new("k")).await.expect("the same address").expect("a new link");
        assert!(fell.elapsed() < Duration::from_secs(1), "{:?}", fell.elapsed());
        assert_eq!(count, nth + 2);
    }
    let status = redis.status().borrow().clone();
    assert_eq!((status.restarts, status.state), (2, ConnectionState::Ready));
}

#[actix::test]
async fn a_panic_of_one_command_settles_the_others_by_the_delivery_contract() {
    crate::support::injected_panics_are_quiet();
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let reads: Vec<_> = (0..100).map(|_| redis.send(Get::<String>::new("k"))).collect();
    let more = async {
        let more: Vec<_> = (0..100).map(|_| redis.send(Get::<String>::new("k"))).collect();
        for read in reads.into_iter().chain(more) {
            assert_eq!(read.await.expect("reads are sent again"), None);
        }
    };
    let (fatal, ()) = tokio::join!(crate::support::fall_over(&redis, Get::<String>::new("k")), more);
    assert_eq!(fatal.expect("answered, and fatal"), None);
    crate::support::until(&redis, "restarted", |status| status.restarts == 1).await;
}

#[actix::test]
async fn an_actor_that_falls_over_and_over_ends_visibly() {
    crate::support::injected_panics_are_quiet();
    let server = crate::support::server();
    let redis = hasty(config(server.port()))
        .restarts(RestartLimit::new(3, Duration::from_secs(60)).pause(ms(1)))
        .start()
        .expect("started");
    for _ in 0..4 {
        crate::support::fall_over(&redis, Get::<i64>::new("k")).await.expect("answered, and fatal");
    }
    let mut status = redis.status();
    let closed = status.wait_for(|status| status.state == ConnectionState::Closed);
    let status = tokio::time::timeout(TIME_LIMIT, closed).await.expect("in time").expect("received").clone();
    assert_eq!(status.restarts, 3);
    assert!(status.cause.expect("a cause").to_string().contains("injected in a log"));
    let error = redis.send(Incr::new("k")).await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[actix::test]
async fn the_actor_and_its_link_end_with_the_last_handle() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let mut status = redis.status();
    drop(redis);
    let closed = status.wait_for(|status| status.state == ConnectionState::Closed);
    tokio::time::timeout(TIME_LIMIT, closed).await.expect("in time").expect("received");
    crate::support::eventually("no client left", || server.clients().expect("listed").is_empty().then_some(())).await;
}

#[actix::test]
async fn a_given_arbiter_runs_the_actor_and_takes_it_along_when_it_ends() {
    let server = crate::support::server();
    let arbiter = actix::Arbiter::new();
    let redis = hasty(config(server.port())).arbiter(arbiter.handle()).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    arbiter.stop();
    arbiter.join().expect("ended");
    let error = redis.send(Incr::new("k")).await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(redis.status().borrow().state, ConnectionState::Closed);
    assert!(hasty(config(server.port())).arbiter(actix::Arbiter::new().handle()).start().is_ok());
}

#[test]
fn plain_tokio_uses_a_thread_of_its_own() {
    let server = crate::support::server();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    runtime.block_on(async {
        let error = hasty(config(server.port())).start().expect_err("there is no arbiter here");
        assert!(error.to_string().contains("start_on_own_thread"), "{error}");
        let redis = hasty(config(server.port())).start_on_own_thread().expect("started");
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let redis = redis.clone();
                tokio::spawn(async move { redis.send(Incr::new("k")).await.expect("counted") })
            })
            .collect();
        let mut counts = Vec::new();
        for task in tasks {
            counts.push(task.await.expect("no panic"));
        }
        counts.sort_unstable();
        assert_eq!(counts, (1..=64).collect::<Vec<i64>>());
        let report = redis.shutdown(Duration::from_secs(1)).await.expect("a report");
        assert_eq!((report.failed, report.unknown), (0, 0));
    });
}

/// Panics when it is restarted for the first time.
struct Clumsy(u32);

impl actix::Actor for Clumsy {
    type Context = actix::Context<Self>;
}

impl actix::Supervised for Clumsy {
    fn restarting(&mut self, _: &mut actix::Context<Self>) {
        self.0 += 1;
        assert!(self.0 > 1, "injected while it is restarted");
    }
}

#[derive(actix::Message)]
#[rtype(result = "u32")]
struct Restarts {
    panics: bool,
}

impl actix::Handler<Restarts> for Clumsy {
    type Result = u32;

    fn handle(&mut self, message: Restarts, _: &mut actix::Context<Self>) -> u32 {
        assert!(!message.panics, "injected in a handler");
        self.0
    }
}

/// Ablation: with `restart` outside of `catch_unwind` fails with "the same address: Closed".
#[actix::test]
async fn a_panic_while_an_actor_is_restarted_counts_as_a_failure_and_is_retried() {
    crate::support::injected_panics_are_quiet();
    let addr = redis_actix::supervise(Clumsy(0), RestartLimit::new(3, TIME_LIMIT).pause(ms(1)));
    addr.send(Restarts { panics: true }).await.expect_err("no reply");
    let restarts = tokio::time::timeout(TIME_LIMIT, addr.send(Restarts { panics: false })).await.expect("in time");
    assert_eq!(restarts.expect("the same address"), 2);
}
