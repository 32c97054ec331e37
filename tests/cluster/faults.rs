//! Row 25: what happens to the nodes of a cluster, and what callers see of it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::cluster_support::{aside, cluster, config, fail_over, migrate, slot_of};
use crate::support::{TIME_LIMIT, eventually, ms};
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate};
use redis_actix_test::{RedisCluster, RedisServer};

const KEYS: usize = 24;

/// What callers know of one counter.
#[derive(Default, Clone, Copy, Debug)]
struct Account {
    acknowledged: i64,
    unknown: i64,
    refused: i64,
}

impl Account {
    fn note(&mut self, outcome: &redis_actix::Result<i64>) {
        match outcome.as_ref().map_err(redis_actix::Error::fate) {
            Ok(_) => self.acknowledged += 1,
            Err(Fate::Unknown) => self.unknown += 1,
            Err(Fate::NotSent | Fate::Rejected) => self.refused += 1,
        }
    }
}

/// Callers that count up until they are stopped.
struct Load {
    accounts: Rc<RefCell<Vec<Account>>>,
    over: Rc<Cell<bool>>,
    last_error: Rc<RefCell<Option<redis_actix::Error>>>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(redis: &Redis, callers: usize) -> Self {
        let accounts = Rc::new(RefCell::new(vec![Account::default(); KEYS]));
        let (over, last_error) = (Rc::new(Cell::new(false)), Rc::default());
        let callers = (0..callers).map(|caller| {
            let (redis, accounts, over) = (redis.clone(), accounts.clone(), over.clone());
            let last_error: Rc<RefCell<Option<redis_actix::Error>>> = Rc::clone(&last_error);
            actix::spawn(async move {
                let mut nth = caller;
                while !over.get() {
                    nth = (nth + 7) % KEYS;
                    let outcome = redis.send(Incr::new(format!("counter{nth}"))).await;
                    accounts.borrow_mut()[nth].note(&outcome);
                    if let Err(error) = outcome {
                        last_error.replace(Some(error));
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let callers = callers.collect();
        Self { accounts, over, last_error, callers }
    }

    fn acknowledged(&self) -> i64 {
        self.accounts.borrow().iter().map(|account| account.acknowledged).sum()
    }

    async fn goes_on(&self) {
        let before = self.acknowledged();
        eventually("commands answered", || (self.acknowledged() > before + 500).then_some(())).await;
    }

    async fn end(self) -> Vec<Account> {
        self.over.set(true);
        for caller in self.callers {
            caller.await.expect("no panic");
        }
        if let Some(error) = self.last_error.borrow().as_ref() {
            println!("the last error was: {error:?}");
        }
        self.accounts.borrow().clone()
    }
}

async fn sums(redis: &Redis) -> Vec<i64> {
    let keys: Vec<_> = (0..KEYS).map(|nth| format!("counter{nth}")).collect();
    let sums = redis.send(MGet::<i64>::new(keys)).await.expect("read");
    sums.into_iter().map(Option::unwrap_or_default).collect()
}

/// Ablation: leaving what waits at a dead node where it is: "commands that could have waited were refused", 128 of them.
#[actix::test]
async fn row_25_two_primaries_are_killed_and_every_counter_is_accounted_for() {
    let cluster = aside(|| cluster(RedisCluster::builder().replicas(1))).await;
    let redis = crate::support::hasty(config(&cluster).command_timeout(ms(15_000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let load = Load::start(&redis, 64);
    load.goes_on().await;
    let (cluster, mut dead) = (Arc::new(cluster), Vec::new());
    // One after the other: of three primaries the other two elect the replica of the third.
    for slot in [0, 16_383] {
        let at = Instant::now();
        fail_over(&cluster, slot, &mut dead).await;
        load.goes_on().await;
        println!("killed, and commands answered again, after {:?}", at.elapsed());
    }
    let before = load.accounts.borrow().clone();
    eventually("every counter going on", || {
        let now = load.accounts.borrow();
        now.iter().zip(&before).all(|(now, before)| now.acknowledged > before.acknowledged).then_some(())
    })
    .await;
    let accounts = load.end().await;
    let sums = sums(&redis).await;
    let mut unknown = 0;
    for (nth, (account, sum)) in accounts.iter().zip(&sums).enumerate() {
        let Account { acknowledged, unknown: lost, .. } = *account;
        assert!((acknowledged..=acknowledged + lost).contains(sum), "counter{nth}: {account:?}, and it is {sum}");
        unknown += lost;
    }
    let refused: i64 = accounts.iter().map(|account| account.refused).sum();
    println!("{} acknowledged, {unknown} unknown, {refused} refused", sums.iter().sum::<i64>());
    assert!(unknown > 0, "the kills hit no command");
    assert_eq!(refused, 0, "commands that could have waited were refused");
}

#[actix::test]
async fn row_25_slots_move_under_load_and_no_caller_notices() {
    let cluster = aside(|| {
        let mut cluster = cluster(RedisCluster::builder());
        cluster.add_node().expect("a fourth node");
        Arc::new(cluster)
    })
    .await;
    let redis = crate::support::hasty(config(&cluster).command_timeout(ms(10_000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let load = Load::start(&redis, 64);
    load.goes_on().await;
    // Pipelines, transactions and commands of several keys meanwhile.
    let (mixed_over, mixed) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let others = actix::spawn({
        let (redis, over, mixed) = (redis.clone(), mixed_over.clone(), mixed.clone());
        async move {
            while !over.get() {
                let incrs: Vec<_> = (0..KEYS).map(|nth| Incr::new(format!("mixed{nth}"))).collect();
                redis.send(Pipeline::new(incrs)).await.expect("a pipeline");
                let (_, n) = redis
                    .send(Transaction::new((Set::new("{counter3}a", 1), Incr::new("{counter3}b"))))
                    .await
                    .expect("a transaction");
                mixed.set(mixed.get() + 1);
                assert_eq!(n, mixed.get(), "run twice or not at all");
                let keys: Vec<_> = (0..KEYS).map(|nth| format!("mixed{nth}")).collect();
                let read = redis.send(MGet::<i64>::new(&keys)).await.expect("read");
                assert!(read.iter().all(|n| *n == Some(mixed.get())), "{read:?}");
            }
        }
    });
    // Each slot with a key, from its node to the new one and to the next, with its keys moving one by one.
    let slots: Vec<u16> = (0..KEYS).map(|nth| slot_of(&redis, &format!("counter{nth}"))).collect();
    for (round, slot) in slots.iter().chain(&slots).enumerate() {
        let to = cluster.nodes()[if round < KEYS { 3 } else { round % 3 }].port();
        migrate(&cluster, *slot, to).await;
        migrate(&cluster, slot_of(&redis, &format!("mixed{}", round % KEYS)), to).await;
    }
    let moved = load.acknowledged();
    load.goes_on().await;
    mixed_over.set(true);
    others.await.expect("no error reached it");
    let accounts = load.end().await;
    let sums = sums(&redis).await;
    for (nth, (account, sum)) in accounts.iter().zip(&sums).enumerate() {
        assert_eq!((account.unknown, account.refused), (0, 0), "counter{nth}");
        assert_eq!(account.acknowledged, *sum, "counter{nth}");
    }
    println!("{} slots moved twice, {moved} commands meanwhile, {} rounds of others", KEYS * 2, mixed.get());
    assert!(mixed.get() > 0);
}

/// Ablation: without ASKING in front, the node that the slot comes to sends every command back, until sixteen redirects are
/// used up: "INCR: server answered ASK".
#[actix::test]
async fn row_25_a_slot_that_is_half_moved_is_served_by_both_nodes() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = crate::support::hasty(config(&cluster).command_timeout(ms(10_000))).start().expect("started");
    let slot = slot_of(&redis, "{t}");
    redis.send(MSet::new([("{t}here", 1), ("{t}too", 1)])).await.expect("written");
    let source = cluster.owner(slot).expect("an owner");
    let target = cluster.nodes().iter().find(|node| node.port() != source.port()).expect("another one");
    let id = |node: &RedisServer| node.command(["CLUSTER", "MYID"]).expect("asked").text().expect("an id");
    let set_slot = |node: &RedisServer, what: &str, id: &str| {
        node.command(["CLUSTER", "SETSLOT", &slot.to_string(), what, id]).expect("asked").ok().expect("set");
    };
    set_slot(target, "IMPORTING", &id(source));
    set_slot(source, "MIGRATING", &id(target));
    // Keys that are missing at one node are at the other.
    assert_eq!(redis.send(Incr::new("{t}here")).await.expect("at the old one"), 2);
    assert_eq!(redis.send(Incr::new("{t}new")).await.expect("at the new one"), 1);
    let (a, b) = redis.send(Pipeline::new((Incr::new("{t}here"), Incr::new("{t}new")))).await.expect("at both");
    assert_eq!((a, b), (3, 2));
    let (_, n) =
        redis.send(Transaction::new((Set::new("{t}tx", 5), Incr::new("{t}tx")))).await.expect("at the new one");
    assert_eq!(n, 6);
    // Keys at both are for neither, until the rest has moved.
    let split = redis.send(MGet::<i64>::new(["{t}here", "{t}new"]));
    let moving = cluster.clone();
    let to = target.port();
    migrate(&moving, slot, to).await;
    assert_eq!(split.await.expect("when it was whole"), [Some(3), Some(2)]);
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// Reads keys of two nodes one after the other, for so long.
async fn latencies(redis: &Redis, keys: &[String], last: Duration) -> Vec<Duration> {
    let until = Instant::now() + last;
    let mut times = Vec::new();
    while Instant::now() < until {
        for key in keys {
            let asked = Instant::now();
            redis.send(Get::<String>::new(key)).await.expect("answered");
            times.push(asked.elapsed());
        }
        // A pace that leaves the processor to the nodes.
        tokio::time::sleep(ms(1)).await;
    }
    times
}

/// What keeps the others going is that each node has a queue and a link of its own, which no switch turns off.
#[actix::test]
async fn row_25_a_frozen_node_does_not_slow_others_down() {
    let cluster = aside(|| {
        cluster(
            RedisCluster::builder().arg("--cluster-require-full-coverage", "no").node_timeout(Duration::from_secs(60)),
        )
    })
    .await;
    let redis = crate::support::hasty(config(&cluster).command_timeout(ms(1_500))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let frozen = &cluster.nodes()[0];
    let at =
        |node: &RedisServer, key: &str| cluster.owner(slot_of(&redis, key)).expect("an owner").port() == node.port();
    let keys: Vec<String> = (0..200).map(|nth| format!("k{nth}")).collect();
    let (theirs, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| at(frozen, key));
    let others = &others[..20];
    latencies(&redis, others, ms(300)).await;
    // The machine is shared, and a round may be disturbed. A node that slows the others down does so in each of them.
    for round in 1.. {
        let before = p99(latencies(&redis, others, ms(1_500)).await);
        frozen.stop_process().expect("frozen");
        let waiting: Vec<_> = theirs.iter().map(|key| redis.send(Incr::new(key))).collect();
        let during = p99(latencies(&redis, others, ms(1_500)).await);
        for sent in waiting {
            let error = sent.await.expect_err("frozen");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
        }
        frozen.cont_process().expect("goes on");
        eventually_read(&redis, &theirs[0]).await;
        println!("p99 of the others: {before:?} before, {during:?} with one node frozen, round {round}");
        if during < before * 2 {
            break;
        }
        assert!(round < 5, "{before:?} before, {during:?} during, and no better four times before");
    }
}

async fn eventually_read(redis: &Redis, key: &str) {
    let deadline = Instant::now() + TIME_LIMIT;
    while let Err(error) = redis.send(Get::<String>::new(key)).await {
        assert!(Instant::now() < deadline, "never answered: {error}");
    }
}

#[actix::test]
async fn nodes_come_and_go() {
    let mut cluster = aside(|| cluster(RedisCluster::builder())).await;
    let redis = crate::support::hasty(config(&cluster).command_timeout(ms(10_000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let sets: Vec<_> = (0..100).map(|nth| Set::new(format!("n{nth}"), nth)).collect();
    redis.send(Pipeline::new(sets)).await.expect("written");
    let cluster = aside(move || {
        cluster.add_node().expect("a fourth node");
        Arc::new(cluster)
    })
    .await;
    let fourth = &cluster.nodes()[3];
    // The slots of the keys that the first node has: it is empty then, and gone after that.
    let slots: Vec<u16> = (0..100).map(|nth| slot_of(&redis, &format!("n{nth}"))).collect();
    for slot in slots.into_iter().filter(|slot| *slot < 5461) {
        migrate(&cluster, slot, fourth.port()).await;
    }
    let read = redis.send(MGet::<u64>::new((0..100).map(|nth| format!("n{nth}")).collect::<Vec<_>>())).await;
    assert_eq!(read.expect("read"), (0..100).map(Some).collect::<Vec<_>>());
    let address = fourth.addr();
    eventually("the new node in the topology", || {
        let nodes = redis.connection_info().nodes;
        nodes.iter().any(|node| node.address == address && node.state.is_some()).then_some(())
    })
    .await;
    assert!(!fourth.clients().expect("asked").is_empty(), "a link to the new node");
}
