//! What an error proves about the command that it answers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate, Frame};
use redis_actix_test::{Answer, FakeServer, RedisServer};

use crate::support::{self, Own, TIME_LIMIT, config, hasty, ms};

static COUNTS_AND_ANSWERS: Script<i64> = Script::new("redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])");

/// Each code that this crate acts on, in the words of a script.
const ANSWERS: [&str; 12] = [
    "BUSY the lock is taken",
    "LOADING x",
    "TRYAGAIN later",
    "CLUSTERDOWN x",
    "MASTERDOWN x",
    "NOSCRIPT x",
    "MOVED out of town",
    "ASK another node",
    "READONLY account is frozen",
    "NOAUTH who are you",
    "WRONGTYPE x",
    "ERR x",
];

/// Ablation: with codes as proofs in `core::verdict` the first script fails with "the server was not ready", `NotSent`.
#[actix::test]
async fn a_script_that_answers_with_a_code_of_the_server_runs_once_and_cuts_no_link() {
    let server = support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let mut runs = 0;
    for answer in ANSWERS {
        let invoke = || COUNTS_AND_ANSWERS.invoke().key("k").arg(answer);
        let alone = [
            redis.send(invoke()).await.expect_err("an error"),
            redis.send(by_hand(answer)).await.expect_err("an error"),
        ];
        for error in alone {
            assert_eq!((error.code(), error.fate()), (answer.split(' ').next(), Fate::Unknown), "{error}");
        }
        let atomic = redis.send(Transaction::new((invoke(), Ping::new()))).await.expect_err("an error");
        let (first, second) = redis.send(Pipeline::new((invoke(), invoke())).try_each()).await.expect("answered");
        for error in [atomic, first.expect_err("an error"), second.expect_err("an error")] {
            assert_eq!((error.code(), error.fate()), (answer.split(' ').next(), Fate::Unknown), "{error}");
        }
        runs += 5;
        let counted: Option<i64> = redis.send(Get::new("k")).await.expect("read");
        assert_eq!(counted, Some(runs), "after {answer}");
    }
    let status = redis.status().borrow().clone();
    assert_eq!((status.disconnects, status.generation), (0, 1));
}

/// The same script, built by hand.
fn by_hand(answer: &str) -> Own {
    let source = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";
    Own(Frame::new("EVAL").arg(source).arg(1).key("k").arg(answer))
}

/// Ablation: with every error of a script as a refusal the first fate is `Rejected`.
#[actix::test]
async fn a_script_that_fails_half_way_may_have_run() {
    let server = support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Set::new("word", "x")).await.expect("set");
    let eval = |source: &str| Own(Frame::new("EVAL").arg(source).arg(2).key("k").key("word"));
    let half = redis.send(eval("redis.call('INCR', KEYS[1]) return redis.call('LPUSH', KEYS[2], 1)")).await;
    let half = half.expect_err("a wrong type");
    assert_eq!((half.code(), half.fate()), (Some("WRONGTYPE"), Fate::Unknown), "{half}");
    let counted: Option<i64> = redis.send(Get::new("k")).await.expect("read");
    assert_eq!(counted, Some(1));
    for (not_started, code) in [
        (eval("this is no script"), "ERR"),
        (Own(Frame::new("EVALSHA").arg("0".repeat(40)).arg(1).key("k")), "NOSCRIPT"),
    ] {
        let error = redis.send(not_started).await.expect_err("not started");
        assert_eq!((error.code(), error.fate()), (Some(code), Fate::Rejected), "{error}");
    }
    let plain = redis.send(Incr::new("word")).await.expect_err("a word");
    assert_eq!(plain.fate(), Fate::Rejected, "{plain}");
    if server.version() >= (7, 0, 0) {
        let library = "#!lua name=half\nredis.register_function('half', function(keys) redis.call('INCR', keys[1]) return redis.error_reply('BUSY x') end)";
        redis.send(FunctionLoad::new(library).replace()).await.expect("loaded");
        let error = redis.send(FCall::<i64>::new("half").key("k")).await.expect_err("an error");
        assert_eq!((error.code(), error.fate()), (Some("BUSY"), Fate::Unknown), "{error}");
        let counted: Option<i64> = redis.send(Get::new("k")).await.expect("read");
        assert_eq!(counted, Some(2));
        let missing = redis.send(FCall::<i64>::new("missing").key("k")).await.expect_err("no function");
        assert_eq!(missing.fate(), Fate::Rejected, "{missing}");
    }
}

/// A real server's own refusals are waited out for scripts as well.
#[actix::test]
async fn a_script_waits_for_a_server_that_is_busy() {
    let server = RedisServer::builder().arg("--busy-reply-threshold", "50").start().expect("a server");
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    support::keep_busy(&server).await;
    let waits = redis.send(COUNTS_AND_ANSWERS.invoke().key("k").arg("DONE x"));
    let late = redis.send(COUNTS_AND_ANSWERS.invoke().key("k").arg("DONE x").timeout(ms(250))).await;
    let late = late.expect_err("busy beyond its deadline");
    assert_eq!((late.kind(), late.fate()), (ErrorKind::Timeout, Fate::NotSent), "{late}");
    server.command(["SCRIPT", "KILL"]).expect("killed").ok().expect("killed");
    assert_eq!(waits.await.expect_err("its own error").code(), Some("DONE"));
    let counted: Option<i64> = redis.send(Get::new("k")).await.expect("read");
    assert_eq!(counted, Some(1));
}

/// What the second link says, after an idempotent SET was lost with the first one.
const SECOND_LINK: [&str; 6] = [
    "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "-READONLY You can't write against a read only replica.\r\n",
    "-LOADING Redis is loading the dataset in memory\r\n",
    "-NOPERM User x has no permissions to run the 'set' command\r\n",
    "-MOVED 1 127.0.0.1:1\r\n",
    "",
];

/// Ablation: without `note_may_have_run` in `settle` the first answer is `Rejected`, and that to LOADING `NotSent`.
#[actix::test]
async fn an_idempotent_write_that_may_have_run_is_unknown_whatever_the_next_link_says() {
    for answer in SECOND_LINK {
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = asked.clone();
        let server = FakeServer::builder()
            .on(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::Close,
                1 if answer.is_empty() => Answer::Silence,
                1 => Answer::raw(answer),
                // LOADING, and then silence, or another command runs.
                _ => Answer::Silence,
            })
            .start()
            .expect("a server");
        let redis = hasty(config(server.port())).start().expect("started");
        let error = redis.send(Set::new("k", 1).idempotent().timeout(ms(700))).await.expect_err("no answer");
        assert_eq!(error.fate(), Fate::Unknown, "{answer:?}: {error}");
        assert!(asked.load(Ordering::SeqCst) >= 2, "{answer:?}: it was sent again");
    }
}

/// As above: after LOADING the next command runs, and the write is answered with LOADING for the sake of the order.
#[actix::test]
async fn a_refused_write_that_may_have_run_is_unknown_when_a_later_one_runs() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let server = FakeServer::builder()
        .on(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::Close,
            1 => Answer::raw("-LOADING Redis is loading the dataset in memory\r\n"),
            _ => Answer::raw("$1\r\nv\r\n"),
        })
        .start()
        .expect("a server");
    let redis = hasty(config(server.port())).start().expect("started");
    let (write, read) =
        (redis.send(Set::new("k", 1).idempotent()), redis.send(Get::<String>::new("k").timeout(ms(2_000))));
    let error = write.await.expect_err("refused");
    assert_eq!((error.code(), error.fate()), (Some("LOADING"), Fate::Unknown), "{error}");
    let _ = read.await;
}

/// Ablation: with an idempotent unit excused, as it was, both are `Rejected` although SET ran.
#[actix::test]
async fn an_idempotent_unit_of_which_something_ran_is_unknown() {
    let server = support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Set::new("word", "x")).await.expect("set");
    let commands = || (Set::new("k", 1), Incr::new("word"));
    let errors = [
        redis.send(Pipeline::new(commands()).idempotent()).await.expect_err("a word"),
        redis.send(Transaction::new(commands()).idempotent()).await.expect_err("a word"),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Server, Fate::Unknown), "{error}");
    }
    let reads = Pipeline::new((Get::<String>::new("k"), Get::<i64>::new("k").idempotent()));
    redis.send(reads).await.expect("both are read");
}

/// A read that may have run has done nothing: an error is its answer.
#[actix::test]
async fn a_read_that_is_answered_with_an_error_on_its_second_link_is_rejected() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = FakeServer::builder()
        .on(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::Close,
            _ => Answer::raw("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        })
        .start()
        .expect("a server");
    let redis = hasty(config(server.port())).start().expect("started");
    let error = redis.send(Get::<String>::new("k")).await.expect_err("a list");
    assert_eq!((error.code(), error.fate()), (Some("WRONGTYPE"), Fate::Rejected), "{error}");
}
