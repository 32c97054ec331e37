//! Several commands in one go: typed replies, failures apart, order, and room for the others.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::support::{TIME_LIMIT, config, hasty, ms};
use redis_actix::prelude::*;
use redis_actix_test::{Answer, Direction, FakeServer, Proxy};

/// To see an order.
fn append(number: u64) -> RPush {
    RPush::new("order", [number])
}

fn appends(numbers: impl IntoIterator<Item = u64>) -> Pipeline<Vec<RPush>> {
    Pipeline::new(numbers.into_iter().map(append).collect())
}

fn order(server: &redis_actix_test::RedisServer) -> Vec<u64> {
    let list = server.command(["LRANGE", "test:order", "0", "-1"]).expect("listed");
    list.array().expect("a list").iter().map(|n| n.text().expect("text").parse().expect("a number")).collect()
}

#[actix::test]
async fn a_tuple_answers_a_tuple_and_a_vector_a_vector() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (a, b): (Option<u64>, i64) = redis.send(Pipeline::new((Get::new("a"), Incr::new("b")))).await.expect("both");
    assert_eq!((a, b), (None, 1));
    redis.send(Pipeline::new((Set::new("user:1", 17), Set::new("user:2", 18)))).await.expect("both");
    let keys = (0..4).map(|n| format!("user:{n}"));
    let all: Vec<Option<u64>> = redis.send(Pipeline::new(keys.map(Get::new).collect::<Vec<_>>())).await.expect("all");
    assert_eq!(all, [None, Some(17), Some(18), None]);
    let through_the_address = redis.addr().send(Pipeline::new((Incr::new("b"),))).await.expect("alive");
    assert_eq!(through_the_address.expect("counted"), (2,));
    assert_eq!(server.command(["GET", "test:b"]).expect("answered").text().expect("text"), "2");
}

#[actix::test]
async fn one_failure_hides_nothing_of_the_others() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let mixed = || Pipeline::new((Set::new("word", "x"), Incr::new("word"), Incr::new("count")));
    let (set, word, count) = redis.send(mixed().try_each()).await.expect("answered");
    assert_eq!((set.expect("set"), count.expect("counted")), (true, 1));
    let error = word.expect_err("not a number");
    assert_eq!((error.kind(), error.fate(), error.command()), (ErrorKind::Server, Fate::Rejected, Some("INCR")));

    let error = redis.send(mixed()).await.expect_err("one failed");
    assert_eq!((error.kind(), error.code(), error.command()), (ErrorKind::Server, Some("ERR"), Some("INCR")));
    assert_eq!(error.fate(), Fate::Unknown, "repeating the whole would count again");
    assert_eq!(redis.send(Incr::new("count")).await.expect("counted"), 3);

    server.command(["RPUSH", "test:list", "x"]).expect("pushed");
    let reads = Pipeline::new((Get::<String>::new("word"), Get::<String>::new("list")));
    let error = redis.send(reads).await.expect_err("a list");
    assert_eq!((error.code(), error.fate()), (Some("WRONGTYPE"), Fate::Rejected), "reads do no harm twice");
    let rejected = Pipeline::new((Incr::new("list"), Incr::new("word")));
    assert_eq!(redis.send(rejected).await.expect_err("both failed").fate(), Fate::Rejected);

    let each = Pipeline::new(vec![Get::<u64>::new("word"), Get::new("count")]).try_each();
    let each = redis.send(each).await.expect("answered");
    assert_eq!(each[0].as_ref().expect_err("not a number").kind(), ErrorKind::Decode);
    assert_eq!(each[1].as_ref().expect("a number"), &Some(3));
}

#[actix::test]
async fn unusable_pipelines_are_refused_before_anything_is_sent() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let error = redis.send(Pipeline::new(Vec::<Incr>::new())).await.expect_err("empty");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
    assert!(error.to_string().contains("at least one command"), "{error}");
    let nested = Pipeline::new((Incr::new("k"), Pipeline::new((Incr::new("k"),))));
    let error = redis.send(nested).await.expect_err("nested");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
}

#[actix::test]
async fn a_hundred_thousand_commands_in_order_between_those_of_others() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let before = redis.send(append(0));
    let pipeline = redis.send(appends(1..=100_000).timeout(Duration::from_secs(60)));
    let after = redis.send(append(100_001));
    assert_eq!(before.await.expect("pushed"), 1);
    assert_eq!(after.await.expect("pushed"), 100_002);
    let lengths = pipeline.await.expect("pushed");
    assert_eq!((lengths.len(), lengths[0], lengths[99_999]), (100_000, 2, 100_001));
    assert!(order(&server).into_iter().eq(0..=100_001));
}

#[actix::test]
async fn callers_beside_large_pipelines_are_served() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let over = std::rc::Rc::new(AtomicBool::new(false));
    let (others, done) = (redis.clone(), over.clone());
    let gets = actix::spawn(async move {
        let mut took = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let asked = Instant::now();
            others.send(Get::<String>::new("k")).await.expect("answered");
            took.push(asked.elapsed());
        }
        took.sort_unstable();
        took
    });
    let start = Instant::now();
    for n in 0..10 {
        let lengths = redis.send(appends(n * 10_000..(n + 1) * 10_000)).await.expect("pushed");
        assert_eq!(lengths.len(), 10_000);
    }
    over.store(true, Ordering::Relaxed);
    let took = gets.await.expect("no panic");
    let (slowest, all) = (took.last().copied().unwrap_or_default(), start.elapsed());
    // On one link a Get waits for the pipeline before it, never for the ten of them.
    assert!(took.len() > 10 && slowest < all / 3, "{} gets, the slowest took {slowest:?} of {all:?}", took.len());
    assert!(order(&server).into_iter().eq(0..100_000));
}

#[actix::test]
async fn a_pipeline_whose_link_breaks_half_way_is_not_run_twice() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("started");
    let redis = hasty(config(proxy.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.cut_after(Direction::ToServer, 2_000);
    let error = redis.send(appends(0..10_000)).await.expect_err("cut");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::Unknown), "{error}");
    assert_eq!(error.command(), Some("pipeline"));
    proxy.pass();
    let ran = order(&server).len();
    assert!(ran < 100, "{ran}");
    assert_eq!(redis.send(append(0)).await.expect("pushed"), ran as u64 + 1);

    proxy.cut_after(Direction::ToServer, 2_000);
    let reads = Pipeline::new((0..10_000).map(|_| Get::<String>::new("k")).collect::<Vec<_>>());
    let reads = redis.send(reads);
    proxy.connected(3, TIME_LIMIT).await.expect("dialled again");
    proxy.pass();
    assert_eq!(reads.await.expect("reads are sent again").len(), 10_000);
}

#[actix::test]
async fn an_answer_too_many_or_too_few_never_shifts_replies() {
    let server = FakeServer::builder()
        .on(|argv| match argv.first().map(Vec::as_slice) {
            Some(b"GET") => Answer::raw("$1\r\n1\r\n"),
            Some(b"INCR") => Answer::raw(":1\r\n:2\r\n"),
            _ => Answer::Default,
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    let pipeline = Pipeline::new((Get::<u64>::new("a"), Incr::new("b")));
    let (a, b) = redis.send(pipeline).await.expect("the answers until then were its own");
    assert_eq!((a, b), (Some(1), 1));
    let mut status = redis.status();
    let lost = status.wait_for(|status| status.disconnects == 1);
    tokio::time::timeout(TIME_LIMIT, lost).await.expect("a link that answers unasked is closed").expect("received");
    // Ablation: where bytes that were read may answer a later command, the second command gets the other answer of
    // the first.
    let caller = actix::spawn(async move {
        for _ in 0..3 {
            assert_eq!(redis.send(Incr::new("b")).await.expect("on a link of its own"), 1);
        }
    });
    caller.await.expect("its own answers");
}

#[actix::test]
async fn its_deadline_is_that_of_the_whole() {
    let server = FakeServer::start().expect("started");
    server.on(|argv| match argv.first().map(Vec::as_slice) {
        Some(b"GET") => Answer::raw("$1\r\n1\r\n"),
        Some(b"INCR") => Answer::Silence,
        _ => Answer::Default,
    });
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let error = redis.send(Pipeline::new((Get::<u64>::new("a"), Incr::new("b").timeout(ms(50))))).await;
    let error = error.expect_err("no second answer");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
    let late = redis.send(Pipeline::new((Incr::new("b"),)).timeout(ms(50)).try_each()).await.expect_err("silence");
    assert_eq!(late.kind(), ErrorKind::Timeout);
}
