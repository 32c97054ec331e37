//! Clients for hundreds of thousands of callers: without bounds on outstanding commands and effectively without deadlines.

use std::{future::Future, time::Duration};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis_actix::{Get, Redis, RedisConfig, Set};

use crate::client::text;
use crate::clients::ours::PREFIX;

/// Longer than any measurement.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// A client with as many commands outstanding as there are callers.
pub trait Holding: Clone + Send + Sync + 'static {
    /// Its name in tables.
    const NAME: &'static str;

    /// Connects.
    fn connect(port: u16) -> impl Future<Output = Result<Self, String>>;

    /// Writes a value. The caller keeps key and value until it completes. An `async fn` would store them twice, which would
    /// count as memory of the client.
    fn set(self, key: String, value: Vec<u8>) -> impl Future<Output = Result<(), String>> + Send + 'static;

    /// Reads a value.
    fn get(&self, key: &str) -> impl Future<Output = Result<(), String>> + Send;
}

#[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
impl Holding for Redis {
    const NAME: &'static str = "redis-actix";

    async fn connect(port: u16) -> Result<Self, String> {
        let config = RedisConfig::builder().host("127.0.0.1").port(port).key_prefix(PREFIX);
        let config = config.command_timeout(NEVER).liveness(None).max_in_flight(2_000_000).max_queued(2_000_000);
        let config = config.max_in_flight_bytes(4 << 30).max_queued_bytes(4 << 30).build().map_err(text)?;
        let redis = Self::builder(config).start().map_err(text)?;
        redis.ready(Duration::from_secs(5)).await.map_err(text)?;
        Ok(redis)
    }

    fn set(self, key: String, value: Vec<u8>) -> impl Future<Output = Result<(), String>> + Send + 'static {
        async move {
            let outcome = self.send(Set::new(&key, &value[..])).await.map(drop).map_err(text);
            drop((self, key, value));
            outcome
        }
    }

    async fn get(&self, key: &str) -> Result<(), String> {
        self.send(Get::<Vec<u8>>::new(key)).await.map(drop).map_err(text)
    }
}

#[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
impl Holding for ConnectionManager {
    const NAME: &'static str = "redis-rs manager";

    async fn connect(port: u16) -> Result<Self, String> {
        let client = redis::Client::open(("127.0.0.1", port)).map_err(text)?;
        let config = ConnectionManagerConfig::new().set_response_timeout(None);
        Self::new_with_config(client, config).await.map_err(text)
    }

    fn set(mut self, key: String, value: Vec<u8>) -> impl Future<Output = Result<(), String>> + Send + 'static {
        async move {
            let outcome = redis::cmd("SET").arg(&key).arg(&value).query_async(&mut self).await.map_err(text);
            drop((self, key, value));
            outcome
        }
    }

    async fn get(&self, key: &str) -> Result<(), String> {
        let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query_async(&mut self.clone()).await.map_err(text)?;
        drop(value);
        Ok(())
    }
}

#[cfg(feature = "peers")]
impl Holding for fred::prelude::Client {
    const NAME: &'static str = "fred";

    async fn connect(port: u16) -> Result<Self, String> {
        use fred::prelude::{Builder, ClientLike, Config};

        let config = Config::from_url(&format!("redis://127.0.0.1:{port}")).map_err(text)?;
        let client = Builder::from_config(config).build().map_err(text)?;
        client.init().await.map_err(text)?;
        Ok(client)
    }

    fn set(self, key: String, value: Vec<u8>) -> impl Future<Output = Result<(), String>> + Send + 'static {
        use fred::prelude::KeysInterface;

        async move {
            let outcome = KeysInterface::set(&self, key.as_str(), &value[..], None, None, false).await.map_err(text);
            drop((self, key, value));
            outcome
        }
    }

    async fn get(&self, key: &str) -> Result<(), String> {
        use fred::prelude::KeysInterface;

        let value: Option<bytes::Bytes> = KeysInterface::get(self, key).await.map_err(text)?;
        drop(value);
        Ok(())
    }
}
