//! Stream consumers on a cluster: the reader is where the slot of the stream is.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::cluster_support::{aside, cluster, config, fail_over, migrate, slot_of};
use crate::stream_support::{Events, Job, Recorder, Recording, eventually, quick};
use crate::support::ms;
use crate::support::replicas::{calls, replicas_ready};
use redis_actix::prelude::*;
use redis_actix::{ConsumerGroup, Redis, StreamConsumer, StreamEventKind};
use redis_actix_test::RedisCluster;

async fn begin(cluster: &RedisCluster, handler: &Recording, events: &Events) -> (Redis, StreamConsumer) {
    let redis = crate::support::hasty(config(cluster).command_timeout(ms(15_000))).start().expect("started");
    let consumer = quick("orders", "billing").dead_letter("{orders}:dlq").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).expect("started");
    (redis, consumer)
}

async fn add(redis: &Redis, numbers: std::ops::Range<u64>) {
    for n in numbers {
        redis.send(XAdd::new("orders").entry(&Job { n }).unwrap().idempotent()).await.expect("added");
    }
}

async fn all_handled(handler: &Recording, consumer: &StreamConsumer, many: usize) {
    eventually(&format!("{many} handled"), async || handler.distinct() >= many).await;
    eventually("all acknowledged", async || consumer.stats().await.unwrap().unacknowledged == 0).await;
}

fn groups_made(events: &Events) -> usize {
    events.count(|kind| matches!(kind, StreamEventKind::GroupCreated))
}

/// Scenario 26. Ablation: with a reader that stays where it was dialled nothing is read behind a move ("not within 20s:
/// 300 handled").
#[actix::test]
async fn the_slot_of_the_stream_moves_and_the_consumer_follows() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let (handler, events) = (Recorder::start_with(|_| Outcome::Ack), Events::watch());
    let (redis, consumer) = begin(&cluster, &handler, &events).await;
    add(&redis, 0..100).await;
    all_handled(&handler, &consumer, 100).await;
    let made = groups_made(&events);
    let slot = slot_of(&redis, "orders");
    for (round, to) in [(1, 0), (2, 1), (3, 2), (4, 0)] {
        let (before, after) = (round * 200, round * 200 + 100);
        let adding = actix::spawn({
            let redis = redis.clone();
            async move { add(&redis, before - 100..after).await }
        });
        migrate(&cluster, slot, cluster.nodes()[to].port()).await;
        adding.await.expect("added");
        all_handled(&handler, &consumer, usize::try_from(after).unwrap()).await;
    }
    assert_eq!(groups_made(&events), made, "the group moved with its stream");
    eventually("an empty pending list", async || {
        redis.send(XPending::new("orders", "billing")).await.unwrap().count == 0
    })
    .await;
    consumer.drain(Duration::from_secs(5)).await.expect("drained");
}

/// Scenarios 3 and 4: the primary of the stream is demoted under a blocked read, and then killed.
#[actix::test]
async fn the_primary_of_the_stream_is_replaced_and_nothing_is_lost() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await;
    let (handler, events) = (Recorder::start_with(|_| Outcome::Ack), Events::watch());
    let (redis, consumer) = begin(&cluster, &handler, &events).await;
    add(&redis, 0..100).await;
    all_handled(&handler, &consumer, 100).await;
    let (made, slot) = (groups_made(&events), slot_of(&redis, "orders"));
    let demoting = cluster.clone();
    aside(move || {
        let owner = demoting.owner(slot).expect("an owner").port();
        let of =
            demoting.owner(slot).expect("an owner").command(["CLUSTER", "MYID"]).expect("asked").text().expect("an id");
        let is_its = |node: &&redis_actix_test::RedisServer| {
            let nodes = node.command(["CLUSTER", "NODES"]).expect("asked").text().expect("text");
            nodes.lines().any(|line| line.contains("myself") && line.contains("slave") && line.contains(&of))
        };
        let replica = demoting.nodes().iter().find(is_its).expect("a replica");
        replica.command(["CLUSTER", "FAILOVER"]).expect("asked").ok().expect("begun");
        demoting.wait_well_without(&[]).expect("well");
        let deadline = std::time::Instant::now() + Duration::from_secs(15);
        while demoting.owner(slot).expect("an owner").port() == owner {
            assert!(std::time::Instant::now() < deadline, "never demoted");
        }
    })
    .await;
    add(&redis, 100..200).await;
    all_handled(&handler, &consumer, 200).await;
    assert_eq!(groups_made(&events), made, "no group was made again");
    // The demoted one is the replica now; the promoted one dies. Its cluster is down until it is replaced.
    let adding = actix::spawn({
        let redis = redis.clone();
        async move { add(&redis, 200..400).await }
    });
    fail_over(&cluster, slot, &mut Vec::new()).await;
    adding.await.expect("added");
    all_handled(&handler, &consumer, 400).await;
    assert_eq!(groups_made(&events), made, "no group was made again");
    let twice = handler.seen().len() - 400;
    println!("400 handled, {twice} of them twice");
    consumer.drain(Duration::from_secs(5)).await.expect("drained");
}

/// What the crate concludes from its own reads is right only if they are not old, whatever the connection's default is.
///
/// Ablation: with a handle that keeps the default, XPENDING and XINFO are answered by the replica.
#[actix::test]
async fn what_consumers_ask_for_themselves_is_answered_by_the_primary() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await;
    let config = config(&cluster).read_from(ReadFrom::Replica).command_timeout(ms(15_000));
    let redis = crate::support::hasty(config).start().expect("started");
    replicas_ready(&redis, &(0..60).map(|nth| format!("k{nth}")).collect::<Vec<_>>(), 3).await;
    let (handler, events) = (Recorder::start_with(|_| Outcome::Ack), Events::watch());
    let consumer = quick("orders", "billing").dead_letter("{orders}:dlq").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).expect("started");
    add(&redis, 0..100).await;
    all_handled(&handler, &consumer, 100).await;
    let group = ConsumerGroup::new(&redis, "orders", "billing");
    assert_eq!(group.consumers().await.expect("listed").len(), 1);
    let dead = DeadLetters::new(&redis, "orders", "billing");
    assert_eq!(dead.count().await.expect("counted"), 0);
    consumer.drain(Duration::from_secs(5)).await.expect("drained");
    let asked = |command: &str| cluster.nodes()[3..].iter().map(|replica| calls(replica, command)).sum::<u64>();
    for command in ["xpending", "xinfo|groups", "xinfo|stream", "xinfo|consumers", "xrange", "xlen", "exists"] {
        assert_eq!(asked(command), 0, "{command} at replicas");
    }
    // What a caller reads is another matter.
    redis.send(XLen::new("orders")).await.expect("read");
    assert_eq!(asked("xlen"), 1);
}

/// How often a node has said that the cluster is down.
fn said_down(node: &redis_actix_test::RedisServer) -> u64 {
    let errors = node.command(["INFO", "errorstats"]).expect("asked").text().expect("text");
    let line = errors.lines().find_map(|line| line.strip_prefix("errorstat_CLUSTERDOWN:count="));
    line.map_or(0, |count| count.trim().parse().expect("a number"))
}

/// Scenario 27, its third part: a primary that has no replica is gone, and all others answer CLUSTERDOWN, to the read that
/// waits, to acknowledgements and to appends. Entries are in flight all the time. Ablation: with CLUSTERDOWN given to
/// callers what could have waited is refused.
#[actix::test]
async fn scenario_27_the_cluster_goes_down_under_a_consumer_and_comes_back() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let handler = Recorder::working(|_| async {
        // Slower than entries are added, so that some are in flight whenever the cluster goes down.
        tokio::time::sleep(ms(20)).await;
        Outcome::Ack
    });
    let events = Events::watch();
    let (redis, consumer) = begin(&cluster, &handler, &events).await;
    add(&redis, 0..50).await;
    all_handled(&handler, &consumer, 50).await;
    let (made, slot) = (groups_made(&events), slot_of(&redis, "orders"));
    let owner = cluster.owner(slot).expect("an owner");
    let other = cluster.nodes().iter().find(|node| node.port() != owner.port()).expect("another one");
    let mut added = 50;
    for _ in 0..2 {
        let over = Rc::new(Cell::new(false));
        let adding = actix::spawn({
            let (redis, over, mut n) = (redis.clone(), over.clone(), added);
            async move {
                while !over.get() {
                    // Once and no more: what a node refuses in these words has not run.
                    redis.send(XAdd::new("orders").entry(&Job { n }).unwrap()).await.expect("added");
                    n += 1;
                    // The pace of the load.
                    tokio::time::sleep(ms(5)).await;
                }
                n
            }
        });
        eventually("some of them", async || handler.distinct() as u64 > added + 10).await;
        let before = said_down(owner);
        other.kill().expect("killed");
        eventually("that the cluster is down", async || said_down(owner) > before + 10).await;
        // For longer than `min_idle`, after which another consumer could claim the entries in flight.
        let (down, handled) = (Instant::now(), handler.distinct());
        eventually("the entries in flight being old", async || down.elapsed() > ms(900)).await;
        other.restart().expect("restarted");
        eventually("more of them", async || handler.distinct() > handled + 50).await;
        over.set(true);
        added = adding.await.expect("no panic");
        all_handled(&handler, &consumer, usize::try_from(added).unwrap()).await;
    }
    crate::stream_support::settled(&redis).await;
    assert_eq!(groups_made(&events), made, "the group is where it was");
    let seen = handler.seen();
    assert_eq!((seen.len(), handler.distinct()), (added as usize, added as usize), "each once");
    assert!(seen.iter().all(|seen| seen.attempt == 1), "delivered once: {seen:?}");
    assert_eq!(consumer.stats().await.unwrap().state, "live");
    consumer.drain(Duration::from_secs(5)).await.expect("drained");
}
