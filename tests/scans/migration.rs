//! Walks over a cluster while slots move: keys are at two nodes, and go from one to the other behind the walk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis_actix::prelude::*;
use redis_actix::{ErrorKind, MSet};
use redis_actix_test::{RedisCluster, RedisServer, Reply};

use super::{count, fill, keys, missing, take, text};
use crate::cluster_support::{aside, cluster, joined, slot_of};
use crate::support::TIME_LIMIT;

const KEYS: usize = 3_000;
/// Keys of the one slot that moves.
const MOVING: usize = 600;

/// Keys `{tag}0` and so on, whose slot belongs to the last primary, which is walked last.
async fn fill_last_slot(redis: &Redis, cluster: &RedisCluster) -> (String, u16) {
    let last = cluster.nodes()[2].port();
    let tag = (0..)
        .map(|nth| format!("{{tag{nth}}}"))
        .find(|tag| cluster.owner(slot_of(redis, tag)).expect("an owner").port() == last);
    let tag = tag.expect("one of many");
    redis.send(MSet::new((0..MOVING).map(|nth| (format!("{tag}{nth}"), nth)))).await.expect("written");
    let slot = slot_of(redis, &tag);
    (tag, slot)
}

/// A slot on its way from one node to another.
struct Move<'a> {
    slot: String,
    from: &'a RedisServer,
    to: &'a RedisServer,
}

impl<'a> Move<'a> {
    fn begin(slot: u16, from: &'a RedisServer, to: &'a RedisServer) -> Self {
        let moving = Self { slot: slot.to_string(), from, to };
        moving.set(to, ["IMPORTING", &id(from)]);
        moving.set(from, ["MIGRATING", &id(to)]);
        moving
    }

    fn set(&self, node: &RedisServer, how: [&str; 2]) {
        let command = ["CLUSTER", "SETSLOT", &self.slot, how[0], how[1]];
        node.command(command).expect("asked").ok().expect("set");
    }

    /// Moves all keys but `count`.
    fn keys(&self, but: usize) {
        let keys = self.from.command(["CLUSTER", "GETKEYSINSLOT", &self.slot, "100000"]).expect("asked");
        let keys: Vec<_> = keys.array().expect("keys").iter().filter_map(Reply::bytes).skip(but).collect();
        let port = self.to.port().to_string();
        let head: [&[u8]; 7] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000", b"KEYS"];
        self.from.command(head.into_iter().chain(keys)).expect("asked").ok().expect("moved");
    }

    fn end(&self, cluster: &RedisCluster) {
        let owner = id(self.to);
        self.set(self.to, ["NODE", &owner]);
        for node in cluster.nodes().iter().filter(|node| node.port() != self.to.port()) {
            self.set(node, ["NODE", &owner]);
        }
    }
}

fn id(node: &RedisServer) -> String {
    node.command(["CLUSTER", "MYID"]).expect("asked").text().expect("an id")
}

fn missing_of(tag: &str, seen: &[String]) -> usize {
    (0..MOVING).filter(|nth| !seen.contains(&format!("{tag}{nth}"))).count()
}

/// Walks all nodes but the last one, and its first page.
async fn walk_to_last(
    redis: &Redis,
    cluster: &RedisCluster,
    walk: &mut redis_actix::ScanStream<Vec<u8>>,
) -> Vec<String> {
    let last = cluster.nodes()[2].port();
    let mut seen = Vec::new();
    loop {
        let key = text(take(walk, 1).await).pop().expect("a key of the last node");
        let owner = cluster.owner(slot_of(redis, &key)).expect("an owner").port();
        seen.push(key);
        if owner == last {
            return seen;
        }
    }
}

async fn started(primaries: usize) -> (RedisCluster, Redis) {
    let mut cluster = aside(|| cluster(RedisCluster::builder())).await;
    if primaries > 3 {
        cluster = aside(move || {
            cluster.add_node().expect("a node without slots");
            cluster
        })
        .await;
    }
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    fill(&redis, KEYS).await;
    (cluster, redis)
}

/// The slot stays half moved: the target was walked before, and has to be walked again.
///
/// Ablation: slots judged by the topology alone fail with "keys are missing".
#[actix::test]
async fn every_key_of_a_half_moved_slot_is_returned() {
    let (cluster, redis) = started(3).await;
    let (tag, slot) = fill_last_slot(&redis, &cluster).await;
    let mut walk = keys(&redis);
    let mut seen = walk_to_last(&redis, &cluster, &mut walk).await;
    let moving = Move::begin(slot, &cluster.nodes()[2], &cluster.nodes()[0]);
    moving.keys(1);
    seen.extend(text(take(&mut walk, usize::MAX).await));
    let lost = (missing(KEYS, seen.clone()), missing_of(&tag, &seen));
    assert_eq!(lost, (0, 0), "keys are missing");
    // Keys of a half-moved slot are counted once.
    assert_eq!(count(&redis).await.expect("counted"), (KEYS + MOVING) as u64);
}

/// The move is over before the client learns of it.
///
/// Ablation: slots judged by the topology alone fail with "keys are missing".
#[actix::test]
async fn every_key_of_a_slot_that_moves_unnoticed_is_returned() {
    let (cluster, redis) = started(3).await;
    let (tag, slot) = fill_last_slot(&redis, &cluster).await;
    let mut walk = keys(&redis);
    let mut seen = walk_to_last(&redis, &cluster, &mut walk).await;
    let moving = Move::begin(slot, &cluster.nodes()[2], &cluster.nodes()[0]);
    moving.keys(0);
    moving.end(&cluster);
    seen.extend(text(take(&mut walk, usize::MAX).await));
    let lost = (missing(KEYS, seen.clone()), missing_of(&tag, &seen));
    assert_eq!(lost, (0, 0), "keys are missing");
}

/// A node that owns no slot so far cannot be walked.
#[actix::test]
async fn a_walk_ends_with_an_error_while_a_slot_moves_to_a_node_without_slots_and_goes_on_behind_it() {
    let (cluster, redis) = started(4).await;
    let (tag, slot) = fill_last_slot(&redis, &cluster).await;
    let moving = Move::begin(slot, &cluster.nodes()[2], &cluster.nodes()[3]);
    moving.keys(1);
    let mut walk = keys(&redis);
    let (mut seen, mut failed) = (Vec::new(), None);
    while let Some(item) = walk.next().await {
        match item {
            Ok(key) => seen.push(String::from_utf8(key).expect("text")),
            Err(error) => failed = Some(error),
        }
    }
    let error = failed.expect("incomplete");
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(error.to_string().contains("being moved to a node that owns no slots"), "{error}");
    moving.keys(0);
    moving.end(&cluster);
    walk.resume();
    seen.extend(text(take(&mut walk, usize::MAX).await));
    let lost = (missing(KEYS, seen.clone()), missing_of(&tag, &seen));
    assert_eq!(lost, (0, 0), "keys are missing");
}

/// Slots move at random. Every key that is there all the time is returned, or the walk says that
/// it is not complete.
///
/// Ablation: slots judged by the topology alone fail with "keys are missing".
#[actix::test]
async fn walks_of_a_cluster_are_complete_whatever_moves_meanwhile() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    fill(&redis, KEYS).await;
    let (tag, slot) = fill_last_slot(&redis, &cluster).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let moving = tokio::task::spawn_blocking({
        let (cluster, is_over, mut chance) = (cluster.clone(), is_over.clone(), fastrand::Rng::with_seed(seed));
        move || {
            let mut moves = 0;
            // A scan cannot end while the topology is outdated by the next move each time: then moves end before it.
            let clock = Instant::now();
            while !is_over.load(Ordering::SeqCst) && clock.elapsed() < Duration::from_secs(20) {
                // A node that is being replaced refuses: then another slot follows.
                let first = chance.u16(..16_300);
                let slots = if chance.bool() { slot..=slot } else { first..=first + 20 };
                let primaries = cluster.primaries().unwrap_or_default();
                if let Some(to) = primaries.get(chance.usize(..primaries.len().max(1))) {
                    moves += u32::from(cluster.migrate(slots, to).is_ok());
                }
            }
            moves
        }
    });
    let (clock, mut walks, mut errors) = (Instant::now(), 0, 0);
    while clock.elapsed() < Duration::from_secs(20) {
        let (mut walk, mut seen, mut is_complete) = (keys(&redis), Vec::new(), true);
        while let Some(item) = walk.next().await {
            match item {
                Ok(key) => seen.push(String::from_utf8(key).expect("text")),
                Err(_) => (is_complete, errors) = (false, errors + 1),
            }
        }
        walks += 1;
        let lost = (missing(KEYS, seen.clone()), missing_of(&tag, &seen));
        assert!(!is_complete || lost == (0, 0), "{lost:?} keys are missing in walk {walks}, seed {seed}");
    }
    is_over.store(true, Ordering::SeqCst);
    let moves = moving.await.expect("no panic");
    println!("{walks} walks, {errors} of them incomplete by their own word, {moves} moves");
    assert!(walks > errors, "none was complete");
}
