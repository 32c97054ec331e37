//! Commands that go to several nodes: the outcome of each part, and the fate of the whole.

use std::sync::atomic::{AtomicBool, Ordering};

use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate};
use redis_actix_test::{Answer, RedisCluster, RedisServer};

use crate::cluster_support::{aside, cluster, config, slot_of};
use crate::scripted::{Scripted, error, okay};
use crate::support::{self, TIME_LIMIT, ms};

/// Three keys at three nodes of a real cluster, the third node frozen.
async fn one_of_three_frozen() -> (RedisCluster, Redis, [String; 3]) {
    let cluster = aside(|| {
        let builder = RedisCluster::builder().arg("--cluster-require-full-coverage", "no");
        cluster(builder.node_timeout(std::time::Duration::from_secs(60)))
    })
    .await;
    let redis = support::hasty(config(&cluster).command_timeout(ms(1_500))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let key = |node: &RedisServer| {
        let at = |key: &String| cluster.owner(slot_of(&redis, key)).expect("an owner").port() == node.port();
        (0..1_000).map(|nth| format!("k{nth}")).find(at).expect("a key")
    };
    let keys = [0, 1, 2].map(|node| key(&cluster.nodes()[node]));
    for key in &keys {
        redis.send(Del::new([key])).await.expect("answered");
    }
    (cluster, redis, keys)
}

/// Ablation: `deliver_each` without `reply_each` of TryEach fails with one error for all three.
#[actix::test]
async fn each_command_of_a_pipeline_has_its_own_outcome_at_each_node() {
    let (cluster, redis, keys) = one_of_three_frozen().await;
    cluster.nodes()[2].stop_process().expect("frozen");
    let incrs = || keys.iter().map(Incr::new).collect::<Vec<_>>();
    let outcomes = redis.send(Pipeline::new(incrs()).try_each()).await.expect("each in its place");
    assert_eq!([outcomes[0].as_ref().ok(), outcomes[1].as_ref().ok()], [Some(&1), Some(&1)]);
    let error = outcomes[2].as_ref().expect_err("frozen");
    assert_eq!((error.fate(), error.command()), (Fate::Unknown, Some("INCR")), "{error}");
    // As a whole it may have run, and its first failure says why.
    let error = redis.send(Pipeline::new(incrs())).await.expect_err("frozen");
    assert_eq!(error.fate(), Fate::Unknown, "{error}");
    cluster.nodes()[2].cont_process().expect("goes on");
}

/// Node 1 is down, or refuses; node 0 has written its half.
///
/// Ablation: `Place::outcome` that excuses what may be repeated fails with NotSent and with Rejected.
#[actix::test]
async fn a_write_that_ran_at_one_of_two_nodes_is_unknown_also_if_it_may_be_repeated() {
    static REFUSES: AtomicBool = AtomicBool::new(true);
    let nodes = Scripted::start(2, |asked| match (asked.name().as_str(), asked.node) {
        ("MSET", 1) if REFUSES.load(Ordering::SeqCst) => {
            error("OOM command not allowed when used memory > 'maxmemory'.")
        }
        ("MSET", 1) => error("CLUSTERDOWN The cluster is down"),
        ("MSET", _) => okay(),
        ("GET" | "MGET", 0) => Answer::raw("*1\r\n$1\r\nx\r\n"),
        ("GET" | "MGET", 1) => error("CLUSTERDOWN The cluster is down"),
        _ => Answer::Default,
    });
    nodes.assign([(0, 8_191, 0), (8_192, 16_383, 1)]);
    // Long enough for the first node to run its part on a busy machine.
    let redis = support::hasty(nodes.config().command_timeout(ms(3_000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let key = |of: bool| {
        (0..1_000).map(|nth| format!("k{nth}")).find(|key| (slot_of(&redis, key) < 8_192) == of).expect("a key")
    };
    let keys = [key(true), key(false)];
    let mset = || MSet::new(keys.iter().map(|key| (key, 1)));
    let error = redis.send(mset().idempotent().timeout(TIME_LIMIT)).await.expect_err("OOM");
    assert_eq!((error.code(), error.fate()), (Some("OOM"), Fate::Unknown));
    REFUSES.store(false, Ordering::SeqCst);
    let error = redis.send(mset().idempotent()).await.expect_err("down");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
    // Of what only reads nothing is left behind.
    let error = redis.send(MGet::<String>::new(&keys)).await.expect_err("down");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent));
}

/// Ablation: `Answers::all` that excuses what may be repeated fails with Rejected.
#[actix::test]
async fn an_idempotent_pipeline_of_which_a_part_ran_is_unknown() {
    let server = support::server();
    let redis = support::hasty(support::config(server.port())).start().expect("started");
    let unit = || (Set::new("word", "x"), Incr::new("word"));
    let error = redis.send(Pipeline::new(unit()).idempotent()).await.expect_err("no number");
    assert_eq!((error.command(), error.fate()), (Some("INCR"), Fate::Unknown));
    let error = redis.send(Transaction::new(unit()).idempotent()).await.expect_err("no number");
    assert_eq!((error.command(), error.fate()), (Some("INCR"), Fate::Unknown));
    // Nothing of these ran, and nothing of those can have changed anything.
    let words = || vec![Incr::new("word"), Incr::new("word")];
    assert_eq!(redis.send(Pipeline::new(words())).await.expect_err("no number").fate(), Fate::Rejected);
    let reads = (Get::<String>::new("word"), LLen::new("word"));
    assert_eq!(redis.send(Pipeline::new(reads)).await.expect_err("no list").fate(), Fate::Rejected);
}

/// A command of many keys, its parts together at each node.
///
/// Ablation: places by part instead of by key fails with values at the wrong places.
#[actix::test]
async fn a_command_of_many_keys_is_grouped_by_node_and_its_reply_is_in_order() {
    let cluster = aside(|| cluster(RedisCluster::builder())).await;
    let redis = support::hasty(config(&cluster)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let keys: Vec<String> = (0..3_000).map(|nth| format!("many{nth}")).collect();
    redis.send(MSet::new(keys.iter().enumerate().map(|(nth, key)| (key, nth)))).await.expect("written");
    let read = redis.send(MGet::<usize>::new(&keys)).await.expect("read");
    assert!(read.iter().enumerate().all(|(nth, value)| *value == Some(nth)));
    assert_eq!(redis.send(Exists::new(&keys)).await.expect("asked"), 3_000);
    // In a pipeline as well, beside commands of one key.
    let (one, all, gone) = redis
        .send(Pipeline::new((Get::<usize>::new("many7"), MGet::<usize>::new(&keys), Del::new(&keys))))
        .await
        .expect("answered");
    assert_eq!((one, all.len(), gone), (Some(7), 3_000, 3_000));
}

/// One of two nodes has written its part, the other one is down, and the thread of the connection ends.
///
/// Ablation: without `Drop` of the gathered reply fails with NotSent.
#[actix::test]
async fn a_write_of_which_a_part_ran_is_unknown_when_its_thread_ends() {
    let nodes = Scripted::start(2, |asked| match (asked.name().as_str(), asked.node) {
        ("MSET", 0) => okay(),
        ("MSET", _) => error("CLUSTERDOWN The cluster is down"),
        _ => Answer::Default,
    });
    nodes.assign([(0, 8_000, 0), (8_001, 16_383, 1)]);
    let key = |is_low: bool| {
        let mut keys = (0..).map(|nth| format!("k{nth}"));
        keys.find(|key| (crate::cluster_support::slot_of_name(format!("test:{key}")) <= 8_000) == is_low)
    };
    let (low, high) = (key(true).expect("one of many"), key(false).expect("one of many"));
    let (arbiter, builder) = (actix::Arbiter::new(), support::hasty(nodes.config().command_timeout(TIME_LIMIT)));
    let (sender, started) = tokio::sync::oneshot::channel();
    arbiter.spawn(async move { drop(sender.send(builder.start())) });
    let redis = started.await.expect("an arbiter").expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let waiting = redis.send(redis_actix::MSet::new([(low, 1), (high, 2)]));
    // It is refused twice: by then it waits in the router.
    support::eventually("both parts", || (nodes.count(0, "MSET") == 1 && nodes.count(1, "MSET") > 1).then_some(()))
        .await;
    arbiter.stop();
    let error = waiting.await.expect_err("its thread has ended");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::Unknown), "{error}");
}
