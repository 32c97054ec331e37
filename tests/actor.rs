//! The connection actor against a real server.

use std::time::Duration;

use redis_actix::prelude::*;
use redis_actix_test::RedisServer;

#[actix::test]
async fn commands_flow() {
    let server = RedisServer::start().unwrap();
    let config = RedisConfig::builder().port(server.port()).host("127.0.0.1").build().unwrap();
    let redis = Redis::builder(config).start().unwrap();
    redis.ready(Duration::from_secs(3)).await.unwrap();
    redis.send(Set::new("user:1", "ada")).await.unwrap();
    let name: Option<String> = redis.send(Get::new("user:1")).await.unwrap();
    assert_eq!(name.as_deref(), Some("ada"));
    let n = redis.addr().send(Incr::new("hits")).await.unwrap().unwrap();
    assert_eq!(n, 1);
    println!("{:?}", redis.health().await.unwrap());
    println!("{:?}", server.command(["KEYS", "*"]).unwrap());
    println!("{:?}", redis.shutdown(Duration::from_secs(1)).await.unwrap());
    println!("{}", redis.send(Incr::new("hits")).await.unwrap_err());
}
