//! Servers that are replaced by others during a walk.

use std::sync::Arc;

use redis_actix::{HSet, RedisConfig, ScanHash};
use redis_actix_test::{RedisCluster, SentinelSet};

use super::{fill, keys, missing, take, text};
use crate::cluster_support::{cluster, fail_over, joined, migrate, slot_of};
use crate::support::{TIME_LIMIT, aside, eventually, hasty};

const KEYS: usize = 3_000;

/// Ablation: a cursor that is used at whatever server is there fails with `keys are missing`.
#[actix::test]
async fn every_key_of_a_cluster_is_returned_when_a_primary_is_replaced_during_the_walk() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    fill(&redis, KEYS).await;
    let mut walk = keys(&redis);
    // The owner of slot 0 is walked first.
    let mut seen = take(&mut walk, KEYS / 6).await;
    let mut dead = Vec::new();
    fail_over(&cluster, 0, &mut dead).await;
    seen.extend(take(&mut walk, usize::MAX).await);
    let missing = missing(KEYS, text(seen));
    assert_eq!(missing, 0, "{missing} keys are missing");
}

/// The field names stay the same, the table that has them is another one's.
/// Ablation: a cursor that is used at whatever server is there fails with `fields are missing`.
#[actix::test]
async fn every_field_is_returned_when_its_slot_moves_during_the_walk() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    redis.send((0..KEYS).fold(HSet::new("h"), |set, n| set.field(format!("k{n}"), n))).await.expect("written");
    let slot = slot_of(&redis, "h");
    let owner = cluster.owner(slot).expect("an owner").port();
    let other = cluster.nodes().iter().map(redis_actix_test::RedisServer::port).find(|port| *port != owner);
    let mut walk = redis.scan_hash::<String, u64>(ScanHash::new("h").count(100));
    let mut seen = take(&mut walk, KEYS / 2).await;
    migrate(&cluster, slot, other.expect("another node")).await;
    seen.extend(take(&mut walk, usize::MAX).await);
    let missing = missing(KEYS, seen.into_iter().map(|(name, _)| name));
    assert_eq!(missing, 0, "{missing} fields are missing");
}

/// Ablation: a cursor that is used at whatever server is there fails with `keys are missing`.
#[actix::test]
async fn every_key_is_returned_when_sentinels_replace_the_master_during_the_walk() {
    let set = aside(|| Arc::new(SentinelSet::start().unwrap_or_else(|error| panic!("{error}")))).await;
    let config =
        RedisConfig::builder().sentinel(set.hosts(), set.name()).key_prefix("test:").command_timeout(TIME_LIMIT);
    let redis = hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    fill(&redis, KEYS).await;
    let mut walk = keys(&redis);
    let mut seen = take(&mut walk, KEYS / 2).await;
    let old = set.master().expect("a master");
    let replicated = || {
        let replication = old.command(["INFO", "replication"]).expect("asked").text().expect("text");
        let field =
            |name: &str| replication.lines().find_map(|line| line.split_once(name).map(|(_, rest)| rest.to_owned()));
        let behind = field("slave0:")
            .and_then(|line| line.split(',').find_map(|word| word.strip_prefix("offset=").map(str::to_owned)));
        behind.is_some() && behind == field("master_repl_offset:")
    };
    eventually("that the replica has everything", || replicated().then_some(())).await;
    let port = old.port();
    let switching = set.clone();
    aside(move || switching.sentinels()[0].command(["SENTINEL", "FAILOVER", switching.name()]).expect("asked").ok())
        .await
        .expect("begun");
    eventually("another master", || (set.master().expect("a master").port() != port).then_some(())).await;
    old.kill().expect("killed");
    seen.extend(take(&mut walk, usize::MAX).await);
    let missing = missing(KEYS, text(seen));
    assert_eq!(missing, 0, "{missing} keys are missing");
}
