//! Commands of the crate's own are not in the statistics of callers.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix_test::{RedisCluster, RedisServer};

use crate::cluster_support::joined;
use crate::pubsub_support::Notes;
use crate::support::{aside, eventually};

/// How often a server has run a command.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = server.command(["INFO", "commandstats"]).expect("asked").text().expect("text").to_owned();
    let calls =
        stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls="))?.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

/// A subscription asks nodes of the cluster every two seconds whether its node is cut off.
///
/// Ablation: without `own` on CLUSTER NODES, an idle handle has answered commands: "left: 4, right: 0".
#[actix::test]
async fn checks_of_a_subscription_are_not_counted_as_commands_of_callers() {
    let cluster = aside(|| Arc::new(RedisCluster::start().unwrap_or_else(|error| panic!("{error}")))).await;
    let redis = joined(&cluster).start().expect("started");
    let (inbox, _notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
    let checks = || cluster.nodes().iter().map(|node| calls(node, "cluster|nodes")).sum::<u64>();
    let (answered, before) = (redis.stats().answered, checks());
    eventually("two checks", || (checks() >= before + 4).then_some(())).await;
    assert_eq!(redis.stats().answered, answered);
}
