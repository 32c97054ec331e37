//! Subscriptions to channels follow the members of a cluster.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix_test::{RedisCluster, RedisServer};

use crate::cluster_support::{aside, cluster, joined};
use crate::pubsub_support::{Notes, subscribers};
use crate::support::eventually;

/// A handle whose subscription to `channel` is at `node`.
async fn subscribed_at(cluster: &RedisCluster, node: &RedisServer, channel: &str) -> (Redis, Subscription, Notes) {
    for _ in 0..100 {
        let redis = joined(cluster).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let subscription = redis.subscribe([Topic::channel(channel)], inbox.recipient()).await.expect("confirmed");
        if subscribers(node, format!("test:{channel}")) == 1 {
            return (redis, subscription, notes);
        }
        subscription.close().await;
    }
    panic!("no subscription went to {}", node.addr());
}

pub(crate) fn gaps(notes: &Notes) -> usize {
    notes.events().iter().filter(|event| matches!(event, SubscriptionEvent::Gap { .. })).count()
}

/// The node keeps answering pings after it has left.
/// Ablation: `Anywhere::leads_to` that is always true fails with `never saw the gap`.
#[actix::test]
async fn a_subscription_leaves_a_node_that_has_left_the_cluster() {
    let cluster = aside(|| {
        let mut cluster = cluster(RedisCluster::builder());
        let leaving = cluster.add_node().expect("started").port();
        let node = cluster.nodes().iter().find(|node| node.port() == leaving).expect("there");
        cluster.migrate(0..=0, node).expect("moved");
        cluster.wait_well_without(&[]).expect("well");
        Arc::new(cluster)
    })
    .await;
    let (leaving, staying) = cluster.nodes().split_last().expect("nodes");
    let (_redis, _subscription, notes) = subscribed_at(&cluster, leaving, "c").await;
    staying[0].command(["PUBLISH", "test:c", "before"]).expect("asked").int().expect("a number");
    notes.payload("before").await;
    let moving = cluster.clone();
    aside(move || moving.migrate(0..=0, &moving.nodes()[0]).expect("moved")).await;
    let id = leaving.command(["CLUSTER", "MYID"]).expect("asked").text().expect("an id");
    for node in staying {
        node.command(["CLUSTER", "FORGET", &id]).expect("asked").ok().expect("forgotten");
    }
    leaving.command(["CLUSTER", "RESET"]).expect("asked").ok().expect("reset");
    eventually("the gap", || (gaps(&notes) == 1).then_some(())).await;
    for nth in 0..20 {
        staying[nth % 3]
            .command(["PUBLISH", "test:c", &format!("after {nth}")])
            .expect("asked")
            .int()
            .expect("a number");
    }
    for nth in 0..20 {
        notes.payload(&format!("after {nth}")).await;
    }
    assert_eq!(gaps(&notes), 1, "{:?}", notes.events());
    assert_eq!(subscribers(leaving, "test:c"), 0);
}
