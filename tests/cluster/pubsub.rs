//! Subscriptions on a cluster.

use std::{sync::Arc, time::Duration};

use crate::cluster_support::{aside, cluster, config, fail_over, joined, migrate, slot_of};
use crate::pubsub_support::Notes;
use crate::support::{Diary, TIME_LIMIT, eventually, ms};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, LinkLimit, LinkRole, SPublish};
use redis_actix_test::{RedisCluster, RedisServer};

/// A message published at any node reaches every node, so one link receives all; the link moves to another node when its node dies.
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
    assert_eq!(of_subscriptions(&redis).len(), 0, "one link hears it all");
}

/// The links to single nodes, by their purpose.
fn of_subscriptions(redis: &Redis) -> Vec<String> {
    let links = redis.connection_info().links;
    let ours = links.into_iter().filter(|link| link.role == LinkRole::Subscriptions);
    let mut nodes: Vec<_> = ours.map(|link| link.purpose.expect("a node")).collect();
    nodes.sort();
    nodes
}

/// How many clients all nodes that run send a shard channel to, by its full name.
fn shard_subscribers(cluster: &RedisCluster, channel: &str) -> i64 {
    let of = |node: &RedisServer| {
        let reply = node.command(["PUBSUB", "SHARDNUMSUB", channel]).expect("asked");
        reply.array().expect("a list")[1].int().expect("a number")
    };
    cluster.nodes().iter().filter(|node| node.is_running()).map(of).sum()
}

async fn until_shard_subscribers(cluster: &RedisCluster, channel: &str, count: i64) {
    eventually(&format!("{count} subscribers of {channel}"), || {
        (shard_subscribers(cluster, channel) == count).then_some(())
    })
    .await;
}

/// Publishes until it is heard.
async fn publish_until_heard(redis: &Redis, notes: &Notes, channel: &str, payload: &str) {
    let deadline = std::time::Instant::now() + TIME_LIMIT;
    while !notes.payloads().iter().any(|seen| seen == payload) {
        assert!(std::time::Instant::now() < deadline, "{payload} is never heard: {:?}", notes.events());
        // A frozen node does not answer.
        let _ = tokio::time::timeout(ms(100), redis.send(SPublish::new(channel, payload))).await;
        tokio::time::sleep(ms(5)).await;
    }
}

fn is_gap(event: &SubscriptionEvent) -> bool {
    matches!(event, SubscriptionEvent::Gap { .. })
}

/// Gaps, however many losses each stands for.
fn gaps(notes: &Notes) -> usize {
    notes.events().iter().filter(|event| is_gap(event)).count()
}

/// Channels that all nodes of three primaries own some of.
fn channels() -> Vec<String> {
    (0..24).map(|nth| if nth % 4 == 0 { format!("{{t{nth}}}:{nth}") } else { format!("orders:{nth}") }).collect()
}

/// A cluster that is spoken to in RESP2.
fn old() -> redis_actix_test::RedisClusterBuilder {
    RedisCluster::builder().nodes(RedisServer::builder().args(["--rename-command", "HELLO", ""]))
}

/// Ablation: with one link for all topics the owners of other slots refuse them.
#[actix::test]
async fn shard_channels_are_received_from_the_owners_of_their_slots() {
    for builder in [RedisCluster::builder(), old()] {
        let cluster = aside(|| cluster(builder)).await;
        let redis = joined(&cluster).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let channels = channels();
        let subscription = redis.subscribe(channels.iter().map(Topic::shard), inbox.clone().recipient()).await;
        let subscription = subscription.expect("confirmed");
        for channel in &channels {
            assert_eq!(redis.send(SPublish::new(channel, channel)).await.expect("sent"), 1, "{channel}");
            assert_eq!(shard_subscribers(&cluster, &format!("test:{channel}")), 1);
        }
        for channel in &channels {
            notes.payload(channel).await;
        }
        for event in notes.events() {
            let SubscriptionEvent::Message(message) = event else { panic!("{event:?}") };
            assert_eq!((message.channel(), message.topic()), (message.payload(), &Topic::shard(message.payload())));
        }
        // Every node was asked for its own channels, and every message went to the owner at once.
        for node in cluster.nodes() {
            let errors = node.command(["INFO", "errorstats"]).expect("asked").text().expect("text");
            assert!(!errors.contains("MOVED"), "{errors}");
        }
        let mut hosts = cluster.hosts();
        hosts.sort();
        assert_eq!(of_subscriptions(&redis), hosts, "one link to each");
        let health = redis.health().await.expect("healthy");
        let links = health.links.iter().filter(|link| link.role == LinkRole::Subscriptions);
        assert!(links.into_iter().all(|link| link.state == ConnectionState::Ready), "{:?}", health.links);
        // The channels of one node take one link, and what all reaches needs none of them.
        let alone = joined(&cluster).start().expect("started");
        let topics = [Topic::shard("{t0}:a"), Topic::shard("{t0}:b"), Topic::channel("c")];
        let few = alone.subscribe(topics, inbox.recipient()).await.expect("confirmed");
        assert_eq!(of_subscriptions(&alone).len(), 1);
        few.remove([Topic::shard("{t0}:a")]).await.expect("removed");
        until_shard_subscribers(&cluster, "test:{t0}:a", 0).await;
        drop((subscription, few));
        for channel in channels.iter().map(String::as_str).chain(["{t0}:b"]) {
            until_shard_subscribers(&cluster, &format!("test:{channel}"), 0).await;
        }
    }
}

/// A node link without topics ends, and the others do not.
#[actix::test]
async fn a_link_to_a_node_ends_when_nothing_of_it_is_wanted() {
    let cluster = aside(|| cluster(RedisCluster::builder())).await;
    let redis = joined(&cluster).links(LinkLimit::new(1).idle(ms(50))).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
    for nth in ["1", "2"] {
        subscription.add(channels().iter().map(Topic::shard)).await.expect("confirmed");
        assert_eq!(of_subscriptions(&redis).len(), 3);
        subscription.remove(channels().iter().skip(1).map(Topic::shard)).await.expect("removed");
        eventually("one link", || (of_subscriptions(&redis).len() == 1).then_some(())).await;
        subscription.remove([Topic::shard(&channels()[0])]).await.expect("removed");
        eventually("no link", || of_subscriptions(&redis).is_empty().then_some(())).await;
        redis.send(Publish::new("c", nth)).await.expect("sent");
        notes.payload(nth).await;
    }
    assert_eq!(gaps(&notes), 0);
    subscription.add(channels().iter().map(Topic::shard)).await.expect("confirmed");
    redis.shutdown(Duration::from_secs(5)).await.expect("a report");
    notes.event("the end", |event| matches!(event, SubscriptionEvent::Ended { .. })).await;
    assert_eq!((of_subscriptions(&redis).len(), subscription.stats().ended), (0, true));
    let clients = |node: &RedisServer| node.clients().expect("listed").len();
    eventually("no client left", || cluster.nodes().iter().all(|node| clients(node) == 0).then_some(())).await;
}

/// The server ends the subscription by itself when it has no longer the slot. Ablation: with the topic left at the node that
/// has it, nothing is heard any more.
#[actix::test]
async fn a_slot_that_moves_takes_its_channels_along_with_one_gap() {
    for builder in [RedisCluster::builder(), old()] {
        let cluster = aside(|| Arc::new(cluster(builder))).await;
        let redis = joined(&cluster).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let (inbox2, notes2) = Notes::inbox();
        let topics = [Topic::shard("{t}a"), Topic::shard("{t}b")];
        let _subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
        let others = channels();
        let others = others.iter().map(Topic::shard).chain([Topic::channel("c"), Topic::keyevent("del")]);
        let _other = redis.subscribe(others, inbox2.recipient()).await.expect("confirmed");
        let (slot, mut moved) = (slot_of(&redis, "{t}a"), 0);
        for (round, to) in [0, 1, 2, 0].into_iter().enumerate() {
            let to = cluster.nodes()[to].port();
            moved += usize::from(cluster.owner(slot).expect("an owner").port() != to);
            let (over, publishing) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), redis.clone());
            let load = actix::spawn({
                let over = over.clone();
                async move {
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        publishing.send(SPublish::new("{t}b", "load")).await.expect("sent");
                        // Its pace: moving slots needs the processor as well.
                        tokio::time::sleep(ms(2)).await;
                    }
                }
            });
            migrate(&cluster, slot, to).await;
            publish_until_heard(&redis, &notes, "{t}a", &format!("a{round}")).await;
            publish_until_heard(&redis, &notes, "{t}b", &format!("b{round}")).await;
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            load.await.expect("no error");
            assert_eq!(gaps(&notes), moved, "{:?}", notes.events());
            for channel in ["test:{t}a", "test:{t}b"] {
                assert_eq!(shard_subscribers(&cluster, channel), 1, "{channel}");
                let at = cluster.owner(slot).expect("an owner");
                let reply = at.command(["PUBSUB", "SHARDNUMSUB", channel]).expect("asked");
                assert_eq!(reply.array().expect("a list")[1].int().expect("a number"), 1, "at the owner");
            }
        }
        publish_on(&redis, &notes, "{t}a").await;
        assert_eq!((gaps(&notes), gaps(&notes2)), (moved, 0));
    }
}

/// Publishes for longer than a node is believed that has confirmed something, and until the last of it is heard: by then
/// every pending event is delivered.
async fn publish_on(redis: &Redis, notes: &Notes, channel: &str) {
    const BELIEVED: Duration = Duration::from_secs(1);
    let begun = std::time::Instant::now();
    while begun.elapsed() < BELIEVED * 13 / 10 {
        redis.send(SPublish::new(channel, "more")).await.expect("sent");
        // The pace of the load.
        tokio::time::sleep(ms(5)).await;
    }
    publish_until_heard(redis, notes, channel, "the last").await;
}

/// The topology is up to ten seconds old and still names the old owner. Ablation: taken for a refusal, MOVED is what the caller gets.
#[actix::test]
async fn who_is_sent_elsewhere_looks_and_goes_there() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let slot = slot_of(&redis, "{t}");
    let to = cluster.nodes().iter().map(RedisServer::port).find(|port| *port != cluster.owner(slot).unwrap().port());
    migrate(&cluster, slot, to.expect("another one")).await;
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::shard("{t}")], inbox.recipient()).await.expect("confirmed");
    let refused = |node: &RedisServer| {
        let errors = node.command(["INFO", "errorstats"]).expect("asked").text().expect("text");
        errors.contains("errorstat_MOVED")
    };
    assert!(cluster.nodes().iter().any(refused), "no node was asked that did not have it");
    assert_eq!(redis.send(SPublish::new("{t}", "x")).await.expect("sent"), 1);
    notes.payload("x").await;
    assert_eq!((gaps(&notes), shard_subscribers(&cluster, "test:{t}")), (0, 1));
}

/// Ablation: with the topic left where it was dialled nothing is heard after the kill.
#[actix::test]
async fn a_primary_that_is_replaced_costs_one_gap() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await;
    let (builder, diary) = Diary::of(joined(&cluster));
    let redis = builder.start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::shard("{t}")], inbox.recipient()).await.expect("confirmed");
    let slot = slot_of(&redis, "{t}");
    let mut dead = Vec::new();
    fail_over(&cluster, slot, &mut dead).await;
    publish_until_heard(&redis, &notes, "{t}", "after").await;
    assert_eq!((gaps(&notes), shard_subscribers(&cluster, "test:{t}")), (1, 1), "{:?}", notes.events());
    let old = cluster.nodes().iter().find(|node| node.port() == dead[0]).expect("there");
    eventually("the link to the dead one gone", || (!of_subscriptions(&redis).contains(&old.addr())).then_some(()))
        .await;
    let is_gap = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Gap { subscriptions: 1, .. });
    eventually("the event", || (diary.count(is_gap) == 1).then_some(())).await;
    // It comes back as a replica, and receives no command.
    old.restart().expect("restarted");
    aside({
        let cluster = cluster.clone();
        move || cluster.wait_replicated(slot).expect("a replica")
    })
    .await;
    publish_on(&redis, &notes, "{t}").await;
    assert_eq!((gaps(&notes), shard_subscribers(&cluster, "test:{t}")), (1, 1), "{:?}", notes.events());
}

/// A frozen node ends no subscription, and a link that is silent for a while is not lost. Ablation: with a node believed for
/// good that has confirmed something, nothing is heard.
#[actix::test]
async fn a_primary_that_is_frozen_and_replaced_is_not_waited_for() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await;
    let long_timeouts = config(&cluster).command_timeout(ms(1_000)).liveness(TIME_LIMIT * 2);
    let redis = crate::support::hasty(long_timeouts).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let (inbox2, notes2) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::shard("{t}")], inbox.recipient()).await.expect("confirmed");
    let _other = redis.subscribe([Topic::keyevent("set")], inbox2.recipient()).await.expect("confirmed");
    let slot = slot_of(&redis, "{t}");
    let owner = cluster.owner(slot).expect("an owner");
    owner.stop_process().expect("frozen");
    aside({
        let (cluster, port) = (cluster.clone(), owner.port());
        move || cluster.wait_well_without(&[port]).expect("replaced")
    })
    .await;
    publish_until_heard(&redis, &notes, "{t}", "after").await;
    notes2.event("the gap", is_gap).await;
    owner.cont_process().expect("goes on");
    until_shard_subscribers(&cluster, "test:{t}", 1).await;
    publish_until_heard(&redis, &notes, "{t}", "later").await;
    publish_on(&redis, &notes, "{t}").await;
    assert_eq!((gaps(&notes), gaps(&notes2)), (1, 1), "{:?} {:?}", notes.events(), notes2.events());
}

/// Ablation: with messages held until every topic is back, those of other nodes are not heard while one is gone.
#[actix::test]
async fn a_node_that_is_gone_for_long_holds_up_no_other() {
    let cluster = aside(|| cluster(RedisCluster::builder().arg("--cluster-require-full-coverage", "no"))).await;
    let redis = joined(&cluster).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription =
        redis.subscribe(channels().iter().map(Topic::shard), inbox.recipient()).await.expect("confirmed");
    let gone = cluster.owner(slot_of(&redis, "{t0}:0")).expect("an owner");
    let other = channels()
        .into_iter()
        .find(|channel| cluster.owner(slot_of(&redis, channel)).expect("an owner").port() != gone.port());
    let other = other.expect("another node's");
    gone.kill().expect("killed");
    let down = || redis.connection_info().links.iter().any(|link| link.state != ConnectionState::Ready);
    eventually("that it is gone", || down().then_some(())).await;
    publish_until_heard(&redis, &notes, &other, "meanwhile").await;
    assert_eq!(gaps(&notes), 1);
    gone.restart().expect("restarted");
    publish_until_heard(&redis, &notes, "{t0}:0", "back").await;
    let all: Vec<_> =
        notes.events().iter().filter(|event| is_gap(event) || payload_of(event) == "back").map(is_gap).collect();
    assert_eq!(all[..3], [true, true, false], "a gap when it is back, and before what it says");
    assert_eq!(gaps(&notes), 2);
}

fn payload_of(event: &SubscriptionEvent) -> &str {
    match event {
        SubscriptionEvent::Message(message) => std::str::from_utf8(message.payload()).expect("text"),
        _ => "",
    }
}

/// All clients of the nodes that run, that are subscribed to a channel or a pattern.
fn key_subscribers(cluster: &RedisCluster) -> Vec<i64> {
    let of = |node: &RedisServer| {
        let patterns = node.command(["PUBSUB", "NUMPAT"]).expect("asked").int().expect("a number");
        let channels = node.command(["PUBSUB", "CHANNELS"]).expect("asked");
        patterns + i64::try_from(channels.array().expect("a list").len()).expect("few")
    };
    cluster.nodes().iter().filter(|node| node.is_running()).map(of).collect()
}

/// Ablation: asked of one node only, two thirds of the events are missing.
#[actix::test]
async fn events_of_keys_come_from_every_primary_without_the_prefix() {
    for builder in [RedisCluster::builder(), old()] {
        let mut cluster = aside(|| cluster(builder.arg("--notify-keyspace-events", "KEA"))).await;
        let redis = joined(&cluster).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let topics = [Topic::keyspace("user:*"), Topic::keyevent("del")];
        let subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
        assert_eq!(key_subscribers(&cluster), [2, 2, 2]);
        for nth in 0..30 {
            redis.send(Set::new(format!("user:{nth}"), nth)).await.expect("set");
        }
        redis.send(Del::new((0..30).map(|nth| format!("user:{nth}")))).await.expect("deleted");
        // Of another tenant.
        let foreign = redis.unprefixed();
        for nth in 0..9 {
            foreign.send(Raw::<()>::new("SET").arg(format!("other:{nth}")).arg("x")).await.expect("set");
            foreign.send(Raw::<i64>::new("DEL").arg(format!("other:{nth}"))).await.expect("deleted");
        }
        eventually("all of them", || (notes.keys().len() == 90).then_some(())).await;
        for nth in 0..30 {
            let key = format!("user:{nth}").into_bytes();
            let mut of_key: Vec<_> = notes.keys().into_iter().filter(|it| it.key == key).map(|it| it.event).collect();
            of_key.sort();
            assert_eq!(of_key, ["del", "del", "set"], "of user:{nth}");
        }
        eventually("others counted", || (subscription.stats().foreign == 9).then_some(())).await;
        assert_eq!(gaps(&notes), 0);
        // A new primary has keys as soon as it has slots.
        let slot = slot_of(&redis, "user:1");
        let cluster = aside(move || {
            cluster.add_node().expect("a fourth node");
            Arc::new(cluster)
        })
        .await;
        migrate(&cluster, slot, cluster.nodes()[3].port()).await;
        // The next command finds out.
        redis.send(Set::new("user:1", "there")).await.expect("set");
        eventually("all four asked", || (key_subscribers(&cluster) == [2, 2, 2, 2]).then_some(())).await;
        notes.event("the gap", is_gap).await;
        redis.send(Del::new(["user:1"])).await.expect("deleted");
        eventually("its events", || {
            let of_key = |key: &redis_actix::KeyEvent| key.key == b"user:1" && key.event == "del";
            (notes.keys().iter().filter(|key| of_key(key)).count() >= 4).then_some(())
        })
        .await;
        assert_eq!(gaps(&notes), 1);
        // One that has lost its slots is let go of.
        migrate(&cluster, slot, cluster.nodes()[0].port()).await;
        redis.send(Set::new("user:1", "back")).await.expect("set");
        eventually("three again", || (key_subscribers(&cluster) == [2, 2, 2, 0]).then_some(())).await;
        assert_eq!((gaps(&notes), of_subscriptions(&redis).len()), (1, 3));
        drop(subscription);
        eventually("nothing left", || (key_subscribers(&cluster) == [0, 0, 0, 0]).then_some(())).await;
    }
}

#[actix::test]
async fn events_of_keys_go_on_at_the_replica_of_a_dead_primary() {
    let builder = RedisCluster::builder().replicas(1).arg("--notify-keyspace-events", "KEA");
    let cluster = aside(|| Arc::new(cluster(builder))).await;
    let redis = joined(&cluster).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let subscription = redis.subscribe([Topic::keyspace("k")], inbox.recipient()).await.expect("confirmed");
    redis.send(Set::new("k", 1)).await.expect("set");
    eventually("an event", || (notes.keys().len() == 1).then_some(())).await;
    fail_over(&cluster, slot_of(&redis, "k"), &mut Vec::new()).await;
    notes.event("the gap", is_gap).await;
    // A caller that reads at the gap misses nothing from now on.
    redis.send(Set::new("k", 2).idempotent()).await.expect("set");
    eventually("an event", || (notes.keys().len() == 2).then_some(())).await;
    assert_eq!(gaps(&notes), 1, "{:?}", notes.events());
    drop(subscription);
    eventually("nothing left", || key_subscribers(&cluster).iter().all(|count| *count == 0).then_some(())).await;
}

#[actix::test]
async fn nodes_without_keyspace_notifications_are_reported_by_name() {
    let cluster = aside(|| cluster(RedisCluster::builder().arg("--notify-keyspace-events", "KEA"))).await;
    let off = &cluster.nodes()[1];
    off.command(["CONFIG", "SET", "notify-keyspace-events", ""]).expect("set").ok().expect("set");
    let redis = joined(&cluster).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::keyspace("*")], inbox.recipient()).await.expect("confirmed");
    let is_off = |event: &SubscriptionEvent| matches!(event, SubscriptionEvent::NotificationsOff { .. });
    let event = notes.event("that they are off", is_off).await;
    let SubscriptionEvent::NotificationsOff { node, setting } = event else { panic!("another event") };
    assert_eq!((node, setting.as_str()), (Some(off.addr()), ""));
    assert_eq!(notes.events().len(), 1);
}

/// SUNSUBSCRIBE meets a slot that is on its way. Ablation: with each MOVED taken for an answer some link ends, and costs a
/// gap in a subscription that has nothing to do with it.
#[actix::test]
async fn leaving_a_channel_whose_slot_moves_does_not_affect_others() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let (inbox2, _notes2) = Notes::inbox();
    let others = channels();
    let _others = redis.subscribe(others.iter().map(Topic::shard), inbox.recipient()).await.expect("confirmed");
    let slot = slot_of(&redis, "{t}");
    let topics = || (0..200).map(|nth| Topic::shard(format!("{{t}}{nth}")));
    for round in 0..12_usize {
        let subscription = redis.subscribe(topics(), inbox2.clone().recipient()).within(TIME_LIMIT).await;
        let subscription = subscription.expect("confirmed");
        let to = cluster.nodes()[round % 3].port();
        let leaving = async {
            for topic in topics() {
                subscription.remove([topic]).await.expect("removed");
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(migrate(&cluster, slot, to), leaving);
    }
    for channel in &others {
        redis.send(SPublish::new(channel, channel)).await.expect("sent");
        notes.payload(channel).await;
    }
    assert_eq!(gaps(&notes), 0, "{:?}", notes.events());
    for nth in 0..200 {
        until_shard_subscribers(&cluster, &format!("test:{{t}}{nth}"), 0).await;
    }
}
