//! deadpool-redis: a pool; each command takes one connection.

use deadpool_redis::{Config, Pool, PoolConfig, Runtime};

use super::redis_rs::query;
use crate::client::{Client, Connect, Op, text};

/// A pool of sixteen.
pub struct Pooled;

/// A handle to the pool.
#[derive(Clone)]
pub struct Handle(Pool);

impl Connect for Pooled {
    type Client = Handle;
    const NAME: &'static str = "deadpool-redis (16)";

    async fn connect(port: u16) -> Result<Handle, String> {
        let mut config = Config::from_url(format!("redis://127.0.0.1:{port}"));
        config.pool = Some(PoolConfig::new(16));
        let pool = config.create_pool(Some(Runtime::Tokio1)).map_err(text)?;
        drop(pool.get().await.map_err(text)?);
        Ok(Handle(pool))
    }
}

impl Client for Handle {
    async fn run(&mut self, op: &Op) -> Result<usize, String> {
        let mut connection = self.0.get().await.map_err(text)?;
        query(&mut connection, op).await
    }
}
