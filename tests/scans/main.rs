//! Walking keys and members while servers restart, fail over and lose connections.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../cluster_support/mod.rs"]
mod cluster_support;
#[path = "../support/mod.rs"]
mod support;

mod failover;
mod migration;
mod random;
mod restart;

use std::collections::BTreeSet;

use redis_actix::prelude::*;
use redis_actix::{MSet, Result, ScanKeys, ScanStream};

/// Keys `k0` to `k{count}`.
async fn fill(redis: &Redis, count: usize) {
    for first in (0..count).step_by(500) {
        let pairs = (first..count.min(first + 500)).map(|n| (format!("k{n}"), n));
        redis.send(MSet::new(pairs)).await.expect("written");
    }
}

fn names(count: usize) -> BTreeSet<String> {
    (0..count).map(|n| format!("k{n}")).collect()
}

/// Takes items until there are `count`, or none is left. Errors of the connection are resumed.
async fn take<T>(stream: &mut ScanStream<T>, most: usize) -> Vec<T> {
    let mut items = Vec::new();
    while items.len() < most {
        match stream.next().await {
            Some(Ok(item)) => items.push(item),
            Some(Err(_)) => stream.resume(),
            None => break,
        }
    }
    items
}

fn text(names: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    names.into_iter().map(|name| String::from_utf8(name).expect("text")).collect()
}

fn keys(redis: &Redis) -> ScanStream<Vec<u8>> {
    redis.scan_keys(ScanKeys::new("*").count(100))
}

fn missing(count: usize, seen: impl IntoIterator<Item = String>) -> usize {
    let seen: BTreeSet<String> = seen.into_iter().collect();
    names(count).difference(&seen).count()
}

/// Counts keys, until that works.
async fn count(redis: &Redis) -> Result<u64> {
    redis.count_keys(redis_actix::CountKeys::new("*")).await
}
