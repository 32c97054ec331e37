//! Scripts by digest, and servers that forget them.

use std::time::Instant;

use crate::support::{TIME_LIMIT, config, hasty};
use redis_actix::ConnectionState;
use redis_actix::prelude::*;
use redis_actix_test::{Answer, FakeServer, RedisServer};

static CAS: Script<bool> = Script::new(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     redis.call('SET', KEYS[1], ARGV[2])
     return 1",
);
static BUMP: Script<i64> = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1] or 1)");
static LENGTH: Script<Option<u64>> = Script::read_only("return redis.call('STRLEN', KEYS[1])");
static BROKEN: Script<()> = Script::new("return (");

fn bump() -> Invocation<i64> {
    BUMP.invoke().key("k")
}

fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = server.command(["INFO", "commandstats"]).expect("answered").text().expect("text");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()).map_or(0, |n| n.parse().expect("a number"))
}

#[actix::test]
async fn keys_get_the_prefix_and_the_source_goes_out_once() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Set::new("k", "old")).await.expect("set");
    let swapped: bool = redis.send(CAS.invoke().key("k").arg("old").arg("new")).await.expect("ran");
    assert!(swapped);
    assert!(!redis.send(CAS.invoke().key("k").arg("old").arg("new")).await.expect("ran"));
    assert_eq!(server.command(["GET", "test:k"]).expect("answered").text().expect("text"), "new");
    assert_eq!(redis.send(LENGTH.invoke().key("k")).await.expect("ran"), Some(3));
    for n in 1..=50 {
        assert_eq!(redis.send(BUMP.invoke().key("n")).await.expect("ran"), n);
    }
    assert_eq!(redis.send(BUMP.invoke().key("n").arg(50)).await.expect("ran"), 100);
    assert_eq!((calls(&server, "eval"), calls(&server, "eval_ro")), (2, 1), "one for each script");
    assert_eq!((calls(&server, "evalsha"), calls(&server, "evalsha_ro")), (51, 0));
    let through_the_address = redis.addr().send(BUMP.invoke().key("n")).await.expect("alive");
    assert_eq!(through_the_address.expect("ran"), 101);
}

/// Ablation: without the rerun the second call fails with NOSCRIPT; without the source in each unit the
/// pipeline's Get comes before its script.
#[actix::test]
async fn a_flush_between_two_calls_is_not_seen() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let flush = || server.command(["SCRIPT", "FLUSH"]).expect("flushed").ok().expect("ok");
    assert_eq!(redis.send(bump()).await.expect("ran"), 1);
    flush();
    assert_eq!(redis.send(bump()).await.expect("ran"), 2);
    flush();
    let pipeline = Pipeline::new((bump(), Get::<i64>::new("k"), bump(), bump()));
    assert_eq!(redis.send(pipeline).await.expect("ran"), (3, Some(3), 4, 5));
    flush();
    let transaction = Transaction::new((bump(), Get::<i64>::new("k"), bump()));
    assert_eq!(redis.send(transaction).await.expect("ran"), (6, Some(6), 7));
    flush();
    let answers: Vec<_> = (0..20).map(|_| redis.send(bump())).collect();
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.expect("ran"), 8 + n as i64, "in the order of the calls");
    }
}

/// They fit into the window without their source, and only six at a time with it. Ablation: with a turn that ends in their
/// middle, the second half of them is put in front of the rest of the first.
#[actix::test]
async fn a_flush_does_not_change_the_order_of_many() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).max_in_flight_bytes(64 << 10)).start().expect("started");
    let source = format!("return redis.call('INCR', KEYS[1]) --{}", "x".repeat(10_000));
    let long: &Script<i64> = Box::leak(Box::new(Script::new(source.leak())));
    assert_eq!(redis.send(long.invoke().key("k")).await.expect("ran"), 1);
    server.command(["SCRIPT", "FLUSH"]).expect("flushed").ok().expect("ok");
    server.stop_process().expect("frozen");
    let answers: Vec<_> = (0..64).map(|_| redis.send(long.invoke().key("k"))).collect();
    tokio::task::yield_now().await;
    server.cont_process().expect("thawed");
    let deadline = Instant::now() + TIME_LIMIT;
    while calls(&server, "evalsha") < 64 {
        assert!(Instant::now() < deadline, "never saw all of them");
        std::thread::yield_now();
    }
    server.command(["PING"]).expect("what it has answered is written");
    for (nth, answer) in (2..).zip(answers) {
        assert_eq!(answer.await.expect("ran"), nth, "in the order of the calls");
    }
}

/// Ablation: without the rerun two of the replies are NOSCRIPT.
#[actix::test]
async fn a_flush_within_a_pipeline_is_not_seen_either() {
    let mut flushed = 0;
    let server = FakeServer::builder()
        .on(move |argv| match argv.first().map(Vec::as_slice) {
            Some(b"EVAL") => Answer::raw(format!(":{}\r\n", argv[4].len())),
            Some(b"EVALSHA") => {
                flushed += 1;
                if flushed == 2 {
                    Answer::raw(":0\r\n")
                } else {
                    Answer::raw("-NOSCRIPT No matching script. Please use EVAL.\r\n")
                }
            }
            Some(b"GET") => Answer::raw("$1\r\nx\r\n"),
            _ => Answer::Default,
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    let bump = |by: &str| bump().arg(by.to_owned());
    let pipeline = Pipeline::new((bump("a"), bump("bb"), Get::<String>::new("k"), bump("ccc"), bump("dddd")));
    let (a, b, value, c, d) = redis.send(pipeline).await.expect("ran");
    assert_eq!((a, b, value.as_deref(), c, d), (1, 2, Some("x"), 0, 4), "each reply in its place");
}

/// A new server, and a link to it.
async fn restart(server: &RedisServer, redis: &Redis, nth: u64) {
    server.restart().expect("restarted");
    let mut status = redis.status();
    let back = status.wait_for(|status| status.disconnects == nth && status.state == ConnectionState::Ready);
    tokio::time::timeout(TIME_LIMIT, back).await.expect("in time").expect("received");
}

#[actix::test]
async fn a_restart_between_two_calls_is_not_seen() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    assert_eq!(redis.send(bump()).await.expect("ran"), 1);
    restart(&server, &redis, 1).await;
    let unawaited = redis.send(bump());
    let behind: Option<i64> = redis.send(Get::new("k")).await.expect("read");
    assert_eq!((unawaited.await.expect("ran"), behind), (1, Some(1)), "a command keeps its place on a new link");
    restart(&server, &redis, 2).await;
    assert_eq!(redis.send(Pipeline::new((bump(), Get::<i64>::new("k"), bump()))).await.expect("ran"), (1, Some(1), 2));
    restart(&server, &redis, 3).await;
    assert_eq!(redis.send(Transaction::new((bump(), bump()))).await.expect("ran"), (1, 2));
}

#[actix::test]
async fn while_scripts_are_flushed_all_the_time_every_call_runs_once() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let redis = redis.clone();
            actix::spawn(async move {
                for _ in 0..10 {
                    redis.send(bump()).await.expect("ran");
                    redis.send(Pipeline::new((bump(), bump()))).await.expect("ran");
                }
            })
        })
        .collect();
    let mut connection = server.connect().expect("connected");
    while !callers.iter().all(|caller| caller.is_finished()) {
        connection.command(["SCRIPT", "FLUSH"]).expect("flushed").ok().expect("ok");
        tokio::task::yield_now().await;
    }
    for caller in callers {
        caller.await.expect("no panic");
    }
    assert_eq!(redis.send(Get::<i64>::new("k")).await.expect("read"), Some(960));
}

#[actix::test]
async fn errors_of_a_script_are_its_own() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    for _ in 0..2 {
        let error = redis.send(BROKEN.invoke()).await.expect_err("does not compile");
        assert_eq!((error.code(), error.fate()), (Some("ERR"), Fate::Rejected), "{error}");
    }
    let (broken, counted) = redis.send(Pipeline::new((BROKEN.invoke(), bump())).try_each()).await.expect("answered");
    assert_eq!((broken.expect_err("does not compile").code(), counted.expect("ran")), (Some("ERR"), 1));
    server.command(["SET", "test:k", "word"]).expect("set");
    let error = redis.send(bump()).await.expect_err("no number");
    assert_eq!((error.kind(), error.command()), (ErrorKind::Server, Some("EVALSHA")), "{error}");
    static WRITES: Script<()> = Script::read_only("return redis.call('SET', KEYS[1], 1)");
    let error = redis.send(WRITES.invoke().key("k")).await.expect_err("only reads");
    assert_eq!(error.fate(), Fate::Rejected);
}

/// A server that always answers so is asked a bounded number of times. It has the source, so the script may have run and have
/// written that answer.
#[actix::test]
async fn a_server_that_never_knows_the_script_is_asked_twice() {
    let server = FakeServer::builder()
        .on(|argv| match argv.first().map(Vec::as_slice) {
            Some(b"EVAL" | b"EVALSHA") => Answer::raw("-NOSCRIPT No matching script. Please use EVAL.\r\n"),
            _ => Answer::Default,
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    for _ in 0..2 {
        let error = redis.send(bump()).await.expect_err("never known");
        assert_eq!((error.code(), error.fate()), (Some("NOSCRIPT"), Fate::Unknown));
    }
    let evals = server.received().iter().filter(|argv| argv[0].starts_with(b"EVAL")).count();
    assert!((3..=4).contains(&evals), "{evals}");
}

#[actix::test]
async fn functions_are_loaded_and_called() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let library = |step: u32| {
        format!(
            "#!lua name=counters
             redis.register_function('bump', function(keys, args)
                 return redis.call('INCRBY', keys[1], {step} * (args[1] or 1))
             end)
             redis.register_function{{
                 function_name = 'length',
                 callback = function(keys) return redis.call('STRLEN', keys[1]) end,
                 flags = {{ 'no-writes' }},
             }}"
        )
    };
    assert_eq!(redis.send(FunctionLoad::new(library(1))).await.expect("loaded"), "counters");
    let bump = || FCall::<i64>::new("bump").key("n");
    assert_eq!(redis.send(bump()).await.expect("ran"), 1);
    let again = redis.send(FunctionLoad::new(library(10))).await.expect_err("there is one");
    assert_eq!((again.command(), again.fate()), (Some("FUNCTION LOAD"), Fate::Rejected));
    redis.send(FunctionLoad::new(library(10)).replace()).await.expect("replaced");
    assert_eq!(redis.send(bump().arg(5)).await.expect("ran"), 51);
    let length = FCall::<u64>::read_only("length").key("n");
    assert_eq!(redis.send(Pipeline::new((bump(), length.clone()))).await.expect("ran"), (61, 2));
    assert_eq!(server.command(["GET", "test:n"]).expect("answered").text().expect("text"), "61");
    let error = redis.send(FCall::<i64>::read_only("bump").key("n")).await.expect_err("it writes");
    assert_eq!((error.command(), error.fate()), (Some("FCALL_RO"), Fate::Rejected));
    restart(&server, &redis, 1).await;
    let error = redis.send(length).await.expect_err("the server has lost its libraries");
    assert_eq!(error.fate(), Fate::Rejected);
}
