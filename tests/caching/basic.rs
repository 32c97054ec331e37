//! What is answered from the cache, and for how long.

use std::collections::HashMap;
use std::time::Duration;

use redis_actix::CacheConfig;
use redis_actix::prelude::*;

use crate::support::{config, eventually, hasty, server};
use crate::{TTL, by_others, cached, get, start, stats};

#[actix::test]
async fn a_hit_sends_no_command() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["SET", "test:k", "v"]);
    assert_eq!(get(&redis, "k").await.as_deref(), Some("v"));
    let answered = redis.stats().answered;
    for _ in 0..100 {
        assert_eq!(get(&redis, "k").await.as_deref(), Some("v"));
    }
    let after = redis.stats();
    assert_eq!(after.answered, answered);
    let cache = after.cache.expect("configured");
    assert_eq!((cache.hits, cache.misses, cache.stored, cache.entries), (100, 1, 1, 1));
    assert!(cache.bytes > 0 && cache.bytes <= cache.max_bytes);
    assert_eq!(redis.health().await.expect("answered").cache.map(|cache| cache.hits), Some(100));
}

/// Ablation: without CLIENT CACHING YES before the read, the change is never seen.
#[actix::test]
async fn a_write_by_another_client_is_seen() {
    let server = server();
    for settings in [CacheConfig::new(1 << 20), CacheConfig::new(1 << 20).broadcast()] {
        let redis = hasty(config(server.port()).cache(settings)).start().expect("started");
        by_others(&server, &["SET", "test:k", "0"]);
        for round in 1..=50 {
            let before = (round - 1).to_string();
            assert_eq!(cached(&redis, "k").await, Some(before));
            by_others(&server, &["SET", "test:k", &round.to_string()]);
            loop {
                if get(&redis, "k").await == Some(round.to_string()) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        assert!(stats(&redis).invalidations >= 50, "{:?}", stats(&redis));
    }
}

#[actix::test]
async fn expired_and_evicted_keys_are_reported() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["SET", "test:k", "v", "PX", "700"]);
    assert_eq!(get(&redis, "k").await.as_deref(), Some("v"));
    let deadline = std::time::Instant::now() + crate::support::TIME_LIMIT;
    while get(&redis, "k").await.is_some() {
        assert!(std::time::Instant::now() < deadline, "never expired");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[actix::test]
async fn only_messages_that_ask_for_it_are_cached_without_a_default() {
    let server = server();
    let redis = start(server.port());
    for _ in 0..3 {
        redis.send(Get::<String>::new("k")).await.expect("answered");
        redis.send(Get::<String>::new("k").fresh()).await.expect("answered");
    }
    let seen = stats(&redis);
    assert_eq!((seen.hits, seen.misses, seen.stored), (0, 0, 0));

    let all = hasty(config(server.port()).cache(CacheConfig::new(1 << 20).ttl(TTL))).start().expect("started");
    for _ in 0..3 {
        all.send(Get::<String>::new("k")).await.expect("answered");
        all.send(Get::<String>::new("k").fresh()).await.expect("answered");
    }
    let seen = stats(&all);
    assert_eq!((seen.hits, seen.misses, seen.stored), (2, 1, 1));
}

#[actix::test]
async fn a_reply_older_than_the_ttl_of_the_message_is_not_used() {
    let server = server();
    let redis = start(server.port());
    get(&redis, "k").await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    redis.send(Get::<String>::new("k").cached(Duration::from_millis(20))).await.expect("answered");
    assert_eq!((stats(&redis).expired, stats(&redis).hits), (1, 0));
    get(&redis, "k").await;
    assert_eq!(stats(&redis).hits, 1);
}

#[actix::test]
async fn replies_of_every_shape_are_decoded_like_those_of_the_server() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["HSET", "test:h", "a", "1", "b", "2"]);
    by_others(&server, &["RPUSH", "test:l", "x", "y"]);
    by_others(&server, &["SADD", "test:s", "m"]);
    by_others(&server, &["ZADD", "test:z", "1.5", "m"]);
    for round in 0..2 {
        let all: HashMap<String, u32> = redis.send(HGetAll::new("h").cached(TTL)).await.expect("a map");
        assert_eq!((all.len(), all["b"]), (2, 2));
        assert_eq!(redis.send(HGet::<u32>::new("h", "a").cached(TTL)).await.expect("one"), Some(1));
        let list: Vec<String> = redis.send(LRange::new("l", 0, -1).cached(TTL)).await.expect("a list");
        assert_eq!(list, ["x", "y"]);
        assert!(redis.send(SIsMember::new("s", "m").cached(TTL)).await.expect("an answer"));
        assert_eq!(redis.send(ZScore::new("z", "m").cached(TTL)).await.expect("a score"), Some(1.5));
        let many: Vec<Option<String>> = redis.send(MGet::new(["none", "none2"]).cached(TTL)).await.expect("values");
        assert_eq!(many, [None, None]);
        let wrong = redis.send(Get::<String>::new("l").cached(TTL)).await.expect_err("a list");
        assert_eq!(wrong.code(), Some("WRONGTYPE"));
        assert_eq!(stats(&redis).hits, round * 6, "errors are not cached");
    }
    let text = redis.send(HGet::<Vec<u8>>::new("h", "a").cached(TTL)).await.expect("one");
    assert_eq!(text.as_deref(), Some(&b"1"[..]), "another type of the same reply");
}

/// Ablation: with every read in the list, the time to live is answered from the cache.
#[actix::test]
async fn replies_that_depend_on_more_than_values_are_not_cached() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["SET", "test:k", "v", "PX", "1000000"]);
    by_others(&server, &["SADD", "test:s", "a", "b", "c"]);
    for _ in 0..3 {
        redis.send(PTtl::new("k").cached(TTL)).await.expect("answered");
        redis.send(Raw::<String>::new("SRANDMEMBER").key("s").cached(TTL)).await.expect("answered");
        redis.send(Raw::<redis_actix::Value>::new("SSCAN").key("s").arg(0).cached(TTL)).await.expect("answered");
        redis.send(Raw::<redis_actix::Value>::new("EVAL_RO").arg("return 1").arg(1).key("k").cached(TTL)).await.ok();
        redis.send(Pipeline::new(vec![Get::<String>::new("k").cached(TTL)])).await.expect("answered");
    }
    assert_eq!((stats(&redis).stored, stats(&redis).hits), (0, 0));
}

#[actix::test]
async fn concurrent_misses_share_one_request() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["SET", "test:k", "v"]);
    redis.ready(crate::support::TIME_LIMIT).await.expect("ready");
    let answered = redis.stats().answered;
    let reads: Vec<_> = (0..100).map(|_| redis.send(Get::<String>::new("k").cached(TTL))).collect();
    for read in reads {
        assert_eq!(read.await.expect("answered").as_deref(), Some("v"));
    }
    eventually("the count of replies", || (redis.stats().answered > answered).then_some(())).await;
    assert_eq!((redis.stats().answered - answered, stats(&redis).shared_misses), (1, 99));
}

/// Ablation: if the request is dropped with the caller that began it, the others wait until their deadlines.
#[actix::test]
async fn callers_that_share_a_request_outlive_the_one_that_began_it() {
    let server = server();
    let redis = start(server.port());
    let first = redis.send(Get::<String>::new("k").cached(TTL));
    let second = redis.send(Get::<String>::new("k").cached(TTL));
    drop(first);
    assert_eq!(second.await.expect("answered"), None);
    // An error is everybody's own.
    by_others(&server, &["RPUSH", "test:l", "x"]);
    let both = [0, 1].map(|_| redis.send(Get::<String>::new("l").cached(TTL)));
    for read in both {
        assert_eq!(read.await.expect_err("a list").code(), Some("WRONGTYPE"));
    }
}

#[actix::test]
async fn the_bytes_stay_within_the_bound() {
    let server = server();
    let redis = hasty(config(server.port()).cache(CacheConfig::new(1 << 20))).start().expect("started");
    let value = "v".repeat(1000);
    for key in 0..3000 {
        redis.send(Set::new(format!("k{key}"), &value)).await.expect("answered");
        get(&redis, &format!("k{key}")).await;
    }
    let seen = stats(&redis);
    assert!(seen.bytes <= seen.max_bytes && seen.max_bytes <= 1 << 20, "{seen:?}");
    assert!(seen.evicted > 1500 && seen.entries > 500, "{seen:?}");
}

#[actix::test]
async fn internal_and_unprefixed_reads_are_never_cached() {
    let server = server();
    let redis = hasty(config(server.port()).cache(CacheConfig::new(1 << 20).ttl(TTL))).start().expect("started");
    by_others(&server, &["SET", "k", "theirs"]);
    by_others(&server, &["SET", "test:k", "ours"]);
    for _ in 0..2 {
        let theirs: Option<String> = redis.unprefixed().send(Raw::new("GET").arg("k")).await.expect("answered");
        assert_eq!(theirs.as_deref(), Some("theirs"));
        assert_eq!(redis.send(Get::<String>::new("k")).await.expect("answered").as_deref(), Some("ours"));
    }
    assert_eq!(stats(&redis).hits, 1);
}
