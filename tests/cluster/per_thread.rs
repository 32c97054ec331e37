//! A connection for each thread, in a cluster: each thread has links to all nodes.

use actix::Arbiter;
use redis_actix::prelude::*;
use redis_actix::{Connections, LinkRole};
use redis_actix_test::RedisCluster;

use crate::cluster_support::{cluster, config};
use crate::support::{TIME_LIMIT, hasty};

/// Ablation: a thread connection without the initial nodes leads to one node, whose MOVED reaches the caller.
#[actix::test]
async fn each_thread_reaches_every_node_by_itself() {
    let cluster = cluster(RedisCluster::builder());
    let redis = hasty(config(&cluster).connections(Connections::per_thread())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let arbiter = Arbiter::new();
    let (own, (done, outcome)) = (redis.clone(), tokio::sync::oneshot::channel());
    arbiter.spawn(async move {
        let mut held = Vec::new();
        for nth in 0..60_u64 {
            own.send(Set::new(format!("k{nth}"), nth)).await.expect("written");
            held.extend(own.send(Get::<u64>::new(format!("k{nth}"))).await.expect("read"));
        }
        let keys: Vec<_> = (0..60).map(|nth| format!("k{nth}")).collect();
        let all: Vec<Option<u64>> = own.send(MGet::new(&keys)).await.expect("read");
        let _ = done.send((held, all));
    });
    let (held, all) = outcome.await.expect("the arbiter runs");
    assert_eq!(held, (0..60).collect::<Vec<_>>());
    assert_eq!(all, (0..60).map(Some).collect::<Vec<_>>());
    let threads = redis.stats().links.iter().filter(|link| link.role == LinkRole::Thread).count();
    assert_eq!(threads, 1, "{:?}", redis.stats().links);
    redis.shutdown(TIME_LIMIT).await.expect("a report");
}
