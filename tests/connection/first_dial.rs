//! Commands that fail without a connection, before it is known whether there is one.

use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate, WhenDown};
use redis_actix_test::RedisCluster;

use crate::support::{self, TIME_LIMIT, config, hasty};

/// Ablation: without `awaits_first_dial` the first command fails with "there is no connection yet".
#[actix::test]
async fn fail_fast_waits_for_the_first_dial() {
    let server = support::server();
    let redis = hasty(config(server.port()).when_down(WhenDown::FailFast)).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("the server is there"), 1);
    drop(redis);
    let redis = hasty(config(server.port())).start().expect("started");
    assert_eq!(redis.send(Incr::new("k").when_down(WhenDown::FailFast)).await.expect("the server is there"), 2);
}

/// Ablation: without `fail_fast` after the first failed dial the command waits for its deadline, which is far away.
#[actix::test]
async fn fail_fast_fails_with_the_first_dial() {
    let port = redis_actix_test::free_port().expect("a port");
    let redis = hasty(config(port).command_timeout(TIME_LIMIT * 100)).start().expect("started");
    let (queued, fails) = (redis.send(Incr::new("k")), redis.send(Incr::new("k").when_down(WhenDown::FailFast)));
    let error = tokio::time::timeout(TIME_LIMIT, fails).await.expect("with the dial").expect_err("no server");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::NotSent), "{error}");
    let error = redis.send(Incr::new("k").when_down(WhenDown::FailFast)).await.expect_err("at once from now on");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::NotSent), "{error}");
    drop(queued);
}

/// Ablation: as above, by `Router::submit`.
#[actix::test]
async fn fail_fast_waits_for_the_first_look_at_a_cluster() {
    let cluster = RedisCluster::builder().primaries(3).start().unwrap_or_else(|error| panic!("{error}"));
    let config =
        RedisConfig::builder().cluster_hosts(cluster.hosts()).key_prefix("test:").when_down(WhenDown::FailFast);
    let redis = hasty(config).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("the cluster is there"), 1);

    let ports = [(); 2].map(|()| redis_actix_test::free_port().expect("a port"));
    let nowhere = ports.map(|port| format!("127.0.0.1:{port}"));
    let config = RedisConfig::builder().cluster_hosts(nowhere).key_prefix("test:").command_timeout(TIME_LIMIT * 100);
    let redis = hasty(config.when_down(WhenDown::FailFast)).start().expect("started");
    let error = tokio::time::timeout(TIME_LIMIT, redis.send(Incr::new("k"))).await.expect("with the look");
    assert_eq!(error.expect_err("no cluster").fate(), Fate::NotSent);
}
