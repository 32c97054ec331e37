//! Three clients behind one interface. All have a command timeout of 500 ms.

use std::time::Duration;

use actix::Message;
use redis::AsyncConnectionConfig;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis_actix::{Command, Frame, ReconnectPolicy, Redis, RedisConfig, Value};

pub(crate) const TIME_LIMIT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Actor,
    Manager,
    Multiplexed,
}

#[derive(Clone)]
pub(crate) enum Client {
    Actor(Redis),
    Manager(ConnectionManager),
    Multiplexed(MultiplexedConnection),
}

/// The error message of the client.
pub(crate) struct Failed(pub(crate) String);

struct Own(Frame);

impl Message for Own {
    type Result = redis_actix::Result<Value>;
}

impl Command for Own {
    type Reply = Value;

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn reply(value: Value) -> redis_actix::Result<Value> {
        Ok(value)
    }
}

impl Client {
    pub(crate) async fn connect(kind: Kind, port: u16, password: Option<&str>) -> Self {
        if kind == Kind::Actor {
            let config = RedisConfig::builder().host("127.0.0.1").port(port).command_timeout(TIME_LIMIT);
            let config = config.connect_timeout(TIME_LIMIT).without_key_prefix();
            let config = match password {
                Some(password) => config.password(password),
                None => config,
            };
            let policy = ReconnectPolicy::exponential(Duration::from_millis(10)..=Duration::from_millis(500));
            let redis = Redis::builder(config.build().expect("valid")).reconnect(policy).start().expect("started");
            redis.ready(Duration::from_secs(5)).await.expect("ready");
            return Self::Actor(redis);
        }
        let url = password.map_or_else(String::new, |password| format!(":{password}@"));
        let client = redis::Client::open(format!("redis://{url}127.0.0.1:{port}")).expect("valid");
        if kind == Kind::Manager {
            let config = ConnectionManagerConfig::new()
                .set_response_timeout(Some(TIME_LIMIT))
                .set_connection_timeout(Some(TIME_LIMIT))
                .set_min_delay(Duration::from_millis(10))
                .set_max_delay(Duration::from_millis(500));
            return Self::Manager(ConnectionManager::new_with_config(client, config).await.expect("connected"));
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(TIME_LIMIT))
            .set_connection_timeout(Some(TIME_LIMIT));
        Self::Multiplexed(client.get_multiplexed_async_connection_with_config(&config).await.expect("connected"))
    }

    pub(crate) async fn ask(&mut self, words: &[&str]) -> Result<Value, Failed> {
        let (name, rest) = words.split_first().expect("a command");
        let mut cmd = redis::cmd(name);
        cmd.arg(rest);
        match self {
            Self::Actor(redis) => {
                // The first word after the name is a key in every command here.
                let (key, rest) = rest.split_first().expect("a key");
                let frame = rest.iter().fold(Frame::new(name).key(key), |frame, word| frame.arg(*word));
                redis.send(Own(frame)).await.map_err(|error| Failed(error.to_string()))
            }
            Self::Manager(manager) => cmd.query_async(manager).await.map_err(|error| Failed(error.to_string())),
            Self::Multiplexed(link) => cmd.query_async(link).await.map_err(|error| Failed(error.to_string())),
        }
    }
}
