//! What has no keys, and channels.

use std::collections::BTreeSet;

use actix::{Actor, Context, Handler};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, SubscriptionEvent, Topic};
use redis_actix_test::{Answer, RedisCluster};

use crate::cluster_support::{aside, cluster, joined, slot_of, slot_of_name};
use crate::scripted::{Scripted, error, int};
use crate::support::{TIME_LIMIT, eventually};

/// Ablation: `any` without `turns` fails: node 0 has all.
#[actix::test]
async fn commands_without_keys_are_distributed_over_the_nodes() {
    let nodes = Scripted::start(3, |asked| match asked.name().as_str() {
        "EVALSHA" | "EVAL" | "FCALL" => int(i64::try_from(asked.node).expect("few")),
        _ => Answer::Default,
    });
    nodes.assign([(0, 5_000, 0), (5_001, 10_000, 1), (10_001, 16_383, 2)]);
    static ZERO: Script<i64> = Script::new("return 0");
    // Several clients that each send few: none begins with the same node for all.
    let mut by_node = [0; 3];
    for _ in 0..10 {
        let redis = nodes.ready().await;
        for _ in 0..15 {
            by_node[usize::try_from(redis.send(ZERO.invoke()).await.expect("run")).expect("a node")] += 1;
            by_node[usize::try_from(redis.send(FCall::<i64>::new("f")).await.expect("run")).expect("a node")] += 1;
        }
    }
    assert!(by_node.iter().all(|count| (60..=140).contains(count)), "{by_node:?} of 300");
}

/// Ablation: channels that are taken for keys fail with "its keys are in different slots of the cluster", and one instead of
/// three subscribers.
#[actix::test]
async fn channels_are_counted_at_all_nodes() {
    let cluster = aside(|| cluster(RedisCluster::builder())).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    // One subscriber at each node, of the same channel, and of another one each.
    let mut subscribers = Vec::new();
    for (nth, node) in cluster.nodes().iter().enumerate() {
        let mut subscriber = node.connect().expect("connected");
        subscriber.command(["SUBSCRIBE", "test:all"]).expect("subscribed");
        subscriber.command(["SUBSCRIBE", &format!("test:only{nth}")]).expect("subscribed");
        subscribers.push(subscriber);
    }
    let counts = Raw::<Vec<(String, i64)>>::new("PUBSUB NUMSUB").channel("all").channel("only1").channel("none");
    let counts = redis.send(counts).await.expect("two slots and more");
    assert_eq!(counts, [("all".to_owned(), 3), ("only1".to_owned(), 1), ("none".to_owned(), 0)]);
    let channels = Raw::<Vec<String>>::new("PUBSUB CHANNELS").channel_pattern("*");
    let mut channels = redis.send(channels).await.expect("asked");
    channels.sort();
    assert_eq!(channels, ["all", "only0", "only1", "only2"]);
    // A channel is in no slot: it goes along with any transaction.
    let unit = Transaction::new((Set::new("key", 1), Publish::new("all", "x"), Publish::new("only2", "x")));
    redis.send(unit).await.expect("one slot");
}

/// Takes whatever comes.
struct Inbox;

impl Actor for Inbox {
    type Context = Context<Self>;
}

impl Handler<SubscriptionEvent> for Inbox {
    type Result = ();

    fn handle(&mut self, _: SubscriptionEvent, _: &mut Context<Self>) {}
}

/// Ablation: the slot of the key alone fails with MOVED.
#[actix::test]
async fn shard_channels_named_like_notifications_have_the_slot_of_their_whole_name() {
    let cluster = aside(|| cluster(RedisCluster::builder())).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let names: Vec<_> = (0..20).map(|nth| format!("__keyspace@0__:k{nth}")).collect();
    let inbox = Inbox.start().recipient();
    let subscription = redis.subscribe(names.iter().map(Topic::shard), inbox).await.expect("subscribed");
    for name in &names {
        assert_eq!(redis.send(SPublish::new(name, "x")).await.expect("published"), 1, "{name}");
    }
    let counts = names.iter().fold(Raw::<Vec<(String, i64)>>::new("PUBSUB SHARDNUMSUB"), Raw::channel);
    let counts = redis.send(counts).await.expect("asked");
    assert_eq!(counts.len(), 20);
    assert!(counts.iter().all(|(_, count)| *count == 1), "{counts:?}");
    // No node sent it elsewhere.
    for node in cluster.nodes() {
        let stats = node.command(["INFO", "errorstats"]).expect("asked").text().expect("a text");
        assert!(!stats.contains("MOVED"), "{stats}");
    }
    drop(subscription);
}

/// Messages of one channel are published at one node while it is available.
#[actix::test]
async fn messages_of_one_channel_take_one_way() {
    let nodes = Scripted::start(3, |asked| match asked.name().as_str() {
        "PUBLISH" => int(0),
        _ => Answer::Default,
    });
    nodes.assign([(0, 5_000, 0), (5_001, 10_000, 1), (10_001, 16_383, 2)]);
    let redis = nodes.ready().await;
    eventually("all nodes linked", || {
        redis.connection_info().nodes.iter().all(|node| node.state == Some(ConnectionState::Ready)).then_some(())
    })
    .await;
    let mut used = BTreeSet::new();
    for channel in ["a", "b", "c", "d", "e", "f"] {
        let owner = match slot_of(&redis, channel) {
            0..=5_000 => 0,
            5_001..=10_000 => 1,
            _ => 2,
        };
        let before = nodes.count(owner, "PUBLISH");
        for _ in 0..5 {
            redis.send(Publish::new(channel, "x")).await.expect("published");
        }
        assert_eq!(nodes.count(owner, "PUBLISH"), before + 5, "{channel}");
        used.insert(owner);
    }
    assert!(used.len() > 1);
}

/// The slot by which a primary was found waits for its cluster, and then moves to the other node.
///
/// Ablation: a part that waits for that slot fails with the keys of the second node twice, and none of the first one.
#[actix::test]
async fn a_command_for_all_primaries_reaches_each_of_them_whatever_its_slots_do() {
    let slot = slot_of_name("test:k");
    let nodes = Scripted::start(2, |asked| match (asked.name().as_str(), asked.node) {
        ("INCR", 0) => error("CLUSTERDOWN The cluster is down"),
        ("INCR", _) => int(1),
        ("KEYS", node) => Answer::raw(format!("*1\r\n$6\r\ntest:{node}\r\n")),
        _ => Answer::Default,
    });
    // Node 0 has this slot and those behind it.
    let assign = |owner: usize| nodes.assign([(0, slot - 1, 1), (slot, slot, owner), (slot + 1, 16_383, 0)]);
    assign(0);
    let redis = nodes.ready().await;
    let keys = async {
        eventually("a refused command", || (nodes.count(0, "INCR") >= 2).then_some(())).await;
        let keys = redis.send(Keys::new("*"));
        let piped = redis.send(Pipeline::new((Keys::new("*"), Incr::new("k"))));
        assign(1);
        (keys.await.expect("answered"), piped.await.expect("answered").0)
    };
    let (count, (mut keys, mut piped)) = tokio::join!(redis.send(Incr::new("k")), keys);
    assert_eq!(count.expect("at the second node"), 1);
    keys.sort();
    piped.sort();
    assert_eq!((keys, piped), (vec![b"0".to_vec(), b"1".to_vec()], vec![b"0".to_vec(), b"1".to_vec()]));
}
