//! Replies of an unusual form.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, Pipeline, Raw, Value};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{Diary, TIME_LIMIT, config, hasty, until_state};

/// Ablation: with the link's loss as the only verdict LRANGE runs four times, over four links.
#[actix::test]
async fn a_reply_beyond_a_limit_ends_its_command_and_is_not_asked_for_again() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let server = FakeServer::builder()
        .on(move |argv| match argv[0].as_slice() {
            b"LRANGE" => {
                counted.fetch_add(1, Ordering::SeqCst);
                Answer::raw("*20000000\r\n")
            }
            b"STRLEN" => Answer::raw("|1\r\n+ttl\r\n:1\r\n$600000000\r\n"),
            b"GET" => Answer::raw("$1\r\nv\r\n"),
            _ => Answer::Default,
        })
        .start()
        .unwrap();
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).start().unwrap();
    let error = redis.send(LRange::<String>::new("list", 0, -1)).await.unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Protocol, Fate::Unknown));
    assert!(error.to_string().contains("more than 16777216 elements"), "{error}");
    let error = redis.send(Raw::<Value>::new("STRLEN").key("large")).await.unwrap_err();
    assert!(error.to_string().contains("string longer than 536870912 bytes"), "{error}");
    let value: String = redis.send(Get::new("a")).await.unwrap().unwrap();
    assert_eq!((value.as_str(), runs.load(Ordering::SeqCst)), ("v", 1));
    assert_eq!(server.connections(), 3, "one link for each, and one more");
}

/// Ablation: with the attributes kept around the value the error has no code, and the push shifts the replies by one.
#[actix::test]
async fn attributes_change_no_reply_error_or_push() {
    let answer = |argv: &[Vec<u8>]| match argv[0].as_slice() {
        b"GET" => Answer::raw("|1\r\n+ttl\r\n:1\r\n>2\r\n+invalidate\r\n_\r\n|1\r\n+ttl\r\n:1\r\n$1\r\nv\r\n"),
        b"INCR" => Answer::raw("|1\r\n+key-popularity\r\n%1\r\n+test:k\r\n:9\r\n-WRONGTYPE no number\r\n"),
        b"MGET" => Answer::raw("*2\r\n|1\r\n+a\r\n+b\r\n$1\r\nx\r\n|0\r\n$1\r\ny\r\n"),
        _ => Answer::Default,
    };
    let server = FakeServer::builder().on(answer).start().unwrap();
    let redis = hasty(config(server.port())).start().unwrap();
    for _ in 0..2 {
        let value: String = redis.send(Get::new("a")).await.unwrap().unwrap();
        assert_eq!(value, "v");
        let error = redis.send(Incr::new("a")).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Server, Some("WRONGTYPE")));
        let values: Vec<String> = redis.send(Raw::new("MGET").key("a").key("b")).await.unwrap();
        assert_eq!(values, ["x", "y"]);
        let error = redis.send(Pipeline::new((Get::<String>::new("a"), Incr::new("a")))).await.unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"));
    }
    assert_eq!(server.connections(), 1);
}

/// Ablation: with the server's words as they are the error has a line feed and 60 KiB.
#[actix::test]
async fn server_texts_are_printable_and_short_in_every_output() {
    const FORGED: &str = "!41\r\nERR no\r\n2026 INFO all is well \u{1b}[31m\u{7}\u{202e} !\r\n";
    let answer = |argv: &[Vec<u8>]| match argv[0].as_slice() {
        b"GET" => Answer::raw(FORGED),
        b"INCR" => Answer::raw(format!("-{} {}\r\n", "C".repeat(30_000), "x\u{1b}".repeat(15_000))),
        _ => Answer::Default,
    };
    let server = FakeServer::builder().on(answer).start().unwrap();
    let redis = hasty(config(server.port())).start().unwrap();
    let get = redis.send(Get::<String>::new("a")).await.unwrap_err();
    assert_eq!(get.message(), "no\\r\\n2026 INFO all is well \\u{1b}[31m\\u{7}\\u{202e} !");
    let pipeline = redis.send(Pipeline::new((Get::<String>::new("a"), Incr::new("b")))).await.unwrap_err();
    let incr = redis.send(Incr::new("a")).await.unwrap_err();
    for error in [&get, &incr, &pipeline] {
        assert_printable(&error.to_string());
        assert_printable(&format!("{error:?}"));
    }
}

/// Ablation: with `Cause::new` keeping its text the status has an escape sequence.
#[actix::test]
async fn words_of_a_server_that_refuses_are_printable_in_events_and_status() {
    let answer = |_: &[Vec<u8>]| Answer::raw("-WRONGPASS no\u{1b}[2J\rforged\r\n");
    let server = FakeServer::builder().own_handshake().on(answer).start().unwrap();
    let (builder, diary) = Diary::of(hasty(config(server.port()).password("secret")));
    let redis = builder.start().unwrap();
    let error = redis.send(Get::<String>::new("a")).await.unwrap_err();
    assert_printable(&error.to_string());
    let status = until_state(&redis, ConnectionState::Parked).await;
    let cause = status.cause.clone().unwrap();
    assert!(cause.to_string().contains("no\\u{1b}[2J\\rforged"), "{cause}");
    for text in [cause.to_string(), format!("{status:?}"), format!("{:?}", diary.events())] {
        assert_printable(&text);
    }
}

fn assert_printable(text: &str) {
    assert!(text.len() <= 4096 && !text.chars().any(char::is_control), "{text:?}");
}
