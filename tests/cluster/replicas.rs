//! Reads that replicas of a cluster answer, and their outcome when the replicas fail.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use crate::cluster_support::{aside, cluster, config, fail_over, migrate, slot_of};
use crate::support::replicas::{
    calls, forget, outlives_a_panic, reading_links, refusals, replicas, replicas_ready, replicated,
};
use crate::support::{TIME_LIMIT, eventually, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, RedisConfigBuilder};
use redis_actix_test::{RedisCluster, RedisServer};

const KEYS: usize = 60;

fn keys() -> Vec<String> {
    (0..KEYS).map(|nth| format!("k{nth}")).collect()
}

fn from_replica(key: &str) -> Get<u64> {
    Get::new(key).read_from(ReadFrom::Replica)
}

async fn three_and_three() -> Arc<RedisCluster> {
    aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await
}

/// A handle, with every key written and at every replica, and links to those.
async fn filled(cluster: &Arc<RedisCluster>, config: RedisConfigBuilder, each: usize) -> Redis {
    let redis = hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    redis
        .send(Pipeline::new(keys().iter().zip(0..).map(|(key, n)| Set::new(key, n)).collect::<Vec<_>>()))
        .await
        .expect("written");
    let primaries = cluster.primaries().expect("primaries");
    primaries.iter().for_each(|primary| replicated(primary, &each.to_string()));
    replicas_ready(&redis, &keys(), primaries.len() * each).await;
    redis
}

fn sum(servers: &[RedisServer], command: &str) -> u64 {
    servers.iter().map(|server| calls(server, command)).sum()
}

/// Reads every key repeatedly until it is stopped, and counts.
struct Readers {
    over: Rc<Cell<bool>>,
    right: Rc<RefCell<Vec<u64>>>,
    missing: Rc<Cell<u64>>,
    errors: Rc<RefCell<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Readers {
    fn start(redis: &Redis, count: usize) -> Self {
        let (over, missing): (Rc<Cell<bool>>, Rc<Cell<u64>>) = Default::default();
        let right = Rc::new(RefCell::new(vec![0; count]));
        let errors: Rc<RefCell<Vec<String>>> = Rc::default();
        let tasks = (0..count).map(|first| {
            let (redis, over, right) = (redis.clone(), over.clone(), right.clone());
            let (missing, errors) = (missing.clone(), errors.clone());
            actix::spawn(async move {
                let keys = keys();
                let mut nth = first;
                while !over.get() {
                    nth = (nth + 7) % KEYS;
                    match redis.send(from_replica(&keys[nth])).await {
                        Ok(Some(n)) if n == nth as u64 => right.borrow_mut()[first] += 1,
                        Ok(None) => missing.set(missing.get() + 1),
                        Ok(other) => errors.borrow_mut().push(format!("{nth} is {other:?}")),
                        Err(error) => errors.borrow_mut().push(error.to_string()),
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { over, right, missing, errors, tasks }
    }

    /// Every one of them gets answers, none waits for a lost replica.
    async fn go_on(&self) {
        let before = self.right.borrow().clone();
        let all = |right: &[u64]| right.iter().zip(&before).all(|(now, before)| *now > before + 20);
        eventually("answers for every reader", || all(&self.right.borrow()).then_some(())).await;
    }

    /// How many keys were not there.
    async fn end(self) -> u64 {
        self.over.set(true);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        let errors = self.errors.borrow();
        println!(
            "{} right, {} missing, {} errors",
            self.right.borrow().iter().sum::<u64>(),
            self.missing.get(),
            errors.len()
        );
        assert!(errors.is_empty(), "{} errors, the first: {:?}", errors.len(), errors.first());
        self.missing.get()
    }
}

/// Ablation: without READONLY in the handshake every read is redirected by MOVED, and the primary answers all of them.
#[actix::test]
async fn replicas_answer_in_turn_and_are_connected_for_the_first_read() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().primaries(1).replicas(2)))).await;
    let redis = hasty(config(&cluster).client_name("reader")).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    redis.send(Set::new("k0", 0)).await.expect("written");
    let [primary, others @ ..] = cluster.nodes() else { panic!("nodes") };
    replicated(primary, "2");
    assert!(others.iter().all(|replica| reading_links(replica).is_empty()), "no caller has asked for one");
    assert!(replicas(&redis).iter().all(|node| node.state.is_none()));
    // The first one goes to the primary, which is there.
    assert_eq!(redis.send(from_replica("k0")).await.expect("read"), Some(0));
    replicas_ready(&redis, &["k0".to_owned()], 2).await;
    forget(cluster.nodes());
    for _ in 0..90 {
        assert_eq!(redis.send(from_replica("k0")).await.expect("read"), Some(0));
    }
    assert_eq!(calls(primary, "get"), 0, "the primary answered");
    assert_eq!(others.iter().map(|replica| calls(replica, "get")).collect::<Vec<_>>(), [45, 45], "in turn");
    for replica in others {
        let links = reading_links(replica);
        assert!(links.len() == 1 && links[0].contains("name=reader"), "{links:?}");
    }
    assert!(reading_links(primary).is_empty(), "the link to the primary is as it was");
    // Without the option the reply comes from the primary.
    assert_eq!(redis.send(Get::<u64>::new("k0")).await.expect("read"), Some(0));
    assert_eq!(calls(primary, "get"), 1);
    let nodes = redis.health().await.expect("well").nodes;
    let seen: Vec<_> = nodes.iter().map(|node| (node.role, node.state)).collect();
    let ready = Some(ConnectionState::Ready);
    assert_eq!(seen, [("primary", ready), ("replica", ready), ("replica", ready)]);
    let report = redis.shutdown(TIME_LIMIT).await.expect("ended");
    assert_eq!((report.failed, report.unknown), (0, 0));
    eventually("the links gone", || others.iter().all(|replica| reading_links(replica).is_empty()).then_some(())).await;
}

/// Ablation: without the rule for cursors the pages of a hash come from replicas.
#[actix::test]
async fn what_is_no_read_of_keys_goes_to_the_primaries_and_a_write_is_not_sent() {
    let cluster = three_and_three().await;
    let redis = filled(&cluster, config(&cluster).read_from(ReadFrom::Replica), 1).await;
    let (primaries, others) = cluster.nodes().split_at(3);
    let error = redis.send(Incr::new("n").read_from(ReadFrom::Replica)).await.expect_err("a write");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
    assert!(error.to_string().starts_with("INCR: it is not known to only read"), "{error}");
    let mixed = (Get::<u64>::new("k1"), Incr::new("n"));
    let error = redis.send(Pipeline::new(mixed.clone()).read_from(ReadFrom::Replica)).await.expect_err("a write in it");
    assert_eq!(error.kind(), ErrorKind::InvalidCommand);

    forget(cluster.nodes());
    // By default, from handles and from the address.
    assert_eq!(redis.send(Get::<u64>::new("k1")).await.expect("read"), Some(1));
    assert_eq!(redis.addr().send(Get::<u64>::new("k2")).await.expect("delivered").expect("read"), Some(2));
    assert_eq!((sum(primaries, "get"), sum(others, "get")), (0, 2));
    assert_eq!(redis.send(Get::<u64>::new("k1").read_from(ReadFrom::Primary)).await.expect("read"), Some(1));
    assert_eq!((sum(primaries, "get"), sum(others, "get")), (1, 2));

    forget(cluster.nodes());
    let read = redis.send(MGet::<u64>::new(keys())).await.expect("read");
    assert_eq!(read, (0..KEYS as u64).map(Some).collect::<Vec<_>>());
    assert_eq!(sum(primaries, "mget"), 0);
    assert!(sum(others, "mget") >= 3, "in parts, one for each slot");
    let gets: Vec<_> = keys().iter().map(Get::<u64>::new).collect();
    assert_eq!(redis.send(Pipeline::new(gets)).await.expect("read").len(), KEYS);
    assert_eq!((sum(primaries, "get"), sum(others, "get")), (0, KEYS as u64));

    forget(cluster.nodes());
    redis.send(Pipeline::new(mixed)).await.expect("to the primaries");
    redis.send(Transaction::new((Get::<u64>::new("{t}1"), Get::<u64>::new("{t}2")))).await.expect("to a primary");
    assert_eq!((sum(primaries, "get"), sum(others, "get")), (3, 0));
    redis.send(HSet::new("h").field("f", 1)).await.expect("written");
    let mut fields = redis.scan_hash::<String, u64>(ScanHash::new("h"));
    while let Some(field) = fields.next().await {
        field.expect("a field");
    }
    assert!(sum(primaries, "hscan") > 0 && sum(others, "hscan") == 0, "a cursor of another server");
}

/// Ablation: without taking back commands that wait for a lost link, reads at the dead replica wait for it.
#[actix::test]
async fn a_replica_that_is_killed_and_comes_back_is_not_noticed() {
    // The cluster goes on naming it.
    let builder = RedisCluster::builder().replicas(1).node_timeout(Duration::from_secs(60));
    let cluster = aside(|| Arc::new(cluster(builder))).await;
    let redis = filled(&cluster, config(&cluster), 1).await;
    let readers = Readers::start(&redis, 32);
    readers.go_on().await;
    let killed = &cluster.nodes()[3];
    // From another thread: while this one stands still everything that was asked is answered.
    let killing = cluster.clone();
    aside(move || killing.nodes()[3].kill().expect("killed")).await;
    readers.go_on().await;
    eventually("the link gone", || {
        let gone =
            |node: &redis_actix::NodeInfo| node.address == killed.addr() && node.state == Some(ConnectionState::Ready);
        (!replicas(&redis).iter().any(gone)).then_some(())
    })
    .await;
    let primary = cluster.nodes()[0].addr();
    let before = calls(&cluster.nodes()[0], "get");
    readers.go_on().await;
    assert!(calls(&cluster.nodes()[0], "get") > before, "its primary {primary} answers meanwhile");
    let back = cluster.clone();
    aside(move || back.nodes()[3].restart().expect("restarted")).await;
    eventually("reads at the replica again", || (calls(killed, "get") > 100).then_some(())).await;
    assert_eq!(readers.end().await, 0);
}

/// Ablation: without closing links to former replicas, the server that was promoted keeps the link for reads.
#[actix::test]
async fn a_primary_is_replaced_by_the_replica_that_is_read_from() {
    let cluster = three_and_three().await;
    let redis = filled(&cluster, config(&cluster).command_timeout(ms(15_000)), 1).await;
    let readers = Readers::start(&redis, 32);
    readers.go_on().await;
    let mut dead = Vec::new();
    fail_over(&cluster, 0, &mut dead).await;
    readers.go_on().await;
    let promoted = &cluster.nodes()[3];
    eventually("the new primary in the topology", || {
        let nodes = redis.connection_info().nodes;
        nodes.iter().any(|node| node.role == "primary" && node.address == promoted.addr()).then_some(())
    })
    .await;
    eventually("its link for reads gone", || reading_links(promoted).is_empty().then_some(())).await;
    readers.go_on().await;
    assert_eq!(readers.end().await, 0);
    assert_eq!(redis.send(Get::<u64>::new("k0")).await.expect("read"), Some(0));
}

/// A key that has moved already is not there at a replica of Redis; the others see every key all the time.
///
/// No single line makes this fail: what a replica says of a slot that is gone, the router would follow as well.
#[actix::test]
async fn slots_move_under_reads_and_no_error_is_seen() {
    let cluster = aside(|| {
        let mut cluster = cluster(RedisCluster::builder().replicas(1));
        cluster.add_node().expect("another primary");
        Arc::new(cluster)
    })
    .await;
    let redis = filled(&cluster, config(&cluster).command_timeout(ms(10_000)), 1).await;
    let readers = Readers::start(&redis, 32);
    readers.go_on().await;
    let to = cluster.nodes()[6].port();
    for key in keys().iter().step_by(2) {
        migrate(&cluster, slot_of(&redis, key), to).await;
    }
    readers.go_on().await;
    let during = readers.missing.get();
    readers.go_on().await;
    // What has settled is whole; the last of the replicas may have heard of the last move a moment later.
    eventually("nothing missing any more", || {
        let before = readers.missing.get();
        readers.missing.set(0);
        (before == 0).then_some(())
    })
    .await;
    println!("{during} reads of keys that were on their way found nothing");
    readers.end().await;
    for (key, n) in keys().iter().zip(0..) {
        assert_eq!(redis.send(from_replica(key)).await.expect("read"), Some(n), "{key}");
    }
}

/// Ablation: without the rest every read asks the replica first: hundreds of refusals.
#[actix::test]
async fn a_replica_without_its_primary_is_left_alone() {
    let cluster = aside(|| {
        Arc::new(cluster(RedisCluster::builder().primaries(1).replicas(1).node_timeout(Duration::from_secs(60))))
    })
    .await;
    let redis = filled(&cluster, config(&cluster), 1).await;
    let [primary, replica] = cluster.nodes() else { panic!("two nodes") };
    replica.command(["CONFIG", "SET", "replica-serve-stale-data", "no"]).expect("asked").ok().expect("set");
    // New logins fail; links that are logged in stay.
    primary.set_password(Some("new")).expect("set");
    primary.command(["CLIENT", "KILL", "TYPE", "replica"]).expect("asked");
    let mut links = replica.connect().expect("connected");
    eventually("a replica without a primary", || {
        let info = links.command(["INFO", "replication"]).and_then(|info| info.text()).expect("its state");
        info.contains("master_link_status:down").then_some(())
    })
    .await;
    for nth in 0..600_u64 {
        let nth = nth % KEYS as u64;
        assert_eq!(redis.send(from_replica(&format!("k{nth}"))).await.expect("read"), Some(nth));
    }
    let refused = refusals(replica, "MASTERDOWN");
    println!("{refused} of 600 reads were refused by the replica, and answered by the primary");
    assert!((1..20).contains(&refused), "{refused}");
}

/// Ablation: without a look at its silence every read goes to the frozen replica, and the next one times out as well.
#[actix::test]
async fn of_a_frozen_replica_only_those_suffer_who_were_there() {
    let cluster = aside(|| {
        Arc::new(cluster(RedisCluster::builder().primaries(1).replicas(1).node_timeout(Duration::from_secs(60))))
    })
    .await;
    let redis = filled(&cluster, config(&cluster).command_timeout(ms(700)).liveness(Duration::from_secs(60)), 1).await;
    let replica = &cluster.nodes()[1];
    replica.stop_process().expect("frozen");
    let error = redis.send(from_replica("k1")).await.expect_err("frozen");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
    for _ in 0..100 {
        assert_eq!(redis.send(from_replica("k1")).await.expect("answered by the primary"), Some(1));
    }
    replica.cont_process().expect("goes on");
    let before = calls(replica, "get");
    eventually("reads at the replica again", || {
        drop(redis.send(from_replica("k1")));
        (calls(replica, "get") > before + 1).then_some(())
    })
    .await;
}

#[actix::test]
async fn a_panic_while_a_replica_answers_costs_one_read() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().primaries(1).replicas(1)))).await;
    let redis = filled(&cluster, config(&cluster), 1).await;
    outlives_a_panic(&redis, "k1").await;
    forget(cluster.nodes());
    assert_eq!(redis.send(from_replica("k1")).await.expect("read"), Some(1));
    assert_eq!(calls(&cluster.nodes()[1], "get"), 1);
}

/// On one server the option means nothing.
#[actix::test]
async fn a_single_server_answers_by_itself() {
    let server = aside(crate::support::server).await;
    let redis = hasty(crate::support::config(server.port()).read_from(ReadFrom::Replica)).start().expect("started");
    redis.send(Set::new("k", 7)).await.expect("written");
    assert_eq!(redis.send(from_replica("k")).await.expect("read"), Some(7));
    assert_eq!(redis.send(Get::<u64>::new("k")).await.expect("read"), Some(7));
    assert!(redis.connection_info().nodes.is_empty());
}
