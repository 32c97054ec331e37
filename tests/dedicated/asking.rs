//! Connections of their own while a slot moves.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix_test::{RedisCluster, RedisServer};

use crate::cluster_support::{aside, cluster, joined, slot_of};
use crate::support::TIME_LIMIT;
use crate::waiting;

fn ask(node: &RedisServer, words: &[&str]) -> String {
    let reply = node.command(words).expect("asked");
    assert!(reply.error().is_none(), "{words:?}: {reply:?}");
    reply.text().unwrap_or_default()
}

/// Begins to move the slot of `{q}`: the slot, the node that has it, and the one that is to get it.
fn begin_to_move<'a>(cluster: &'a RedisCluster, redis: &Redis) -> (String, &'a RedisServer, &'a RedisServer) {
    let slot = slot_of(redis, "{q}");
    let from = cluster.owner(slot).expect("an owner");
    let to = cluster.nodes().iter().find(|node| node.port() != from.port()).expect("another one");
    let slot = slot.to_string();
    ask(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ask(from, &["CLUSTER", "MYID"])]);
    ask(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ask(to, &["CLUSTER", "MYID"])]);
    (slot, from, to)
}

/// Ablation: with the link kept that an ASK had named it fails with `in time: Elapsed(())`.
#[actix::test]
async fn a_wait_goes_back_to_the_owner_when_the_move_of_its_slot_is_cancelled() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.send(Set::new("warm", 1)).await.expect("written");
    let (slot, from, to) = begin_to_move(&cluster, &redis);
    let pop = redis.send(BLPop::new(["{q}:l"], TIME_LIMIT * 2).typed::<String>());
    waiting(to, 1).await;
    for node in [to, from] {
        ask(node, &["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    }
    redis.send(RPush::new("{q}:l", ["x"])).await.expect("pushed");
    let pop = tokio::time::timeout(TIME_LIMIT, pop).await.expect("in time").expect("popped");
    assert_eq!(pop.expect("an element").value, "x");
}

/// Ablation: with a question that does not follow ASK it fails with `clients that wait` never seen.
#[actix::test]
async fn a_read_from_dollar_follows_ask_to_the_importing_node() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.send(Set::new("warm", 1)).await.expect("written");
    let (_, _, to) = begin_to_move(&cluster, &redis);
    redis.send(XAdd::new("{q}:s").field("f", "before")).await.expect("added");
    let mut read = redis::cmd("XREAD");
    read.arg("BLOCK").arg(20_000).arg("STREAMS").arg("{q}:s").arg("$");
    let read = redis.send(Raw::<redis_actix::Value>::from_cmd(&read).expect("known"));
    waiting(to, 1).await;
    redis.send(XAdd::new("{q}:s").field("f", "later")).await.expect("added");
    let page = format!("{:?}", tokio::time::timeout(TIME_LIMIT, read).await.expect("in time").expect("read"));
    assert!(page.contains("later") && !page.contains("before"), "{page}");
}

/// Issue 16, row 12.
///
/// Ablation: without ASKING they fail with `ASK`, the wait with `clients that wait` never seen.
#[actix::test]
async fn waits_watches_and_pipelines_follow_ask_to_the_importing_node() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.send(Set::new("warm", 1)).await.expect("written");
    let (slot, from, to) = begin_to_move(&cluster, &redis);
    let to_id = ask(to, &["CLUSTER", "MYID"]);

    let pop = redis.send(BLPop::new(["{q}:l"], TIME_LIMIT).typed::<String>());
    waiting(to, 1).await;
    redis.send(RPush::new("{q}:l", ["x"])).await.expect("pushed");
    assert_eq!(pop.await.expect("popped").expect("an element").value, "x");

    let watched = redis.watch(["{q}:k"], |tx| async move {
        let before: Option<i64> = tx.send(Get::new("{q}:k")).await?;
        let (_, again) = tx.send(Pipeline::new((Get::<i64>::new("{q}:k"), Get::<i64>::new("{q}:k")))).await?;
        assert_eq!(before, again);
        Ok(Some(Transaction::new((Incr::new("{q}:k"), Incr::new("{q}:k")))))
    });
    assert_eq!(watched.await.expect("run").expect("run"), (1, 2));

    let both = Pipeline::new((Set::new("{q}:w", 5), Wait::new(0, crate::support::ms(10)), Get::<i64>::new("{q}:w")));
    let (_, _, seen) = redis.send(both).await.expect("run");
    assert_eq!(seen, Some(5));

    // The move ends, and connections leased for the slot go to its owner.
    for node in [to, from] {
        ask(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    let both = Pipeline::new((Incr::new("{q}:w"), Wait::new(0, crate::support::ms(10))));
    assert_eq!(redis.send(both).await.expect("run").0, 6);
    let pop = redis.send(BLPop::new(["{q}:l"], TIME_LIMIT).typed::<String>());
    waiting(to, 1).await;
    redis.send(RPush::new("{q}:l", ["y"])).await.expect("pushed");
    assert_eq!(pop.await.expect("popped").expect("an element").value, "y");
}
