//! Commands that are built by hand: what may be marked, and what the table knows of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use redis_actix::{Raw, RefusalClass, Value};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, config, hasty, server};

/// Ablation: without the check of marks that the table does not have, the SET stores `test:b` and ZREVRANK finds no member.
#[actix::test]
async fn a_value_that_is_marked_as_a_key_is_refused_and_nothing_is_sent() {
    let server = server();
    let redis = hasty(config(server.port())).start().unwrap();
    for (raw, words) in [
        (Raw::<Value>::new("SET").key("a").key("b"), "argument 2 of SET is not a key: use arg()"),
        (Raw::new("ZREVRANK").key("z").key("m"), "argument 2 of ZREVRANK is not a key: use arg()"),
        (Raw::new("SET").key("a").pattern("b"), "argument 2 of SET is not a pattern: use arg()"),
        (Raw::new("PUBLISH").channel("c").channel("m"), "argument 2 of PUBLISH is not a channel: use arg()"),
    ] {
        let error = redis.send(raw).await.unwrap_err();
        assert_eq!(error.refusal(), Some(RefusalClass::Arguments));
        assert!(error.to_string().ends_with(words), "{error}");
    }
    assert_eq!(server.command(["DBSIZE"]).unwrap().int().unwrap(), 0);
    redis.send(Raw::<i64>::new("ZADD").key("z").arg(1).arg("m")).await.unwrap();
    let rank: Option<i64> = redis.send(Raw::new("ZREVRANK").key("z").arg("m")).await.unwrap();
    assert_eq!(rank, Some(0));
}

/// Ablation: with `is_repeatable` by the caller's word alone the reply is an error of fate unknown.
#[actix::test]
async fn a_known_read_is_sent_again_after_a_lost_link() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let server = FakeServer::builder()
        .on(move |argv| match argv[0].as_slice() {
            b"BITCOUNT" if counted.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Close,
            b"BITCOUNT" => Answer::raw(":7\r\n"),
            b"INCR" => Answer::Close,
            _ => Answer::Default,
        })
        .start()
        .unwrap();
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).start().unwrap();
    let bits: i64 = redis.send(Raw::new("BITCOUNT").key("a")).await.unwrap();
    assert_eq!((bits, runs.load(Ordering::SeqCst)), (7, 2));
    let write = redis.send(Raw::<i64>::new("INCR").key("a")).await.unwrap_err();
    assert_eq!(write.fate(), redis_actix::Fate::Unknown);
}
