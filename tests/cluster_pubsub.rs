//! Subscriptions on a cluster.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cluster_support;
mod pubsub_support;

use cluster_support::{cluster, joined};
use pubsub_support::{Notes, support};
use redis_actix::Topic;
use redis_actix::prelude::*;
use redis_actix_test::RedisCluster;

/// What is published at any node reaches every node, so one link hears it all; it goes to another when its node dies.
#[actix::test]
async fn what_is_published_anywhere_is_heard() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let topics = [Topic::channel("alerts"), Topic::pattern("news:*")];
    let _subscription = redis.subscribe(topics, inbox.clone().recipient()).await.expect("confirmed");
    for nth in 0..20 {
        redis.send(Publish::new(format!("news:{nth}"), nth)).await.expect("sent");
    }
    for (nth, node) in cluster.nodes().iter().enumerate() {
        node.command(["PUBLISH", "test:alerts", &format!("of {nth}")]).expect("asked").ok().expect("sent");
        notes.payload(&format!("of {nth}")).await;
    }
    notes.payload("19").await;
    let error = redis.subscribe([Topic::shard("s")], inbox.recipient()).await.expect_err("one node only");
    assert!(error.to_string().contains("single nodes of a cluster"), "{error}");
}
