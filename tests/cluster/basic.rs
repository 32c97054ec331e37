//! A cluster behind the same handle: routing, wide commands, pipelines, transactions.

use crate::cluster_support::{cluster, joined, slot_of};
use crate::support::{Diary, Own, TIME_LIMIT, answered_unseen, ask_the_frozen, eventually, ms};
use redis_actix::prelude::*;
use redis_actix::{
    ClearPrefix, ConnectionEvent, ConnectionState, CountKeys, ErrorKind, Fate, Frame, KeyPrefix, Keys, ScanKeys, Value,
};
use redis_actix_test::RedisCluster;

#[actix::test]
async fn the_same_code_runs_on_a_cluster() {
    let cluster = cluster(RedisCluster::builder());
    let (builder, diary) = Diary::of(joined(&cluster));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    for nth in 0..60 {
        redis.send(Set::new(format!("k{nth}"), nth)).await.expect("written");
    }
    for nth in 0..60 {
        assert_eq!(redis.send(Get::<u64>::new(format!("k{nth}"))).await.expect("read"), Some(nth));
    }
    let held: Vec<u64> = cluster
        .nodes()
        .iter()
        .map(|node| node.command(["DBSIZE"]).expect("asked").int().expect("a number") as u64)
        .collect();
    assert!(held.iter().all(|keys| *keys > 5) && held.iter().sum::<u64>() == 60, "{held:?}");
    // In parts, each at its node.
    let keys: Vec<_> = (0..60).map(|nth| format!("k{nth}")).collect();
    let all: Vec<Option<u64>> = redis.send(MGet::new(&keys)).await.expect("read");
    assert_eq!(all, (0..60).map(Some).collect::<Vec<_>>());
    assert_eq!(redis.send(Exists::new(&keys)).await.expect("counted"), 60);
    assert_eq!(redis.send(Unlink::new(&keys[..30])).await.expect("removed"), 30);
    redis.send(MSet::new([("m1", 1), ("m2", 2), ("m3", 3)])).await.expect("written");
    let mut found = redis.send(Keys::new("m*")).await.expect("listed");
    found.sort();
    assert_eq!(found, [b"m1", b"m2", b"m3"]);
    // Every slot is that which the servers compute.
    for key in ["k1", "{t}x", "a{b}c", ""] {
        let whole = String::from_utf8(redis.key_prefix().prefix_key(key)).expect("text");
        let slot = cluster.nodes()[0].command(["CLUSTER", "KEYSLOT", &whole]).expect("asked").int().expect("a slot");
        redis.send(Set::new(key, "here")).await.expect("written");
        let owner = cluster.owner(slot as u16).expect("an owner");
        assert_eq!(owner.command(["GET", &whole]).expect("asked").text().expect("there"), "here", "{key}");
    }
    let info = redis.connection_info();
    assert_eq!((info.mode, info.state), ("cluster", ConnectionState::Ready));
    let connected = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Node { event, .. } if matches!(**event, ConnectionEvent::Connected { .. }));
    assert_eq!(diary.count(connected), 3);
    assert_eq!(diary.count(|event| matches!(event, ConnectionEvent::Connected { .. })), 1);
    redis.health().await.expect("well");
}

#[actix::test]
async fn what_spans_slots_is_refused_where_parts_would_mean_something_else() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    let refused = |error: redis_actix::Error| {
        assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent), "{error}");
        assert!(error.to_string().contains("hash tag"), "{error}");
    };
    refused(redis.send(Rename::new("a", "b")).await.expect_err("two slots"));
    refused(redis.send(Transaction::new((Set::new("a", 1), Set::new("b", 1)))).await.expect_err("two slots"));
    let (_, one) = redis.send(Transaction::new((Set::new("{t}a", 1), Incr::new("{t}a")))).await.expect("one slot");
    assert_eq!(one, 2);
    redis.send(Rename::new("{t}a", "{t}b")).await.expect("one slot");
    let error = redis.send(Own(Frame::new("SCAN").arg(0).arg("MATCH").pattern("*"))).await.expect_err("one node only");
    assert!(error.to_string().contains("scan_keys"), "{error}");
    // With a hash tag in the prefix there is one slot.
    let config = redis_actix::RedisConfig::builder().cluster_hosts(cluster.hosts()).key_hash_tag_prefix("{shop}:");
    let tagged = crate::support::hasty(config).start().expect("started");
    tagged.send(Transaction::new((Set::new("a", 1), Set::new("b", 1)))).await.expect("one slot");
    assert_eq!(tagged.key_prefix(), &KeyPrefix::with_hash_tag("{shop}:").expect("valid"));
}

#[actix::test]
async fn pipelines_are_taken_apart_and_put_together() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    let sets: Vec<_> = (0..200).map(|nth| Set::new(format!("p{nth}"), nth)).collect();
    redis.send(Pipeline::new(sets)).await.expect("written");
    let gets: Vec<_> = (0..200).map(|nth| Get::<u64>::new(format!("p{nth}"))).collect();
    let read = redis.send(Pipeline::new(gets)).await.expect("read");
    assert_eq!(read, (0..200).map(Some).collect::<Vec<_>>());
    let (one, all, gone, ()) = redis
        .send(Pipeline::new((
            Get::<u64>::new("p7"),
            MGet::<u64>::new(["p1", "p2", "p3"]),
            Del::new(["p1", "p2", "nothing"]),
            Ping::new(),
        )))
        .await
        .expect("read");
    assert_eq!((one, all, gone), (Some(7), vec![Some(1), Some(2), Some(3)], 2));
    let each = redis
        .send(Pipeline::new((Set::new("text", "x"), Incr::new("text"), Incr::new("number"))).try_each())
        .await
        .expect("sent");
    assert_eq!(each.1.expect_err("no number").code(), Some("ERR"));
    assert_eq!(each.2.expect("a number"), 1);
}

static ADD: Script<i64> = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");

#[actix::test]
async fn scripts_go_to_their_keys_and_operators_to_theirs() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    for nth in 0..30 {
        let sum: i64 = redis.send(ADD.invoke().key(format!("s{nth}")).arg(nth)).await.expect("run");
        assert_eq!(sum, nth);
    }
    for node in cluster.nodes() {
        node.command(["SCRIPT", "FLUSH"]).expect("asked").ok().expect("flushed");
    }
    let all: Vec<_> = (0..30).map(|nth| ADD.invoke().key(format!("s{nth}")).arg(1)).collect();
    let sums = redis.send(Pipeline::new(all)).await.expect("run");
    assert_eq!(sums, (1..=30).collect::<Vec<i64>>());
    let size: u64 = redis.unprefixed().send(Raw::new("DBSIZE")).await.expect("counted");
    assert_eq!(size, 30);
    let whole = redis.key_prefix().prefix_key("s3");
    let text: String = redis.unprefixed().send(Raw::new("GET").arg(whole)).await.expect("read");
    assert_eq!(text, "4");
    let _: Value = redis.unprefixed().send(Raw::new("FLUSHALL")).await.expect("flushed");
    let size: u64 = redis.unprefixed().send(Raw::new("DBSIZE")).await.expect("counted");
    assert_eq!(size, 0);
}

#[actix::test]
async fn what_came_before_the_first_look_is_served_and_a_shutdown_answers_everybody() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    let early: Vec<_> = (0..100).map(|nth| redis.send(Incr::new(format!("e{nth}")))).collect();
    for sent in early {
        assert_eq!(sent.await.expect("served"), 1);
    }
    let late: Vec<_> = (0..1000).map(|nth| redis.send(Incr::new(format!("l{nth}")))).collect();
    let report = redis.shutdown(TIME_LIMIT).await.expect("a report");
    assert_eq!((report.completed, report.failed, report.unknown), (1000, 0, 0), "{report:?}");
    for sent in late {
        sent.await.expect("drained");
    }
    let error = redis.send(Incr::new("x")).await.expect_err("closed");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
}

/// They are more than one turn completes. Ablation: without a last look at what a node has sent, the fate of the rest is
/// unknown.
#[actix::test]
async fn a_shutdown_reports_replies_that_arrived_while_its_thread_was_stalled() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    redis.send(Get::<i64>::new("k{a}")).await.expect("a link to its node");
    let node = cluster.owner(slot_of(&redis, "k{a}")).expect("a node");
    let counts = ask_the_frozen(&redis, node, 1_000).await;
    let within = ms(200);
    let closing = actix::spawn({
        let redis = redis.clone();
        async move { redis.shutdown(within).await }
    });
    tokio::task::yield_now().await;
    answered_unseen(node, 1_000);
    // The fault itself: the deadline passes while the answers lie there.
    std::thread::sleep(within * 2);
    let report = closing.await.expect("no panic").expect("a report");
    assert_eq!((report.completed, report.failed, report.unknown), (1_000, 0, 0), "{report:?}");
    for (nth, count) in (1..).zip(counts) {
        assert_eq!(count.await.expect("answered"), nth);
    }
}

#[actix::test]
async fn a_server_that_is_no_cluster_is_named() {
    let server = crate::support::server();
    let config = redis_actix::RedisConfig::builder().cluster_hosts([server.addr()]).key_prefix("test:");
    let redis = crate::support::hasty(config.command_timeout(ms(400))).start().expect("started");
    let error = redis.send(Get::<String>::new("k")).await.expect_err("no cluster");
    assert_eq!(error.fate(), Fate::NotSent);
    assert!(error.to_string().contains("cluster support disabled"), "{error}");
    eventually("the state", || (redis.status().borrow().state == ConnectionState::Backoff).then_some(())).await;
}

#[actix::test]
async fn the_keys_of_all_nodes_are_walked_counted_and_cleared() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    // The first thing that this handle does.
    assert_eq!(redis.count_keys(CountKeys::new("*")).await.expect("counted"), 0);
    let sets: Vec<_> = (0..500).map(|nth| Set::new(format!("w{nth}"), nth)).collect();
    redis.send(Pipeline::new(sets)).await.expect("written");
    let mut keys = redis.scan_keys(ScanKeys::new("w*").count(20));
    let mut seen = std::collections::HashSet::new();
    while let Some(key) = keys.next().await {
        seen.insert(key.expect("a key"));
    }
    assert_eq!(seen.len(), 500);
    assert_eq!(redis.count_keys(CountKeys::new("*")).await.expect("counted"), 500);
    assert_eq!(redis.clear_prefix(ClearPrefix::matching("w1*")).expect("a prefix").run().await.expect("cleared"), 111);
    assert_eq!(redis.count_keys(CountKeys::new("*")).await.expect("counted"), 389);
}

#[actix::test]
async fn watched_keys_are_watched_where_they_are() {
    let cluster = cluster(RedisCluster::builder());
    let redis = joined(&cluster).start().expect("started");
    let adds = (0..8).map(|_| {
        let redis = redis.clone();
        actix::spawn(async move {
            for nth in 0..6 {
                let key = format!("stock{nth}");
                let sold = redis.watch([key.clone()], |tx| {
                    let key = key.clone();
                    async move {
                        let have: Option<i64> = tx.send(Get::new(&key)).await?;
                        Ok(Some(Transaction::new((Set::new(&key, have.unwrap_or(0) + 1),))))
                    }
                });
                sold.await.expect("written").expect("run");
            }
        })
    });
    for add in adds.collect::<Vec<_>>() {
        add.await.expect("no panic");
    }
    for nth in 0..6 {
        assert_eq!(redis.send(Get::<i64>::new(format!("stock{nth}"))).await.expect("read"), Some(8));
    }
    let error = redis.watch(["a", "b"], |_| async { Ok(None::<Transaction<(Ping,)>>) }).await.expect_err("two slots");
    assert!(error.to_string().contains("hash tag"), "{error}");
}

#[actix::test]
async fn nodes_are_listed_with_their_roles_and_slots() {
    let cluster = cluster(RedisCluster::builder().replicas(1));
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let nodes = redis.connection_info().nodes;
    let with = |role: &str| nodes.iter().filter(|node| node.role == role).count();
    assert_eq!((with("primary"), with("replica")), (3, 3), "{nodes:?}");
    let slots = |node: &redis_actix::NodeInfo| node.slots.iter().map(|slots| slots.clone().count()).sum::<usize>();
    assert_eq!(nodes.iter().filter(|node| node.role == "primary").map(slots).sum::<usize>(), 16_384);
    let health = redis.health().await.expect("well");
    let answered = health.nodes.iter().filter(|node| node.round_trip.is_some()).count();
    assert_eq!(answered, 3, "{health:?}");
    assert!(health.nodes.iter().all(|node| node.role == "replica" || node.state == Some(ConnectionState::Ready)));
}
