//! Servers and proxies that do not track keys: the service continues without a cache, with an event.

use redis_actix::prelude::*;
use redis_actix::{CacheConfig, ConnectionEvent, RedisConfig};
use redis_actix_test::RedisServer;

use crate::support::{Diary, config, eventually, hasty, server};
use crate::{TTL, by_others, caching, get, stats};

async fn runs_uncached(redis: &Redis, diary: &Diary, words: &str) {
    for round in 0..5 {
        redis.send(Set::new("k", round)).await.expect("written");
        assert_eq!(get(redis, "k").await, Some(round.to_string()));
        assert_eq!(get(redis, "k").await, Some(round.to_string()));
    }
    let reason = eventually("the event", || {
        diary.events().into_iter().find_map(|event| match event {
            ConnectionEvent::CacheUnavailable { reason } => Some(reason),
            _ => None,
        })
    })
    .await;
    assert!(reason.contains(words), "{reason}");
    assert_eq!((stats(redis).hits, stats(redis).stored), (0, 0));
}

#[actix::test]
async fn a_server_with_client_renamed_is_used_without_a_cache() {
    let server = RedisServer::builder().args(["--rename-command", "CLIENT", "hidden"]).start().expect("started");
    let (builder, diary) = Diary::of(hasty(caching(server.port())));
    let redis = builder.start().expect("started");
    runs_uncached(&redis, &diary, "CLIENT TRACKING").await;
}

#[actix::test]
async fn a_user_without_the_right_to_track_is_served_without_a_cache() {
    let server = server();
    for (denied, words) in [("-client|tracking", "CLIENT TRACKING"), ("-client|caching", "CLIENT CACHING")] {
        by_others(&server, &["ACL", "SETUSER", "u", "reset", "on", ">p", "~*", "&*", "+@all", denied]);
        let (builder, diary) = Diary::of(hasty(caching(server.port()).username("u").password("p")));
        let redis = builder.start().expect("started");
        runs_uncached(&redis, &diary, words).await;
    }
}

/// Ablation: if the refusal is not noticed, the value of before is read for the whole TTL.
#[actix::test]
async fn a_right_that_is_taken_away_ends_the_cache() {
    let server = server();
    by_others(&server, &["ACL", "SETUSER", "u", "reset", "on", ">p", "~*", "&*", "+@all"]);
    let (builder, diary) = Diary::of(hasty(caching(server.port()).username("u").password("p")));
    let redis = builder.start().expect("started");
    by_others(&server, &["SET", "test:k", "old"]);
    assert_eq!(crate::cached(&redis, "k").await.as_deref(), Some("old"));
    by_others(&server, &["ACL", "SETUSER", "u", "-client|caching"]);
    redis.send(Get::<String>::new("other").cached(TTL)).await.expect("answered");
    by_others(&server, &["SET", "test:k", "new"]);
    by_others(&server, &["SET", "test:other", "new"]);
    assert_eq!(get(&redis, "other").await.as_deref(), Some("new"));
    assert_eq!(get(&redis, "k").await.as_deref(), Some("new"));
    let events = diary.events();
    assert!(events.iter().any(|event| matches!(event, ConnectionEvent::CacheUnavailable { .. })), "{events:?}");
}

#[actix::test]
async fn a_server_with_resp2_only_is_used_without_a_cache() {
    let server = RedisServer::builder().args(["--rename-command", "HELLO", "hidden"]).start().expect("started");
    let (builder, diary) = Diary::of(hasty(caching(server.port())));
    let redis = builder.start().expect("started");
    runs_uncached(&redis, &diary, "RESP2").await;
}

#[test]
fn settings_that_cannot_work_are_errors() {
    let error = config(1).cache(CacheConfig::new(1 << 20)).protocol(redis_actix::Protocol::Resp2).build();
    assert!(error.expect_err("no RESP3").to_string().contains("needs RESP3"));
    let error = config(1).cache(CacheConfig::new(1000)).build().expect_err("too small");
    assert!(error.to_string().contains("at least 65536"), "{error}");
    let vars = |vars: &[(&str, &str)]| {
        RedisConfig::from_vars(vars.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    };
    let config = vars(&[("REDIS_CACHE_BYTES", "1000000"), ("REDIS_CACHE_TTL", "5000")]).expect("valid");
    assert_eq!(config.cache(), Some(&CacheConfig::new(1_000_000).ttl(std::time::Duration::from_secs(5))));
    assert_eq!(vars(&[("REDIS_CACHE_BYTES", "0")]).expect("valid").cache(), None);
    let error = vars(&[("REDIS_CACHE_TTL", "5000")]).expect_err("no cache");
    assert!(error.to_string().contains("REDIS_CACHE_BYTES"), "{error}");
}
