//! This crate.

use std::time::Duration;

use actix::Message;
use redis_actix::{Command, Frame, Get, Redis, RedisConfig, Result as Outcome, Set, Value, decode};

use crate::client::{Client, Connect, Op, text};

/// Every key gets it; the peers get the whole name instead.
pub const PREFIX: &str = "bench:";

/// The actor on the arbiter of its callers.
pub struct Here;

/// The actor on a thread of its own.
pub struct OwnThread;

/// A handle. A newtype, so that the names of its methods cannot be taken for the handle's own.
#[derive(Clone)]
pub struct Handle(pub Redis);

/// A configuration for the server on this port.
///
/// # Errors
/// When the environment makes it invalid.
pub fn config(port: u16) -> Result<RedisConfig, String> {
    RedisConfig::builder().host("127.0.0.1").port(port).key_prefix(PREFIX).build().map_err(text)
}

impl Connect for Here {
    type Client = Handle;
    const NAME: &'static str = "redis-actix";

    async fn connect(port: u16) -> Result<Handle, String> {
        let redis = Redis::builder(config(port)?).start().map_err(text)?;
        redis.ready(Duration::from_secs(5)).await.map_err(text)?;
        Ok(Handle(redis))
    }
}

impl Connect for OwnThread {
    type Client = Handle;
    const NAME: &'static str = "redis-actix";

    async fn connect(port: u16) -> Result<Handle, String> {
        let redis = Redis::builder(config(port)?).start_on_own_thread().map_err(text)?;
        redis.ready(Duration::from_secs(5)).await.map_err(text)?;
        Ok(Handle(redis))
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
                let frame = Frame::new("MGET").keys(keys.iter().map(|key| unprefixed(key))).read_only();
                Ok(self.0.send(Values(frame)).await.map_err(text)?.len())
            }
            Op::HGetAll(key) => {
                let frame = Frame::new("HGETALL").key(unprefixed(key)).read_only();
                Ok(self.0.send(Fields(frame)).await.map_err(text)?.len())
            }
        }
    }
}

fn unprefixed(key: &str) -> &str {
    key.strip_prefix(PREFIX).unwrap_or(key)
}

/// `MGET`, until it has a message of its own.
#[derive(Message)]
#[rtype(result = "Outcome<Vec<Vec<u8>>>")]
struct Values(Frame);

impl Command for Values {
    type Reply = Vec<Vec<u8>>;

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn into_frame(self) -> Frame {
        self.0
    }

    fn reply(value: Value) -> Outcome<Self::Reply> {
        decode(value)
    }
}

/// `HGETALL`, until it has a message of its own.
#[derive(Message)]
#[rtype(result = "Outcome<Vec<(Vec<u8>, Vec<u8>)>>")]
struct Fields(Frame);

impl Command for Fields {
    type Reply = Vec<(Vec<u8>, Vec<u8>)>;

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn into_frame(self) -> Frame {
        self.0
    }

    fn reply(value: Value) -> Outcome<Self::Reply> {
        decode(value)
    }
}
