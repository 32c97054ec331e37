//! Nodes that are frozen, out of reach or not there at all.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, HostPort};
use redis_actix_test::{Answer, Proxy, RedisCluster, free_port};

use crate::cluster_support::{aside, cluster, config, slot_of_name};
use crate::scripted::{Scripted, error, int};
use crate::support::{self, TIME_LIMIT, eventually, ms};

/// Ablation: `Node::is_well` without a look at its silence fails: a third of the commands time out.
#[actix::test]
async fn what_any_node_can_do_is_done_while_one_is_frozen() {
    let cluster = aside(|| {
        let builder = RedisCluster::builder().arg("--cluster-require-full-coverage", "no");
        cluster(builder.node_timeout(Duration::from_secs(60)))
    })
    .await;
    let redis = support::hasty(config(&cluster).command_timeout(ms(2_000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let frozen = &cluster.nodes()[0];
    frozen.stop_process().expect("frozen");
    // Until it is seen to be silent, what goes there is lost; that is found out by these.
    let first = join_all((0..6).map(|nth| redis.send(Publish::new(format!("c{nth}"), "x")))).await;
    assert!(first.iter().any(Result::is_ok));
    let mut failed = 0;
    for nth in 0..60 {
        failed += u32::from(redis.send(Ping::new()).await.is_err());
        failed += u32::from(redis.send(Publish::new(format!("c{nth}"), "x")).await.is_err());
    }
    assert_eq!(failed, 0, "while two of three nodes are well");
    frozen.cont_process().expect("goes on");
}

/// One of three nodes swallows packets: its listener's backlog is full, so that connecting hangs.
///
/// Ablation: waiting for the first dial of every node fails with "still connecting".
#[actix::test]
async fn a_node_that_swallows_packets_does_not_keep_the_cluster_from_being_ready() {
    let nodes = Scripted::start(2, |_| int(1));
    let hole = BlackHole::new();
    nodes.assign_ports([
        (0, 5_000, nodes.nodes[0].port()),
        (5_001, 10_000, nodes.nodes[1].port()),
        (10_001, 16_383, hole.port()),
    ]);
    let redis = support::hasty(nodes.config().connect_timeout(Duration::from_secs(30))).start().expect("started");
    let asked = Instant::now();
    redis.ready(Duration::from_secs(20)).await.expect("two of three are");
    assert!(asked.elapsed() < Duration::from_secs(20));
    let listed = redis.connection_info().nodes;
    let state = listed.iter().find(|node| node.address.ends_with(&hole.port().to_string())).expect("listed").state;
    assert_eq!(state, Some(ConnectionState::Connecting));
    assert_eq!(listed.iter().filter(|node| node.state == Some(ConnectionState::Ready)).count(), 2);
}

/// A listener that accepts nothing, and whose queue is full.
struct BlackHole {
    listener: std::net::TcpListener,
    _queued: Vec<std::net::TcpStream>,
}

impl BlackHole {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("bound");
        socket.listen(0).expect("listening");
        let listener: std::net::TcpListener = socket.into();
        let addr = listener.local_addr().expect("an address");
        let connect = |_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(300)).ok();
        let queued = (0..8).map_while(connect).collect();
        Self { listener, _queued: queued }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }
}

/// A cluster of which no node is there: what has expired is gone, so nothing is full and nothing is waited for.
///
/// Ablation: expired commands that keep their place in the queue fail with Overloaded, and the shutdown takes 5 s.
#[actix::test]
async fn expired_commands_leave_a_cluster_without_a_map() {
    let config = RedisConfig::builder().cluster_hosts([format!("127.0.0.1:{}", free_port().expect("a port"))]);
    let config = config.key_prefix("test:").max_queued(500).command_timeout(ms(300));
    let redis = support::hasty(config).start().expect("started");
    let addr = redis.addr();
    for _ in 0..4 {
        let sent = join_all((0..500).map(|nth| addr.send(Incr::new(format!("k{nth}"))))).await;
        for outcome in sent {
            let error = outcome.expect("there").expect_err("no server");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent), "{error}");
        }
    }
    let late = redis.send(Incr::new("k"));
    let asked = Instant::now();
    eventually("the last one expired", || (asked.elapsed() > ms(400)).then_some(())).await;
    late.await.expect_err("no server");
    let asked = Instant::now();
    let report = redis.shutdown(Duration::from_secs(20)).await.expect("a report");
    assert!(asked.elapsed() < Duration::from_secs(10), "nothing was left to wait for");
    assert_eq!((report.completed, report.failed, report.unknown), (0, 0, 0));
}

/// One entry of CLUSTER SLOTS that makes no sense.
///
/// Ablation: one odd entry that spoils the answer fails with "the answer to CLUSTER SLOTS is not what it should be".
#[actix::test]
async fn a_replica_without_a_port_does_not_spoil_the_map() {
    let nodes = Scripted::start(1, |_| int(1));
    let port = nodes.nodes[0].port();
    nodes.answer_slots(format!(
        "*2\r\n*4\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$2\r\nid\r\n*3\r\n$9\r\n127.0.0.1\r\n:0\r\n$2\r\nid\r\n:7\r\n"
    ));
    let redis = nodes.ready().await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("answered"), 1);
    let nodes = redis.connection_info().nodes;
    assert_eq!(nodes.len(), 1, "{nodes:?}");
}

/// Nodes that announce addresses which lead nowhere from here, in CLUSTER SLOTS and in MOVED.
///
/// Ablation: the address as it is announced fails: no node is reached, and the command behind MOVED times out.
#[actix::test]
async fn announced_addresses_are_mapped_before_they_are_dialled() {
    let nodes = Scripted::start(2, |asked| match (asked.name().as_str(), asked.node) {
        ("INCR", 0) => error(&format!("MOVED {} 192.0.2.1:{}", slot_of_name("test:k"), asked.ports[1])),
        ("INCR", _) => int(7),
        _ => Answer::Default,
    });
    let port = nodes.nodes[0].port();
    nodes.answer_slots(format!("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n192.0.2.1\r\n:{port}\r\n$2\r\nid\r\n"));
    let config = nodes.config().connect_timeout(ms(2_000)).address_map(|announced: &HostPort| HostPort {
        host: announced.host.replace("192.0.2.1", "127.0.0.1"),
        port: announced.port,
    });
    let redis = support::hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(Incr::new("k")).await.expect("answered"), 7);
    assert!(redis.connection_info().nodes.iter().all(|node| node.address.starts_with("127.0.0.1:")));
}

/// The first node is ready, one swallows packets, and a command has no answer when the shutdown begins.
///
/// Ablation: a grace period that counts in every state fails: the thread uses its processor for the whole drain.
#[actix::test]
async fn draining_does_not_use_the_processor() {
    let nodes = Scripted::start(1, |asked| match asked.name().as_str() {
        "INCR" => Answer::Silence,
        _ => Answer::Default,
    });
    let hole = BlackHole::new();
    nodes.assign_ports([(0, 10_000, nodes.nodes[0].port()), (10_001, 16_383, hole.port())]);
    let config = nodes.config().connect_timeout(Duration::from_secs(30)).command_timeout(Duration::from_secs(30));
    let redis = support::hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("one of two is");
    let key = (0..).map(|nth| format!("k{nth}")).find(|key| slot_of_name(format!("test:{key}")) <= 10_000);
    let key = key.expect("one of many");
    let waiting = redis.send(Incr::new(key.as_str()));
    eventually("the command at the node", || (nodes.count(0, "INCR") == 1).then_some(())).await;
    let (used, clock) = (processor_time(), Instant::now());
    redis.shutdown(ms(2_000)).await.expect("a report");
    let (used, lasted) = (processor_time() - used, clock.elapsed());
    assert!(used < lasted / 4, "{used:?} of {lasted:?}");
    waiting.await.expect_err("no answer");
}

/// What this thread has used of its processor.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("this system has it");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    // In hundredths of a second: user and system.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// A node has lost its slots, and then its link, with a command unanswered that may be repeated.
///
/// Ablation: a displaced node that is kept although its link is lost fails: the command times out.
#[actix::test]
async fn what_a_displaced_node_leaves_unanswered_goes_on_to_the_new_owner() {
    let nodes = Scripted::start(3, |asked| match (asked.name().as_str(), asked.node) {
        ("SET", 0) => Answer::Silence,
        ("SET", _) => Answer::raw("+OK\r\n"),
        _ => Answer::Default,
    });
    let proxy = Proxy::start(nodes.nodes[0].addr()).expect("a port");
    let port = |node: usize| nodes.nodes[node].port();
    nodes.assign_ports([(0, 16_382, proxy.port()), (16_383, 16_383, port(2))]);
    let config = RedisConfig::builder().cluster_hosts([nodes.nodes[2].addr()]).key_prefix("test:");
    let redis = support::hasty(config.command_timeout(TIME_LIMIT)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let waiting = redis.send(Set::new("k", "x").idempotent());
    eventually("the command at the node", || (nodes.count(0, "SET") == 1).then_some(())).await;
    nodes.assign([(0, 16_382, 1), (16_383, 16_383, 2)]);
    // A link that is lost is a reason to read the topology.
    nodes.nodes[2].close_all();
    let lists =
        |port: u16| redis.connection_info().nodes.iter().any(|node| node.address == format!("127.0.0.1:{port}"));
    eventually("the new owner", || lists(port(1)).then_some(())).await;
    proxy.refuse();
    proxy.reset_all();
    waiting.await.expect("run by the new owner");
    assert_eq!(nodes.count(1, "SET"), 1);
}

/// All nodes are replaced by others at once, and only a name of the configuration leads to the new ones.
///
/// Ablation: seeds that are not asked once nodes are known fail: the command times out.
#[actix::test]
async fn a_cluster_all_of_whose_nodes_have_new_addresses_is_found_by_its_seed() {
    let answering = |value: i64| {
        Scripted::start(2, move |asked| match asked.name().as_str() {
            "INCR" => int(value),
            _ => Answer::Default,
        })
    };
    let (before, behind) = (answering(1), answering(2));
    let seed = Proxy::start(before.nodes[0].addr()).expect("a port");
    let config = RedisConfig::builder().cluster_hosts([seed.addr()]).key_prefix("test:").command_timeout(TIME_LIMIT);
    let redis = support::hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(Incr::new("k")).await.expect("at the old node"), 1);
    seed.set_upstream(behind.nodes[0].addr());
    drop(before);
    assert_eq!(redis.send(Incr::new("k").idempotent()).await.expect("at the new node"), 2);
}

/// Its CLUSTER NODES says that another node owns all slots, as behind an address that leads to two nodes in turn.
///
/// Ablation: a scan that counts no such answer does not end.
#[actix::test]
async fn a_scan_ends_where_a_node_and_the_topology_contradict_each_other_for_good() {
    let nodes = Scripted::start(1, |asked| match asked.name().as_str() {
        "CLUSTER" => {
            let lines =
                "a 127.0.0.1:1@2 myself,master - 0 0 1 connected\nb 127.0.0.1:3@4 master - 0 0 2 connected 0-16383\n";
            Answer::raw(format!("${}\r\n{lines}\r\n", lines.len()))
        }
        _ => Answer::Default,
    });
    let redis = nodes.ready().await;
    let mut scan = redis.scan_keys(redis_actix::ScanKeys::new("*"));
    let error = tokio::time::timeout(TIME_LIMIT * 3, scan.next()).await.expect("it ends").expect("an error");
    let error = error.expect_err("no node has the keys");
    assert!(error.to_string().contains("resume it when the nodes agree"), "{error}");
    assert!(scan.next().await.is_none());
}

/// Ablation: without `abort` in the destructor of the router fails with one in flight and none unknown.
#[actix::test]
async fn stats_are_final_when_the_thread_of_a_cluster_has_ended() {
    let nodes = Scripted::start(2, |asked| match asked.name().as_str() {
        "EXISTS" => Answer::Silence,
        _ => Answer::Default,
    });
    nodes.assign([(0, 8_000, 0), (8_001, 16_383, 1)]);
    let arbiter = actix::Arbiter::new();
    let builder = support::hasty(nodes.config().command_timeout(TIME_LIMIT * 10).liveness(None));
    let redis = builder.arbiter(arbiter.handle()).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let call = redis.send(Exists::new(["k"]));
    eventually("one in flight", || (redis.stats().in_flight == 1).then_some(())).await;
    arbiter.stop();
    aside(move || arbiter.join()).await.expect("ended");
    let error = call.await.expect_err("no thread");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::Unknown), "{error}");
    let ended = redis.stats();
    assert_eq!((ended.state, ended.in_flight, ended.queued), (ConnectionState::Closed, 0, 0));
    assert_eq!((ended.unknown, ended.not_sent), (1, 0));
}
