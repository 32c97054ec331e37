//! Partitions of clusters and of sentinels.

use redis_actix_test::{RedisCluster, RedisServer, Reply, SentinelSet};
use std::io::{Error, Result};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn eventually(what: &str, mut seen: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !seen()? {
        if Instant::now() > deadline {
            return Err(Error::other(format!("never saw {what}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn is_replica(server: &RedisServer) -> Result<bool> {
    let role = server.command(["ROLE"])?;
    Ok(role.array()?.first().and_then(Reply::bytes) == Some(b"slave"))
}

/// Ablation: without `bind-source-addr` the proxies cannot tell who connects: "never saw another primary".
#[test]
fn an_isolated_primary_is_replaced_and_its_clients_still_reach_it() -> Result<()> {
    let cluster = RedisCluster::builder().replicas(1).proxied().start()?;
    let old = cluster.owner(0)?;
    let nth = cluster.nodes().iter().position(|node| node.port() == old.port()).unwrap_or_default();
    let others: Vec<_> = cluster.nodes().iter().filter(|node| node.port() != old.port()).collect();
    cluster.isolate(nth);
    let announced = format!("127.0.0.1:{}@", cluster.announced_port(nth));
    eventually("another primary", || {
        let gone = |node: &&RedisServer| {
            let nodes = node.command(["CLUSTER", "NODES"])?.text()?;
            Ok(nodes.lines().any(|line| line.contains(&announced) && line.contains("fail ") && !line.contains("fail?")))
        };
        let gone = others.iter().map(gone).collect::<Result<Vec<_>>>()?;
        Ok(gone.into_iter().all(|gone| gone))
    })?;
    let proxy = cluster.proxy(nth).ok_or_else(|| Error::other("a proxy"))?;
    assert_eq!(redis_actix_test::Connection::open(proxy.addr(), None)?.command(["PING"])?.text()?, "PONG");
    assert!(!is_replica(old)?);
    cluster.heal();
    eventually("the old primary as a replica", || is_replica(old))
}

#[test]
fn an_isolated_master_is_replaced_by_sentinels_and_still_takes_writes() -> Result<()> {
    let set = SentinelSet::builder().proxied().start()?;
    let old = set.master()?;
    set.isolate(0);
    eventually("another master", || Ok(set.master()?.port() != old.port()))?;
    old.command(["SET", "k", "v"])?.ok()?;
    set.heal();
    eventually("the old master as a replica", || is_replica(old))
}
