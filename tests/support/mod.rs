//! What every test of a connection needs.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::time::{Duration, Instant};

use redis_actix::prelude::*;
use redis_actix::{ReconnectPolicy, RedisBuilder, RedisConfigBuilder};
use redis_actix_test::RedisServer;

/// Long enough for any machine, short enough for a person to wait.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A server, or one line that says what is missing.
pub fn server() -> RedisServer {
    RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
}

pub fn config(port: u16) -> RedisConfigBuilder {
    RedisConfig::builder().host("127.0.0.1").port(port).key_prefix("test:")
}

/// Reconnects within tens of milliseconds, so that tests need not wait.
pub fn hasty(config: RedisConfigBuilder) -> RedisBuilder {
    let config = config.build().expect("a valid configuration");
    Redis::builder(config).reconnect(ReconnectPolicy::exponential(ms(5)..=ms(100)).stable_after(ms(500)))
}

/// Waits for something that becomes true without telling.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never saw {what}");
        tokio::time::sleep(ms(5)).await;
    }
}
