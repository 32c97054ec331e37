//! Handshakes with servers of every kind, byte by byte where it matters.

use crate::support::{TIME_LIMIT, config, hasty};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind};
use redis_actix_test::{Answer, FakeServer, RedisServer};

fn words(commands: &[Vec<Vec<u8>>]) -> Vec<String> {
    commands
        .iter()
        .map(|argv| argv.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" "))
        .collect()
}

#[actix::test]
async fn a_modern_server_is_addressed_in_resp3_with_the_client_name() {
    let server = RedisServer::builder().requirepass("secret").start().unwrap_or_else(|error| panic!("{error}"));
    let redis = hasty(config(server.port()).password("secret").db(3).client_name("billing")).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let health = redis.health().await.expect("healthy");
    assert_eq!((health.role.as_deref(), health.status.state), (Some("master"), ConnectionState::Ready));
    let client = server.clients().expect("listed").pop().expect("one client");
    for part in ["name=billing", "db=3", "resp=3"] {
        assert!(client.contains(part), "{part} in {client}");
    }
}

#[actix::test]
async fn an_old_server_is_spoken_to_in_resp2() {
    let server = FakeServer::builder()
        .without_hello()
        .on(|argv| match argv.first().map(Vec::as_slice) {
            Some(b"GET") => Answer::raw("$3\r\nada\r\n"),
            _ => Answer::Default,
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port()).password("secret").username("svc").db(2)).start().expect("started");
    let name: Option<String> = redis.send(Get::new("k")).await.expect("answered");
    assert_eq!(name.as_deref(), Some("ada"));
    let said = words(&server.received());
    assert!(said[0].starts_with("HELLO 3 AUTH svc secret"), "{said:?}");
    assert_eq!(said[1], "AUTH svc secret");
    assert!(said.contains(&"SELECT 2".to_owned()) && said.contains(&"PING".to_owned()), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("GET test:k"));
}

#[actix::test]
async fn a_server_that_refuses_names_is_used_all_the_same() {
    let server = FakeServer::builder()
        .own_handshake()
        .on(|argv| match argv.first().map(Vec::as_slice) {
            Some(b"HELLO") => Answer::raw("%2\r\n$7\r\nversion\r\n$5\r\n9.9.9\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"),
            Some(b"CLIENT") => Answer::raw("-NOPERM this user has no permissions\r\n"),
            Some(b"PING") => Answer::raw("+PONG\r\n"),
            _ => Answer::raw(":7\r\n"),
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port()).client_name("x")).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7);
    assert_eq!(redis.health().await.expect("healthy").version.as_deref(), Some("9.9.9"));
}

#[actix::test]
async fn a_loading_server_is_waited_for_on_the_same_link() {
    let mut pings = 0;
    let server = FakeServer::builder()
        .own_handshake()
        .on(move |argv| match argv.first().map(Vec::as_slice) {
            Some(b"PING") => {
                pings += 1;
                if pings < 3 {
                    Answer::raw("-LOADING Redis is loading the dataset in memory\r\n")
                } else {
                    Answer::raw("+PONG\r\n")
                }
            }
            Some(b"HELLO") => Answer::raw("%0\r\n"),
            Some(b"INCR") => Answer::raw(":1\r\n"),
            _ => Answer::raw("+OK\r\n"),
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    assert_eq!(server.connections(), 1);
}

#[actix::test]
async fn an_old_servers_complaint_does_not_carry_the_password_into_the_error() {
    let server = FakeServer::builder()
        .own_handshake()
        .on(|argv| {
            let args = argv.iter().skip(1).map(|arg| format!("'{}'", String::from_utf8_lossy(arg))).collect::<Vec<_>>();
            Answer::raw(format!("-ERR unknown command, with args beginning with: {}\r\n", args.join(" ")))
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port()).password("hunter2")).start().expect("started");
    let error = redis.ready(TIME_LIMIT).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(!format!("{error} {error:?} {:?}", redis.status().borrow()).contains("hunter2"), "{error:?}");
}

#[actix::test]
async fn a_unix_socket() {
    let server = RedisServer::builder().unix_socket(true).start().unwrap_or_else(|error| panic!("{error}"));
    let config = RedisConfig::builder().unix_socket(server.socket_path()).key_prefix("test:").build().expect("valid");
    let redis = Redis::builder(config).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    assert!(redis.connection_info().addresses[0].starts_with("unix:"));
}
