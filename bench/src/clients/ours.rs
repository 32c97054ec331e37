//! This crate.

use std::time::Duration;

use redis_actix::{
    Connections, Expire, Get, HGetAll, Incr, MGet, Pipeline, Redis, RedisConfig, RedisConfigBuilder, Set, XAdd,
};

use crate::client::{Client, Connect, LIFETIME, Op, STREAM, text};

/// The key prefix; peers get the whole name instead.
pub const PREFIX: &str = "bench:";

/// The actor on the arbiter of its callers.
pub struct Here;

/// The same with busy polling.
pub struct Polling;

/// A connection for each thread that sends commands.
pub struct PerThread;

/// The actor on its own thread.
pub struct OwnThread;

/// Two actors on two threads; a key always uses the same one, so that its commands keep their order.
pub struct TwoLinks;

/// The client of [`TwoLinks`].
#[derive(Clone)]
pub struct Handles([Handle; 2]);

/// A handle. A newtype, so that its methods do not collide with those of the handle.
#[derive(Clone)]
pub struct Handle(pub Redis);

/// A configuration for the server on this port.
///
/// # Errors
/// When the environment makes it invalid.
pub fn config(port: u16) -> Result<RedisConfig, String> {
    builder(port).build().map_err(text)
}

fn builder(port: u16) -> RedisConfigBuilder {
    RedisConfig::builder().host("127.0.0.1").port(port).key_prefix(PREFIX)
}

async fn ready(started: redis_actix::Result<Redis>) -> Result<Handle, String> {
    let redis = started.map_err(text)?;
    redis.ready(Duration::from_secs(5)).await.map_err(text)?;
    Ok(Handle(redis))
}

impl Connect for Here {
    type Client = Handle;
    const NAME: &'static str = "redis-actix";

    async fn connect(port: u16) -> Result<Handle, String> {
        ready(Redis::builder(config(port)?).start()).await
    }
}

impl Connect for Polling {
    type Client = Handle;
    const NAME: &'static str = "redis-actix, busy poll";

    async fn connect(port: u16) -> Result<Handle, String> {
        let config = builder(port).busy_poll(Duration::from_micros(100)).build().map_err(text)?;
        ready(Redis::builder(config).start()).await
    }
}

impl Connect for PerThread {
    type Client = Handle;
    const NAME: &'static str = "redis-actix, per thread";

    async fn connect(port: u16) -> Result<Handle, String> {
        let config = builder(port).connections(Connections::per_thread()).build().map_err(text)?;
        ready(Redis::builder(config).start()).await
    }
}

impl Connect for OwnThread {
    type Client = Handle;
    const NAME: &'static str = "redis-actix";

    async fn connect(port: u16) -> Result<Handle, String> {
        ready(Redis::builder(config(port)?).start_on_own_thread()).await
    }
}

impl Connect for TwoLinks {
    type Client = Handles;
    const NAME: &'static str = "redis-actix, two links";

    async fn connect(port: u16) -> Result<Handles, String> {
        Ok(Handles([OwnThread::connect(port).await?, OwnThread::connect(port).await?]))
    }
}

impl Client for Handles {
    async fn run(&mut self, op: &Op) -> Result<usize, String> {
        let key = match op {
            Op::Get(key) | Op::Set(key, _) | Op::HGetAll(key) | Op::Incr(key) | Op::Expire(key) | Op::XAdd(key, _) => {
                key
            }
            Op::MGet(keys) | Op::Pipeline(keys) => keys.first().ok_or("no key")?,
        };
        let [one, other] = &mut self.0;
        let odd = key.bytes().fold(0, |sum: u8, byte| sum.wrapping_add(byte)) % 2 == 1;
        if odd { other.run(op).await } else { one.run(op).await }
    }
}

impl Client for Handle {
    async fn run(&mut self, op: &Op) -> Result<usize, String> {
        match op {
            Op::Get(key) => {
                let value: Option<Vec<u8>> = self.0.send(Get::new(unprefixed(key))).await.map_err(text)?;
                value.map(|value| value.len()).ok_or_else(|| "no such key".to_owned())
            }
            Op::Set(key, value) => {
                self.0.send(Set::new(unprefixed(key), &value[..])).await.map_err(text)?;
                Ok(value.len())
            }
            Op::MGet(keys) => {
                let keys = keys.iter().map(|key| unprefixed(key));
                Ok(self.0.send(MGet::<Vec<u8>>::new(keys)).await.map_err(text)?.len())
            }
            Op::HGetAll(key) => {
                let fields: Vec<(Vec<u8>, Vec<u8>)> = self.0.send(HGetAll::new(unprefixed(key))).await.map_err(text)?;
                Ok(fields.len())
            }
            Op::Incr(key) => {
                let count = self.0.send(Incr::new(unprefixed(key))).await.map_err(text)?;
                Ok(usize::from(count > 0))
            }
            Op::Expire(key) => {
                let lifetime = Duration::from_secs(LIFETIME.into());
                let there = self.0.send(Expire::new(unprefixed(key), lifetime)).await.map_err(text)?;
                Ok(usize::from(there))
            }
            Op::Pipeline(keys) => {
                let reads: Vec<_> = keys.iter().map(|key| Get::<Vec<u8>>::new(unprefixed(key))).collect();
                Ok(self.0.send(Pipeline::new(reads)).await.map_err(text)?.len())
            }
            Op::XAdd(key, value) => {
                let entry = XAdd::new(unprefixed(key)).max_len_approx(STREAM).field("data", &value[..]);
                let id = self.0.send(entry).await.map_err(text)?;
                Ok(usize::from(id.ms > 0))
            }
        }
    }
}

fn unprefixed(key: &str) -> &str {
    key.strip_prefix(PREFIX).unwrap_or(key)
}
