//! A primary that is cut off from the cluster bus, and still answers its clients with the topology of before.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix_test::RedisCluster;

use crate::cluster_support::{aside, cluster, config, slot_of_name};
use crate::support::{self, TIME_LIMIT, eventually, ms};

/// Three primaries with a replica each; the first primary is cut off, and its replica has been promoted.
struct Partition {
    cluster: Arc<RedisCluster>,
    /// The address of the isolated primary, and of the one that has replaced it.
    isolated: String,
    promoted: String,
}

impl Partition {
    async fn prepare() -> Arc<RedisCluster> {
        aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1).proxied()))).await
    }

    async fn begin(cluster: Arc<RedisCluster>) -> Self {
        cluster.isolate(0);
        let says = |node: usize, what: &str| {
            let node = &cluster.nodes()[node];
            node.command(["CLUSTER", "INFO"]).expect("asked").text().expect("text").contains(what)
        };
        let role = || cluster.nodes()[3].command(["ROLE"]).expect("asked").array().expect("a role")[0].text();
        eventually("its replica promoted", || (role().expect("text") == "master").then_some(())).await;
        eventually("all others well", || (1..6).all(|node| says(node, "cluster_state:ok")).then_some(())).await;
        eventually("that it reaches no majority", || says(0, "cluster_state:fail").then_some(())).await;
        let address = |node| format!("127.0.0.1:{}", cluster.announced_port(node));
        Self { isolated: address(0), promoted: address(3), cluster }
    }

    /// How often the isolated primary was asked for the slots.
    fn asked_isolated(&self) -> u64 {
        let stats = self.cluster.nodes()[0].command(["INFO", "commandstats"]).expect("asked").text().expect("text");
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_cluster|slots:calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }
}

fn lists(redis: &Redis, address: &str) -> bool {
    redis.connection_info().nodes.iter().any(|node| node.address == address && node.state.is_some())
}

/// A key of the first slots.
fn key_of_first_node() -> String {
    (0..).map(|nth| format!("k{nth}")).find(|key| slot_of_name(format!("test:{key}")) < 5_000).expect("one of many")
}

/// Its slots stay where they are, although it answers long before the others.
///
/// Ablation: the first whole answer adopted, fails with "the isolated primary is back".
#[actix::test]
async fn a_primary_that_is_cut_off_from_the_bus_does_not_get_its_slots_back() {
    let cluster = Partition::prepare().await;
    let redis = support::hasty(config(&cluster)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let partition = Partition::begin(cluster).await;
    let key = key_of_first_node();
    eventually_incremented(&redis, &key).await;
    eventually("the new primary", || lists(&redis, &partition.promoted).then_some(())).await;
    eventually("the old one gone", || (!lists(&redis, &partition.isolated)).then_some(())).await;
    (1..6).for_each(|node| partition.cluster.proxy(node).expect("a proxy").delay(ms(100)));
    // A link that is lost is a reason to read the topology.
    let (other, enough) = (partition.cluster.proxy(1).expect("a proxy"), partition.asked_isolated() + 4);
    while partition.asked_isolated() < enough {
        other.reset_all();
        for _ in 0..40 {
            assert!(!lists(&redis, &partition.isolated), "the isolated primary is back");
            tokio::time::sleep(ms(5)).await;
        }
    }
    redis.send(Incr::new(key.as_str())).await.expect("at the new primary");
}

/// A handle that starts during the partition, and whose first address is the isolated primary.
///
/// Ablation: the first whole answer adopted, fails with "the isolated primary is taken for the owner".
#[actix::test]
async fn a_handle_that_starts_at_the_isolated_primary_finds_the_majority() {
    let partition = Partition::begin(Partition::prepare().await).await;
    let key = key_of_first_node();
    for _ in 0..10 {
        let redis = support::hasty(config(&partition.cluster)).start().expect("started");
        redis.ready(TIME_LIMIT).await.expect("ready");
        assert!(!lists(&redis, &partition.isolated), "the isolated primary is taken for the owner");
        redis.send(Incr::new(key.as_str())).await.expect("at the new primary");
    }
}

async fn eventually_incremented(redis: &Redis, key: &str) {
    let deadline = std::time::Instant::now() + TIME_LIMIT;
    while let Err(error) = redis.send(Incr::new(key)).await {
        assert!(std::time::Instant::now() < deadline, "never answered: {error}");
    }
}
