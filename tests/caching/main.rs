//! Client-side caching against real servers.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod basic;
mod flush;
mod own_writes;
mod unavailable;

use std::time::Duration;

use redis_actix::prelude::*;
use redis_actix::{CacheConfig, CacheStats, RedisConfigBuilder, Value};

/// Longer than any test.
const TTL: Duration = Duration::from_secs(3600);

fn caching(port: u16) -> RedisConfigBuilder {
    support::config(port).cache(CacheConfig::new(8 << 20))
}

fn start(port: u16) -> Redis {
    support::hasty(caching(port)).start().expect("started")
}

async fn get(redis: &Redis, key: &str) -> Option<String> {
    redis.send(Get::new(key).cached(TTL)).await.expect("answered")
}

/// What the server has.
async fn fresh(redis: &Redis, key: &str) -> Option<String> {
    redis.send(Get::new(key).fresh()).await.expect("answered")
}

fn stats(redis: &Redis) -> CacheStats {
    redis.stats().cache.expect("configured")
}

/// Reads until it is answered from the cache: a change of another key may share its counter.
async fn cached(redis: &Redis, key: &str) -> Option<String> {
    for _ in 0..100 {
        let before = stats(redis).hits;
        let value = get(redis, key).await;
        if stats(redis).hits > before {
            return value;
        }
    }
    panic!("never cached: {:?}", stats(redis));
}

/// A command of another client, that is of another service or an operator.
fn by_others(server: &redis_actix_test::RedisServer, line: &[&str]) {
    server.command(line.iter().copied()).expect("answered");
}

/// A command line with the keys at these positions.
fn raw(words: &[&str], keys: &[usize]) -> Raw<Value> {
    words.iter().enumerate().skip(1).fold(Raw::new(words[0]), |raw, (index, word)| {
        if keys.contains(&index) { raw.key(word) } else { raw.arg(*word) }
    })
}
