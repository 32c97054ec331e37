//! Subscriptions to channels while nodes are cut off from the cluster bus.

use redis_actix::prelude::*;
use redis_actix_test::{Proxy, RedisServer, RedisServerBuilder, cluster_options, form};

use crate::membership::gaps;
use crate::pubsub_support::{Notes, subscribers};
use crate::support::{aside, eventually, hasty, ms};

/// Three primaries. Others reach the bus of each through a proxy.
struct Bus {
    nodes: Vec<RedisServer>,
    proxies: Vec<Proxy>,
}

impl Bus {
    fn start() -> Self {
        let (mut nodes, mut proxies) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let proxy = Proxy::start("127.0.0.1:1").expect("a port");
            let port = proxy.port().to_string();
            let options = cluster_options(RedisServerBuilder::default(), ms(500));
            let options = options.args(["--cluster-require-full-coverage", "no", "--cluster-announce-bus-port", &port]);
            let options = options.arg("--enable-debug-command", "yes");
            let node = options.start().unwrap_or_else(|error| panic!("{error}"));
            proxy.set_upstream(format!("127.0.0.1:{}", u32::from(node.port()) + 10_000));
            nodes.push(node);
            proxies.push(proxy);
        }
        let addresses: Vec<String> = nodes.iter().map(RedisServer::addr).collect();
        form(&addresses, 3).unwrap_or_else(|error| panic!("{error}"));
        Self { nodes, proxies }
    }

    fn config(&self) -> redis_actix::RedisConfigBuilder {
        RedisConfig::builder().cluster_hosts(self.nodes.iter().map(RedisServer::addr)).key_prefix("test:")
    }

    /// No node reaches any other.
    fn cut_all(&self) {
        for proxy in &self.proxies {
            proxy.refuse();
            proxy.reset_all();
        }
    }

    /// The others do not reach a node any more, and it drops what they answer, which is what a packet filter leaves of it.
    fn cut_off(&self, nth: usize) {
        self.proxies[nth].refuse();
        self.proxies[nth].reset_all();
        let pong = ["DEBUG", "DROP-CLUSTER-PACKET-FILTER", "1"];
        self.nodes[nth].command(pong).expect("asked").ok().expect("dropped");
    }

    fn heal(&self) {
        self.proxies.iter().for_each(Proxy::pass);
    }

    /// How often a node was asked by clients how it sees the others.
    fn asked_for_nodes(&self, nth: usize) -> u64 {
        let stats = self.nodes[nth].command(["INFO", "commandstats"]).expect("asked").text().expect("text");
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_cluster|nodes:calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// Whether a node sees another one as failed, or as failing.
    fn sees(&self, nth: usize, other: usize, flag: &str) -> bool {
        let nodes = self.nodes[nth].command(["CLUSTER", "NODES"]).expect("asked").text().expect("text");
        let address = self.nodes[other].addr();
        let line = nodes.lines().find(|line| line.contains(&address)).expect("known").to_owned();
        line.split(' ').nth(2).expect("flags").split(',').any(|is| is == flag)
    }
}

async fn subscribed_at(bus: &Bus, nth: usize) -> (Redis, Subscription, Notes) {
    for _ in 0..100 {
        let redis = hasty(bus.config()).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
        if subscribers(&bus.nodes[nth], "test:c") == 1 {
            return (redis, subscription, notes);
        }
        subscription.close().await;
    }
    panic!("no subscription went there");
}

/// It answers its clients and has its slots.
/// Ablation: without the check fails with `never saw the gap`.
#[actix::test]
async fn a_subscription_leaves_a_node_that_is_cut_off_from_the_cluster_bus() {
    let bus = aside(Bus::start).await;
    let (_redis, _subscription, notes) = subscribed_at(&bus, 2).await;
    bus.nodes[0].command(["PUBLISH", "test:c", "before"]).expect("asked").int().expect("a number");
    notes.payload("before").await;
    bus.cut_off(2);
    eventually("that it sees no other node", || (bus.sees(2, 0, "fail?") && bus.sees(2, 1, "fail?")).then_some(()))
        .await;
    bus.nodes[0].command(["PUBLISH", "test:c", "missed"]).expect("asked").int().expect("a number");
    eventually("the gap", || (gaps(&notes) >= 1).then_some(())).await;
    bus.nodes[0].command(["PUBLISH", "test:c", "after"]).expect("asked").int().expect("a number");
    notes.payload("after").await;
    assert!(!notes.payloads().contains(&"missed".to_owned()), "it was cut off");
    assert_eq!((gaps(&notes), subscribers(&bus.nodes[2], "test:c")), (1, 0));
}

/// All of them are cut off from all: no other node would be better. The gap follows when they are together again.
/// Ablation: without the check fails with `never saw a check`.
#[actix::test]
async fn a_cluster_whose_bus_was_down_costs_a_gap_when_it_is_back() {
    let bus = aside(Bus::start).await;
    let (_redis, _subscription, notes) = subscribed_at(&bus, 2).await;
    bus.cut_all();
    eventually("that it sees no other node", || (bus.sees(2, 0, "fail?") && bus.sees(2, 1, "fail?")).then_some(()))
        .await;
    bus.nodes[0].command(["PUBLISH", "test:c", "missed"]).expect("asked").int().expect("a number");
    let asked = bus.asked_for_nodes(2);
    eventually("a check", || (bus.asked_for_nodes(2) > asked + 1).then_some(())).await;
    assert_eq!(gaps(&notes), 0, "there is no better place: {:?}", notes.events());
    bus.heal();
    eventually("the gap", || (gaps(&notes) >= 1).then_some(())).await;
    bus.nodes[0].command(["PUBLISH", "test:c", "after"]).expect("asked").int().expect("a number");
    notes.payload("after").await;
    assert!(!notes.payloads().contains(&"missed".to_owned()), "it was cut off");
}
