//! How to test a service of your own against faults, with the servers and the proxy of `redis-actix-test`.
//! Copy this file and put your service in the place of [`visit`].
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use redis_actix::Fate;
use redis_actix::prelude::*;
use redis_actix_test::{Direction, Proxy, RedisServer};

/// The service: counts a visitor, and would rather miss one than count one twice.
async fn visit(redis: &Redis, page: &str) -> redis_actix::Result<Option<i64>> {
    match redis.send(Incr::new(format!("visits:{page}"))).await {
        Ok(visits) => Ok(Some(visits)),
        Err(error) if error.fate() == Fate::Unknown => Ok(None),
        Err(error) => Err(error),
    }
}

#[actix::test]
async fn a_visitor_is_never_counted_twice() {
    // A server of the test's own, gone with it, and a proxy on the way to it.
    let server = RedisServer::start().expect("a redis-server");
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let config = RedisConfig::builder().host("127.0.0.1").port(proxy.port()).key_prefix("shop:test:");
    let redis = Redis::builder(config.build().expect("valid")).start().expect("started");
    assert_eq!(visit(&redis, "home").await.expect("counted"), Some(1));

    // The command arrives, its reply does not.
    proxy.cut_after(Direction::ToClient, 0);
    assert_eq!(visit(&redis, "home").await.expect("not an error of the service"), None);

    // The server is down for a while: callers wait, and are served.
    proxy.refuse();
    let waiting = visit(&redis, "home");
    let mending = async {
        let mut status = redis.status();
        let down = status.wait_for(|status| !status.is_available());
        tokio::time::timeout(Duration::from_secs(5), down).await.expect("in time").expect("received");
        proxy.pass();
    };
    proxy.reset_all();
    let (visits, ()) = futures_util::future::join(waiting, mending).await;
    let visits = visits.expect("served").expect("answered");

    // What the server holds, looked at beside the client under test.
    let counted = server.command(["GET", "shop:test:visits:home"]).expect("asked").text().expect("a number");
    assert_eq!(counted, visits.to_string());
    assert!(visits <= 3, "a visit was counted twice");
}
