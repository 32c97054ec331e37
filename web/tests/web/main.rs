//! The parts of the crate against real servers.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod cache;
mod events;
mod faults;
mod health;
mod idempotency;
mod limiter;
mod lock;
mod service;
#[cfg(feature = "session")]
mod session;

use std::time::{Duration, Instant};

use redis_actix::{ReconnectPolicy, Redis, RedisConfig};
use redis_actix_test::RedisServer;

/// Long enough for any machine, short enough for a person to wait.
const TIME_LIMIT: Duration = Duration::from_secs(20);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn server() -> RedisServer {
    RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
}

fn redis(server: &RedisServer) -> Redis {
    connect(server.port())
}

fn connect(port: u16) -> Redis {
    let config = RedisConfig::builder().host("127.0.0.1").port(port).key_prefix("web:").command_timeout(ms(2_000));
    let redis = Redis::builder(config.build().unwrap());
    redis.reconnect(ReconnectPolicy::exponential(ms(5)..=ms(100))).start().unwrap()
}

/// A handle without a server.
fn without_server() -> Redis {
    connect(redis_actix_test::free_port().unwrap())
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + TIME_LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "never saw {what}");
        tokio::time::sleep(ms(5)).await;
    }
}
