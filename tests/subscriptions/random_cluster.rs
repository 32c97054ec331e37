//! Subscriptions while a cluster changes in every way that it can: every published message is delivered, or a gap says that some is
//! missing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_actix::prelude::*;
use redis_actix_test::{RedisCluster, RedisServer};

use crate::cluster_support::{aside, cluster, joined, slot_of_name};
use crate::pubsub_support::Notes;
use crate::support::{TIME_LIMIT, eventually};
use crate::{complete, complete_from_any_node};

/// How long changes go on.
const DURATION: Duration = Duration::from_secs(20);

/// One channel that reaches every node, and one that belongs to a slot.
struct Channel {
    shard: bool,
    notes: Notes,
    published: u64,
}

const NAME: &str = "test:c";
const SHARD: &str = "test:s";

impl Channel {
    /// Publishes the next number at a node that can. One that cannot has published nothing.
    fn publish(&mut self, cluster: &RedisCluster) {
        let number = self.published.to_string();
        let at = |node: &RedisServer, command: &str, channel: &str| -> std::io::Result<i64> {
            let mut connection = node.connect()?;
            connection.set_timeout(Duration::from_millis(500));
            connection.command([command, channel, &number])?.int()
        };
        let published = if self.shard {
            cluster.owner(slot_of_name(SHARD)).and_then(|owner| at(owner, "SPUBLISH", SHARD))
        } else {
            // A node that has just been started has no links to the others, and what it publishes reaches none of them. This
            // one is never restarted.
            at(&cluster.nodes()[0], "PUBLISH", NAME)
        };
        self.published += u64::from(published.is_ok());
    }
}

/// What can happen to a cluster.
#[derive(Debug, Clone, Copy)]
enum Change {
    MoveSlot,
    FailOver,
    Restart,
    KillLinks,
    Leave,
}

const CHANGES: [Change; 6] =
    [Change::MoveSlot, Change::FailOver, Change::KillLinks, Change::Restart, Change::MoveSlot, Change::Leave];

/// Does one of these. The cluster is well again behind it.
fn change(cluster: &RedisCluster, what: Change, chance: &mut fastrand::Rng) -> std::io::Result<()> {
    let primaries: Vec<_> = cluster.primaries()?.into_iter().filter(|node| is_changed(cluster, node)).collect();
    let any = primaries[chance.usize(..primaries.len())];
    let slot = slot_of_name(SHARD);
    match what {
        Change::MoveSlot => cluster.migrate(slot..=slot, any)?,
        Change::FailOver => {
            // A planned one, at a replica that follows.
            let replica = cluster.nodes().iter().find(|node| {
                let role = node.command(["INFO", "replication"]).and_then(|info| info.text()).unwrap_or_default();
                role.contains("role:slave") && role.contains("master_link_status:up")
            });
            if let Some(replica) = replica {
                replica.command(["CLUSTER", "FAILOVER"])?;
                let until = Instant::now() + TIME_LIMIT;
                while !replica.command(["INFO", "replication"])?.text()?.contains("role:master")
                    && Instant::now() < until
                {
                    std::thread::yield_now();
                }
            }
        }
        Change::Restart => any.restart()?,
        Change::KillLinks => {
            for node in cluster.nodes() {
                node.command(["CLIENT", "KILL", "TYPE", "PUBSUB"])?;
            }
        }
        Change::Leave => leave_and_join(cluster)?,
    }
    cluster.wait_well_without(&[])
}

/// All but the first one, at which messages are published.
fn is_changed(cluster: &RedisCluster, node: &RedisServer) -> bool {
    node.port() != cluster.nodes()[0].port()
}

/// A replica is forgotten by all and reset, and joins again.
fn leave_and_join(cluster: &RedisCluster) -> std::io::Result<()> {
    let is_replica = |node: &&RedisServer| {
        node.command(["ROLE"])
            .is_ok_and(|role| role.array().is_ok_and(|role| role[0].text().is_ok_and(|is| is == "slave")))
    };
    let mut others = cluster.nodes().iter().filter(|node| is_changed(cluster, node));
    // Not the one with the subscription: while it is on its own, it looks well to its clients and receives nothing.
    let has_subscribers = |node: &&RedisServer| {
        node.command(["CLIENT", "LIST", "TYPE", "PUBSUB"])
            .is_ok_and(|clients| clients.text().is_ok_and(|clients| !clients.is_empty()))
    };
    let Some(leaving) = others.find(|node| is_replica(node) && !has_subscribers(node)) else { return Ok(()) };
    let id = leaving.command(["CLUSTER", "MYID"])?.text()?;
    for node in cluster.nodes().iter().filter(|node| node.port() != leaving.port()) {
        node.command(["CLUSTER", "FORGET", &id])?;
    }
    leaving.command(["CLUSTER", "RESET", "HARD"])?;
    let first = cluster.primaries()?[0];
    leaving.command(["CLUSTER", "MEET", "127.0.0.1", &first.port().to_string()])?;
    let master = first.command(["CLUSTER", "MYID"])?.text()?;
    let until = Instant::now() + TIME_LIMIT;
    while leaving.command(["CLUSTER", "REPLICATE", &master])?.error().is_some() && Instant::now() < until {
        std::thread::yield_now();
    }
    Ok(())
}

/// Ablation: without the gap for a lost link (`Member::lost`) fails with "event 46 is 60, 46 is missing without a gap".
#[actix::test]
async fn every_message_is_delivered_or_covered_by_a_gap_whatever_a_cluster_does() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1).arg("--appendonly", "no")))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let (mut channels, mut subscriptions) = (Vec::new(), Vec::new());
    for (shard, topic) in [(false, Topic::channel("c")), (true, Topic::shard("s"))] {
        let (inbox, notes) = Notes::inbox();
        subscriptions.push(redis.subscribe([topic], inbox.recipient()).await.expect("confirmed"));
        channels.push(Channel { shard, notes, published: 0 });
    }
    let (clock, mut log) = (Instant::now(), Vec::new());
    let mut each_once = CHANGES.iter().copied();
    while clock.elapsed() < DURATION {
        let what = each_once.next().unwrap_or_else(|| CHANGES[chance.usize(..CHANGES.len())]);
        log.push(what);
        let (at, mut own) = (cluster.clone(), chance.fork());
        let changing = aside(move || change(&at, what, &mut own));
        tokio::pin!(changing);
        loop {
            let at = cluster.clone();
            channels = aside(move || {
                for channel in &mut channels {
                    for _ in 0..5 {
                        channel.publish(&at);
                    }
                }
                channels
            })
            .await;
            if let std::task::Poll::Ready(done) = futures_util::poll!(&mut changing) {
                done.unwrap_or_else(|error| panic!("{what:?}: {error}, seed {seed}"));
                break;
            }
        }
    }
    // Messages published from now on arrive, once the subscriptions are back.
    for channel in &mut channels {
        let last = channel.published;
        let arrived = |channel: &Channel| {
            let numbers = channel.notes.payloads();
            numbers.iter().any(|number| number.parse::<u64>().is_ok_and(|number| number >= last))
        };
        eventually("a message behind the last change", || {
            channel.publish(&cluster);
            arrived(channel).then_some(())
        })
        .await;
        let check = if channel.shard { complete } else { complete_from_any_node };
        println!("{log:?}, sharded: {}", channel.shard);
        println!("{} published, gaps and messages: {:?}", channel.published, check(&channel.notes.events()));
    }
}
