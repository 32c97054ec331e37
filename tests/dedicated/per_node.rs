//! In a cluster, connections of their own are shared by all slots of a node.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix_test::{RedisCluster, RedisServer};

use crate::cluster_support::{aside, cluster, joined};

fn dials(cluster: &RedisCluster) -> i64 {
    let received = |node: &RedisServer| {
        let info = node.command(["INFO", "stats"]).expect("asked").text().expect("text");
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).expect("a count");
        // This question is a connection as well.
        line.trim().parse::<i64>().expect("a number") - 1
    };
    cluster.nodes().iter().map(received).sum()
}

/// Issue 16, row 17.
///
/// Ablation: a connection for each slot fails with `100 watches took 10.. dials`.
#[actix::test]
async fn watches_of_many_slots_take_one_connection_per_node() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.send(Set::new("warm", 1)).await.expect("written");
    let before = dials(&cluster);
    for nth in 0..100 {
        let key = format!("key{nth}");
        let set = redis.watch([key.as_str()], |tx| {
            let key = key.clone();
            async move {
                let seen: Option<i64> = tx.send(Get::new(key.as_str())).await?;
                Ok(Some(Transaction::new((Set::new(key.as_str(), seen.unwrap_or(0) + 1),))))
            }
        });
        set.await.expect("run").expect("run");
    }
    // Nodes dial each other, and the cluster is looked at now and then.
    let dialled = dials(&cluster) - before;
    assert!(dialled < 30, "100 watches took {dialled} dials");
}
