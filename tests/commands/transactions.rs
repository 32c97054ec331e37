//! All or none, and what a broken link leaves of it.

use crate::support::{TIME_LIMIT, config, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate};
use redis_actix_test::{Direction, Proxy, RedisServer};

fn text(server: &RedisServer, key: &str) -> Option<String> {
    let reply = server.command(["GET", key]).expect("answered");
    if reply.is_nil() { None } else { Some(reply.text().expect("text")) }
}

#[actix::test]
async fn replies_are_typed_and_failures_apart() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (_, left) = redis.send(Transaction::new((Set::new("k", 1), Incr::new("k")))).await.expect("both");
    assert_eq!(left, 2);
    let all: Vec<i64> = redis.send(Transaction::new(vec![Incr::new("k"); 3])).await.expect("all");
    assert_eq!(all, [3, 4, 5]);

    let failing = || Transaction::new((Incr::new("k"), LPush::new("k", ["x"]), Get::<i64>::new("k")));
    let (count, pushed, value) = redis.send(failing().try_each()).await.expect("ran");
    assert_eq!((count.expect("counted"), value.expect("read")), (6, Some(6)));
    let error = pushed.expect_err("no list");
    assert_eq!((error.code(), error.command(), error.fate()), (Some("WRONGTYPE"), Some("LPUSH"), Fate::Rejected));
    let error = redis.send(failing()).await.expect_err("one failed");
    assert_eq!((error.command(), error.fate()), (Some("LPUSH"), Fate::Unknown), "the INCR ran");
    assert_eq!(text(&server, "test:k").as_deref(), Some("7"));
}

#[actix::test]
async fn a_command_refused_in_the_queue_is_named_and_nothing_runs() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    for (wrong, name) in [(Raw::<()>::new("NOSUCH").key("k"), "NOSUCH"), (Raw::new("BF.ADD").key("k").arg(1), "BF.ADD")]
    {
        let transaction = Transaction::new((Incr::new("k"), wrong, Incr::new("k")));
        let error = redis.send(transaction.clone()).await.expect_err("refused");
        assert_eq!((error.kind(), error.fate(), error.command()), (ErrorKind::Server, Fate::Rejected, Some(name)));
        let error = redis.send(transaction.try_each()).await.expect_err("nothing ran");
        assert_eq!(error.command(), Some(name));
    }
    assert_eq!(text(&server, "test:k"), None);
    let error = redis.send(Transaction::new(Vec::<Incr>::new())).await.expect_err("empty");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
}

#[actix::test]
async fn no_command_of_others_runs_in_between() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let other = hasty(config(server.port())).start().expect("started");
    let mut answers = Vec::new();
    for _ in 0..200 {
        answers.push(redis.send(Transaction::new((Incr::new("k"), Incr::new("k")))));
        drop((redis.send(Incr::new("k")), other.send(Incr::new("k"))));
    }
    for answer in answers {
        let (first, second) = answer.await.expect("both");
        assert_eq!(second, first + 1);
    }
}

/// The fate says what can be known: with the last byte handed to the socket the transaction may have run.
#[actix::test]
async fn a_link_that_dies_between_multi_and_exec_leaves_the_fate_open() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("started");
    let redis = hasty(config(proxy.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.cut_after(Direction::ToServer, 40);
    let error = redis.send(Transaction::new((Incr::new("k"), Incr::new("k")))).await.expect_err("cut");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::Unknown), "{error}");
    assert_eq!(error.command(), Some("transaction"));
    assert_eq!(text(&server, "test:k"), None, "no EXEC, nothing ran");
    proxy.pass();
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
}

/// Ablation: with the rule of pipelines, of which any byte may have run, this is `Unknown`.
#[actix::test]
async fn a_transaction_whose_exec_never_left_is_sent_again() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("started");
    let redis = hasty(config(proxy.port()).command_timeout(TIME_LIMIT)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.hold();
    let large = "x".repeat(48 * 1024 * 1024);
    let answer = redis.send(Transaction::new((Incr::new("k"), Set::new("large", large), Incr::new("k"))));
    // The actor shares this thread: after a few of its turns the socket has taken what it takes.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    proxy.reset_all();
    proxy.pass();
    assert_eq!(answer.await.expect("sent again"), (1, true, 2));
    assert_eq!(text(&server, "test:k").as_deref(), Some("2"), "once");
}

#[actix::test]
async fn its_deadline_is_that_of_the_whole() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    server.stop_process().expect("frozen");
    let error = redis.send(Transaction::new((Incr::new("k"),)).timeout(ms(50))).await.expect_err("frozen");
    server.cont_process().expect("goes on");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 2, "it had run");
}
