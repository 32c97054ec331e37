//! Commands that wait, on a cluster: on a link to the node that has their keys.

use std::{sync::Arc, time::Duration};

use crate::cluster_support::{aside, cluster, joined, migrate, slot_of};
use crate::support::eventually;
use redis_actix::prelude::*;
use redis_actix_test::RedisCluster;

#[actix::test]
async fn who_waits_waits_where_the_key_is_and_is_let_go_there() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    let pops: Vec<_> = (0..9)
        .map(|nth| redis.send(BLPop::new([format!("queue{nth}")], Duration::from_secs(15)).typed::<String>()))
        .collect();
    let blocked = |node: &redis_actix_test::RedisServer| {
        let info = node.command(["INFO", "clients"]).expect("asked").text().expect("text");
        let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).expect("a count");
        line.trim().parse::<usize>().expect("a number")
    };
    eventually("nine that wait", || (cluster.nodes().iter().map(blocked).sum::<usize>() == 9).then_some(())).await;
    assert!(cluster.nodes().iter().filter(|node| blocked(node) > 0).count() > 1, "at several nodes");
    for nth in 0..9 {
        redis.send(LPush::new(format!("queue{nth}"), [nth.to_string()])).await.expect("pushed");
    }
    for (nth, pop) in pops.into_iter().enumerate() {
        let popped = pop.await.expect("popped").expect("a value");
        assert_eq!(popped.value, nth.to_string());
    }
    // The caller has left: CLIENT UNBLOCK goes to the node where the command waits.
    drop(redis.send(BLPop::new(["queue1"], Duration::from_secs(60)).typed::<String>()));
    let waiting = redis.send(BLPop::new(["queue2"], Duration::from_secs(60)).typed::<String>());
    eventually("one that waits", || (cluster.nodes().iter().map(blocked).sum::<usize>() == 1).then_some(())).await;
    // Its slot goes to another node, and so does it.
    let slot = slot_of(&redis, "queue2");
    let from = cluster.owner(slot).expect("an owner").port();
    let to = cluster.nodes().iter().find(|node| node.port() != from).expect("another one").port();
    migrate(&cluster, slot, to).await;
    redis.send(LPush::new("queue2", ["late"])).await.expect("pushed");
    let popped = tokio::time::timeout(Duration::from_secs(15), waiting).await.expect("in time");
    match popped {
        Ok(popped) => assert_eq!(popped.expect("a value").value, "late"),
        // Some servers unblock waiting clients when the slot moves, with an error.
        Err(error) => assert_eq!(error.code(), Some("UNBLOCKED"), "{error}"),
    }
}
