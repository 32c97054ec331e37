//! Servers die, restart, change their roles, and are busy.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::stream_support::*;
use actix::clock::sleep;
use redis_actix::StreamEventKind as Kind;
use redis_actix::prelude::*;
use redis_actix_test::{Proxy, RedisServer, Reply};

fn made_again(kind: &Kind) -> bool {
    matches!(kind, Kind::GroupCreated | Kind::Healed { .. })
}

/// Adds until it is stopped, and returns how many numbers from 0 on the server has acknowledged. A number whose
/// addition was not answered is added again.
fn produce(redis: &Redis, over: &Rc<Cell<bool>>) -> actix_rt::task::JoinHandle<u64> {
    let (redis, over) = (redis.clone(), over.clone());
    actix::spawn(async move {
        let mut n = 0;
        while !over.get() {
            if redis.send(XAdd::new("orders").entry(&Job { n }).unwrap().idempotent()).await.is_ok() {
                n += 1;
            }
            // Its pace: repeated entries are distinguishable from those handled long before a kill.
            sleep(ms(1)).await;
        }
        n
    })
}

/// Without the list of pending entries after a reconnect, unacknowledged entries waited for `min_idle`: not all of
/// 1,013 within 20 s.
#[actix::test]
async fn scenario_01_server_killed_under_load() {
    let fixture = StreamFixture::persistent();
    let redis = fixture.redis();
    let over = Rc::new(Cell::new(false));
    let producing = produce(&redis, &over);
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").min_idle(secs(30)).start::<Job>(&redis, handler.recipient()).unwrap();
    let mut kills = Vec::new();
    for round in 1..=3 {
        handler.handled(round * 200).await;
        let losses = redis.status().borrow().disconnects;
        kills.push(Instant::now());
        fixture.server.kill().unwrap();
        eventually("the link is lost", async || redis.status().borrow().disconnects > losses).await;
        fixture.server.restart().unwrap();
    }
    handler.handled(1_000).await;
    over.set(true);
    let added = producing.await.unwrap();
    handler.all_of(added).await;
    settled(&redis).await;
    // An entry that ran twice had been handled shortly before a kill: its acknowledgement was on its way. One that was
    // added twice is another entry.
    let seen = handler.seen();
    for (nth, second) in seen.iter().enumerate() {
        let Some(first) = seen[..nth].iter().find(|first| first.id == second.id) else { continue };
        let in_flight = kills.iter().any(|kill| first.at <= *kill + ms(100) && *kill <= second.at);
        assert!(in_flight, "twice without a cause: {first:?} {second:?}, killed at {kills:?}");
    }
    assert_eq!(consumer.stats().await.unwrap().unacknowledged, 0);
}

/// With the group made only the first time: not made again within 20 s.
#[actix::test]
async fn scenario_02_restart_without_persistence() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let (gate, passed) = tokio::sync::watch::channel(false);
    let ended = Rc::new(Cell::new(0));
    let counts = ended.clone();
    let handler = Recorder::working(move |_| {
        let (mut passed, counts) = (passed.clone(), counts.clone());
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            counts.set(counts.get() + 1);
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").max_in_flight(4).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..4).await;
    handler.handled(4).await;
    fixture.server.restart().unwrap();
    // Before the consumer is back: it must not begin behind these.
    let mut server = fixture.server.connect().unwrap();
    for n in 4..54_u64 {
        server.command(["XADD", "t:orders", "*", "n", &n.to_string()]).unwrap();
    }
    events.saw("made again at 0", |kind| matches!(kind, Kind::Healed { after } if *after == StreamId::MIN)).await;
    gate.send(true).unwrap();
    handler.all_of(54).await;
    assert!(ended.get() >= 4, "handlers in flight finish");
    add(&redis, 54..100).await;
    handler.all_of(100).await;
    settled(&redis).await;
    assert_eq!(consumer.stats().await.unwrap().state, "live");
}

/// A primary, its replica behind a link of its own, and a proxy that leads clients to the primary.
struct Pair {
    primary: RedisServer,
    replica: RedisServer,
    between: Proxy,
    front: Proxy,
}

impl Pair {
    async fn start() -> Self {
        let primary = RedisServer::builder().args(["--repl-diskless-sync-delay", "0"]).start().unwrap();
        let replica = RedisServer::builder().args(["--repl-diskless-sync-delay", "0"]).start().unwrap();
        let between = Proxy::start(primary.addr()).unwrap();
        let front = Proxy::start(primary.addr()).unwrap();
        tell(&replica, ["REPLICAOF", "127.0.0.1", &between.port().to_string()]).ok().unwrap();
        let pair = Self { primary, replica, between, front };
        eventually("the replica follows", async || {
            tell(&pair.replica, ["INFO", "replication"]).text().unwrap().contains("master_link_status:up")
        })
        .await;
        pair
    }

    /// Waits until the replica has all that the primary did.
    async fn in_step(&self) {
        let offset = |server: &RedisServer, name: &str| {
            let info = tell(server, ["INFO", "replication"]).text().unwrap();
            info.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
        };
        eventually("the replica is in step", async || {
            offset(&self.primary, "master_repl_offset:") == offset(&self.replica, "slave_repl_offset:")
        })
        .await;
    }
}

/// Without the list of pending entries after a reconnect, no entry that the replica had missed came back before
/// `min_idle`: not 100 calls within 20 s.
#[actix::test]
async fn scenario_03_failover_acks_lost() {
    let pair = Pair::start().await;
    let redis = connect(pair.front.port());
    let events = Events::watch();
    let (gate, passed) = tokio::sync::watch::channel(false);
    let handler = Recorder::working(move |_| {
        let mut passed = passed.clone();
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").min_idle(secs(60)).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..50).await;
    handler.all_of(50).await;
    pair.in_step().await;
    // The replica hears of the deliveries, and not of the acknowledgements.
    pair.between.hold();
    gate.send(true).unwrap();
    eventually("acknowledged", async || consumer.stats().await.unwrap().acked == 50).await;
    tell(&pair.replica, ["REPLICAOF", "NO", "ONE"]).ok().unwrap();
    pair.front.set_upstream(pair.replica.addr());
    pair.primary.kill().unwrap();
    handler.handled(100).await;
    let direct = connect(pair.replica.port());
    settled(&direct).await;
    for n in 0..50 {
        assert_eq!(handler.attempts(n), [1, 2], "redelivered, and counted");
    }
    assert_eq!(events.count(made_again), 1, "the group is that of the primary");
}

/// Without giving a link up that answers READONLY, the consumer stayed with the old primary: not all of 40 within 20 s.
#[actix::test]
async fn scenario_04_primary_demoted_under_block() {
    let pair = Pair::start().await;
    let redis = connect(pair.front.port());
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").block(secs(5)).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..20).await;
    handler.all_of(20).await;
    settled(&redis).await;
    pair.in_step().await;
    tell(&pair.replica, ["REPLICAOF", "NO", "ONE"]).ok().unwrap();
    pair.front.set_upstream(pair.replica.addr());
    tell(&pair.primary, ["REPLICAOF", "127.0.0.1", &pair.replica.port().to_string()]).ok().unwrap();
    let direct = connect(pair.replica.port());
    let demoted = Instant::now();
    add(&direct, 20..40).await;
    handler.all_of(40).await;
    assert!(demoted.elapsed() < secs(10), "{:?}", demoted.elapsed());
    settled(&direct).await;
    assert_eq!(events.count(made_again), 1, "only at first: {:?}", events.all());
    assert_eq!(handler.seen().len(), 40, "each once");
    assert_eq!(consumer.stats().await.unwrap().state, "live");
}

/// CLUSTERDOWN, the third of this scenario, is in `cluster_streams`. The connection defers commands that are answered BUSY or LOADING,
/// and the group is searched before it is created: no single line of the consumer makes this fail.
#[actix::test]
async fn scenario_27_loading_and_busy() {
    let server = RedisServer::builder().appendonly(true).fsync_always();
    let server = server.args(["--loading-process-events-interval-bytes", "1024", "--busy-reply-threshold", "100"]);
    let fixture = StreamFixture { server: server.start().unwrap() };
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    let redis = connect(proxy.port());
    let events = Events::watch();
    let (gate, passed) = tokio::sync::watch::channel(true);
    let handler = Recorder::working(move |_| {
        let mut passed = passed.clone();
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    let over = Rc::new(Cell::new(false));
    let producing = produce(&redis, &over);
    handler.all_of(100).await;
    for _ in 0..2 {
        gate.send_replace(false);
        handler.handled(handler.seen().len() + 5).await;
        let mut endless = fixture.server.connect().unwrap();
        endless.send(["EVAL", "while true do end", "0"]).unwrap();
        let busy = |reply: Reply| matches!(reply, Reply::Error(text) if text.starts_with("BUSY"));
        eventually("busy", async || busy(fixture.server.command(["PING"]).unwrap())).await;
        // These are acknowledged in vain meanwhile.
        let answered = proxy.bytes_to_client();
        gate.send_replace(true);
        eventually("answered BUSY several times", async || proxy.bytes_to_client() > answered + 500).await;
        tell(&fixture.server, ["SCRIPT", "KILL"]).ok().unwrap();
        let seen = handler.distinct() as u64;
        handler.all_of(seen + 200).await;
    }
    tell(&fixture.server, ["CONFIG", "SET", "key-load-delay", "100"]);
    let mut loading = fixture.server.connect().unwrap();
    loading.send(["DEBUG", "LOADAOF"]).unwrap();
    let seen = handler.distinct() as u64;
    handler.all_of(seen + 200).await;
    over.set(true);
    let added = producing.await.unwrap();
    tell(&fixture.server, ["CONFIG", "SET", "key-load-delay", "0"]);
    handler.all_of(added).await;
    settled(&redis).await;
    assert_eq!(events.count(made_again), 1, "only at first: {:?}", events.all());
    assert_eq!(consumer.stats().await.unwrap().state, "live");
}
