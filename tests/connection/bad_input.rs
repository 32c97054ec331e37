//! Whatever is wrong is said in words, with a kind that a program can act on; nothing hangs.

use std::time::{Duration, Instant};

use crate::support::{TIME_LIMIT, config, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate};
use redis_actix_test::{RedisServer, free_port};

#[actix::test]
async fn an_unreachable_host() {
    let port = free_port().expect("a free port");
    let redis = hasty(config(port)).start().expect("starting needs no server");
    let asked = Instant::now();
    let error = redis.send(Incr::new("k").timeout(ms(300))).await.expect_err("no server");
    assert!(asked.elapsed() < ms(1300));
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent));
    assert!(error.to_string().contains("refused") && error.to_string().contains(&port.to_string()), "{error}");
    let error = redis.ready(ms(300)).await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    let impatient = redis.send(Incr::new("k").when_down(redis_actix::WhenDown::FailFast)).await.expect_err("no link");
    assert_eq!((impatient.kind(), impatient.fate()), (ErrorKind::Disconnected, Fate::NotSent));
}

#[actix::test]
async fn a_name_that_does_not_resolve() {
    let config = RedisConfig::builder().host("no-such-host.invalid").key_prefix("test:").build().expect("valid");
    let redis = Redis::builder(config).start().expect("started");
    let error = redis.ready(Duration::from_secs(2)).await.expect_err("no such host");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[actix::test]
async fn a_wrong_password_is_refused_at_once_and_not_shown() {
    let server = RedisServer::builder().requirepass("right-secret").start().unwrap_or_else(|error| panic!("{error}"));
    let redis = hasty(config(server.port()).password("wrong-secret")).start().expect("started");
    let asked = Instant::now();
    let error = redis.send(Get::<String>::new("k")).await.expect_err("refused");
    assert!(asked.elapsed() < Duration::from_secs(2), "callers need not wait for their deadline");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotSent));
    assert!(error.to_string().contains("REDIS_PASSWORD"), "{error}");
    assert!(!format!("{error} {error:?} {redis:?}").contains("secret"), "{error:?}");
    assert_eq!(redis.status().borrow().state, ConnectionState::Parked);

    let anonymous = hasty(config(server.port())).start().expect("started");
    let error = anonymous.ready(TIME_LIMIT).await.expect_err("a password is wanted");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("NOAUTH"), "{error}");
}

#[actix::test]
async fn a_database_that_does_not_exist() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).db(4711)).start().expect("started");
    let error = redis.ready(TIME_LIMIT).await.expect_err("no such database");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("4711"), "{error}");
}

#[actix::test]
async fn a_reply_of_another_type() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Set::new("k", "not-a-number-but-a-payload")).await.expect("written");
    let error = redis.send(Get::<u64>::new("k")).await.expect_err("no number");
    assert_eq!((error.kind(), error.command()), (ErrorKind::Decode, Some("GET")));
    assert!(!format!("{error} {error:?}").contains("payload"), "{error:?}");
    let error = redis.send(Incr::new("k")).await.expect_err("no number");
    assert_eq!((error.kind(), error.fate(), error.code()), (ErrorKind::Server, Fate::Rejected, Some("ERR")));
    let error = redis.send(LLen::new("k")).await.expect_err("no list");
    assert_eq!(error.code(), Some("WRONGTYPE"));
}

#[actix::test]
async fn keys_and_values_of_any_bytes() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let key = b"\0\xff\r\n*{}$5\r\n ".to_vec();
    let value: Vec<u8> = (0..=255).collect();
    redis.send(Set::new(&key, value.as_slice())).await.expect("written");
    let back: Option<Vec<u8>> = redis.send(Get::new(&key)).await.expect("read");
    assert_eq!(back.as_deref(), Some(value.as_slice()));
    let name = server.command(["KEYS", "*"]).expect("listed").array().expect("names")[0].bytes().map(<[u8]>::to_vec);
    assert_eq!(name, Some([b"test:".as_slice(), &key].concat()));
    redis.send(Set::new("", "")).await.expect("the empty key is a key");
    assert_eq!(redis.send(Get::<String>::new("")).await.expect("read").as_deref(), Some(""));
}

#[actix::test]
async fn an_empty_argument_list_is_refused_before_it_is_sent() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let nothing: [&str; 0] = [];
    for (error, name) in [
        (redis.send(Del::new(nothing)).await.expect_err("nothing to delete"), "DEL"),
        (redis.send(MGet::<String>::new(nothing)).await.expect_err("nothing to read"), "MGET"),
        (redis.send(RPush::new("list", nothing)).await.expect_err("nothing to push"), "RPUSH"),
    ] {
        assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent), "{error}");
        assert_eq!(error.command(), Some(name));
    }
    assert_eq!(redis.send(Incr::new("k")).await.expect("the connection is untouched"), 1);
}

#[actix::test]
async fn a_value_of_64_mib_goes_there_and_back() {
    const SIZE: usize = 64 * 1024 * 1024;
    let server = crate::support::server();
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).start().expect("started");
    let value: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    redis.send(Set::new("large", value.as_slice())).await.expect("written");
    let small = redis.send(Incr::new("k"));
    let back: Option<Vec<u8>> = redis.send(Get::new("large")).await.expect("read");
    assert!(back.as_deref() == Some(value.as_slice()), "the value changed on its way");
    assert_eq!(small.await.expect("counted"), 1);
}

#[actix::test]
async fn a_value_beyond_the_servers_limit_is_refused_here() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let value = vec![0_u8; 512 * 1024 * 1024 + 1];
    let error = redis.send(Set::new("large", value.as_slice())).await.expect_err("too large");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
    assert!(error.to_string().contains("512 MiB"), "{error}");
}

/// Ablation: without the bound the clock overflows, the actor panics, and the shutdown is never answered.
#[actix::test]
async fn durations_that_mean_never() {
    let server = crate::support::server();
    let policy = redis_actix::ReconnectPolicy::exponential(Duration::MAX..=Duration::MAX).stable_after(Duration::MAX);
    let config = config(server.port()).build().expect("valid");
    let redis = Redis::builder(config).reconnect(policy).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(Incr::new("k").timeout(Duration::MAX)).await.expect("counted"), 1);
    redis.send(Set::new("forever", 1).expire(Duration::from_secs(60))).await.expect("written");
    assert_eq!(redis.status().borrow().restarts, 0);
    let report = tokio::time::timeout(TIME_LIMIT, redis.shutdown(Duration::MAX)).await.expect("in time");
    assert_eq!(report.expect("a report").unknown, 0);
}
