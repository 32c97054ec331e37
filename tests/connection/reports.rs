//! Public bug reports of other clients, tried with this one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, ReconnectPolicy};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, config, eventually, hasty, ms, until, until_state};

fn is(argv: &[Vec<u8>], name: &str) -> bool {
    argv.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// ioredis #2193 and #2197: commands in flight when the link was lost stayed pending if no other link became ready.
#[actix::test]
async fn commands_in_flight_are_answered_when_no_later_link_becomes_ready() {
    for gives_up in [true, false] {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let answer = move |argv: &[Vec<u8>]| match over.load(Ordering::SeqCst) {
            true => Answer::Close,
            false if is(argv, "GET") => Answer::Silence,
            false => Answer::Default,
        };
        let server = FakeServer::builder().own_handshake().on(answer).start().expect("a server");
        let config = config(server.port()).command_timeout(TIME_LIMIT * 10).build().expect("valid");
        let policy = ReconnectPolicy::exponential(ms(1)..=ms(2));
        let policy = if gives_up { policy.give_up_after(3) } else { policy };
        let redis = Redis::builder(config).reconnect(policy).start().expect("started");
        redis.ready(TIME_LIMIT).await.expect("ready");
        let read = redis.send(Get::<String>::new("k"));
        server.command_named("GET", TIME_LIMIT).await.expect("written");
        is_over.store(true, Ordering::SeqCst);
        server.close_all();
        if gives_up {
            until_state(&redis, ConnectionState::Closed).await;
        } else {
            until(&redis, "tried again", |status| status.attempt > 2).await;
            redis.shutdown(ms(1)).await.expect("a report");
        }
        let error = tokio::time::timeout(TIME_LIMIT, read).await.expect("answered").expect_err("no server");
        assert_eq!(error.fate(), Fate::Unknown, "{error}");
    }
}

/// redis-rs #1035: a server that hangs up in the middle of the login made all later commands panic.
#[actix::test]
async fn a_server_that_hangs_up_during_the_login_costs_an_attempt_only() {
    let logins = Arc::new(AtomicUsize::new(0));
    let counted = logins.clone();
    // With AUTH after a HELLO that the server seems not to know.
    let is_login = |argv: &[Vec<u8>]| is(argv, "HELLO") || is(argv, "AUTH");
    let answer = move |argv: &[Vec<u8>]| match is_login(argv) && counted.fetch_add(1, Ordering::SeqCst) < 3 {
        true => Answer::Close,
        false if is(argv, "GET") => Answer::raw("$-1\r\n"),
        false => Answer::Default,
    };
    let server = FakeServer::builder().own_handshake().on(answer).start().expect("a server");
    let redis = hasty(config(server.port()).password("secret").command_timeout(TIME_LIMIT)).start().expect("started");
    assert_eq!(redis.send(Get::<String>::new("k")).await.expect("behind the login"), None);
    assert_eq!((redis.stats().restarts, logins.load(Ordering::SeqCst) >= 3), (0, true));
}

/// lettuce #691: after a full queue and a lost link, commands were sent in front of the login.
#[actix::test]
async fn a_full_queue_does_not_overtake_the_login_of_the_next_link() {
    let is_silent = Arc::new(AtomicBool::new(true));
    let silent = is_silent.clone();
    let answer = move |argv: &[Vec<u8>]| match is(argv, "GET") {
        true if silent.load(Ordering::SeqCst) => Answer::Silence,
        true => Answer::raw("$-1\r\n"),
        false => Answer::Default,
    };
    let server = FakeServer::builder().own_handshake().on(answer).start().expect("a server");
    let limits = config(server.port()).password("secret").max_in_flight(4).max_queued(4).command_timeout(TIME_LIMIT);
    let redis = hasty(limits).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let reads: Vec<_> = (0..50).map(|_| redis.send(Get::<String>::new("k"))).collect();
    server.command_named("GET", TIME_LIMIT).await.expect("written");
    is_silent.store(false, Ordering::SeqCst);
    server.close_all();
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read.expect("sent again"), None);
    }
    assert!(server.connections() >= 2);
    for connection in 0..server.connections() {
        let first = server.received_on(connection).first().cloned().expect("a handshake");
        assert!(is(&first, "HELLO") && first.contains(&b"AUTH".to_vec()), "{first:?}");
    }
}

/// redis-rs #1442: the timeout of replies was applied to the dial as well, so no slow handshake succeeded.
#[actix::test]
async fn a_handshake_that_is_slower_than_commands_may_be_succeeds() {
    let asked = Arc::new(AtomicBool::new(false));
    let on_hello = asked.clone();
    let answer = move |argv: &[Vec<u8>]| match is(argv, "HELLO") {
        true => {
            on_hello.store(true, Ordering::SeqCst);
            Answer::Silence
        }
        false => Answer::Default,
    };
    let server = FakeServer::builder().own_handshake().on(answer).start().expect("a server");
    let redis =
        hasty(config(server.port()).command_timeout(ms(20)).connect_timeout(TIME_LIMIT)).start().expect("started");
    let error = redis.send(Get::<String>::new("k")).await.expect_err("during the handshake");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent), "{error}");
    eventually("the handshake", || asked.load(Ordering::SeqCst).then_some(())).await;
    server.send(b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n");
    redis.ready(TIME_LIMIT).await.expect("the same dial");
    assert_eq!(server.connections(), 1);
}

/// ioredis #1247: a client that was disconnected between two attempts kept its process alive.
#[test]
fn a_shutdown_between_two_attempts_ends_the_thread() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
    let config = config(port).build().expect("valid");
    let policy = ReconnectPolicy::exponential(TIME_LIMIT * 100..=TIME_LIMIT * 100);
    let redis = Redis::builder(config).reconnect(policy).start_on_own_thread().expect("started");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    runtime.block_on(async {
        let waiting = redis.send(Get::<String>::new("k"));
        until_state(&redis, ConnectionState::Backoff).await;
        redis.shutdown(ms(1)).await.expect("a report");
        assert_eq!(waiting.await.expect_err("no server").fate(), Fate::NotSent);
        // Twice, as in fred #327.
        tokio::time::timeout(TIME_LIMIT, redis.shutdown(TIME_LIMIT)).await.expect("at once").expect("the same report");
        drop(redis);
    });
}
