//! rustis with defaults.

use rustis::{
    client::{BatchPreparedCommand, Client as RustisClient},
    commands::{GenericCommands, HashCommands, StringCommands},
    resp::{BulkString, cmd},
};

use crate::client::{Client, Connect, LIFETIME, Op, STREAM, text};

/// One multiplexed connection.
pub struct Rustis;

/// A handle.
#[derive(Clone)]
pub struct Handle(RustisClient);

impl Connect for Rustis {
    type Client = Handle;
    const NAME: &'static str = "rustis";

    async fn connect(port: u16) -> Result<Handle, String> {
        RustisClient::connect(format!("redis://127.0.0.1:{port}")).await.map(Handle).map_err(text)
    }
}

impl Client for Handle {
    async fn run(&mut self, op: &Op) -> Result<usize, String> {
        match op {
            Op::Get(key) => {
                let value: Option<BulkString> = self.0.get(key.as_str()).await.map_err(text)?;
                value.map(|value| value.len()).ok_or_else(|| "no such key".to_owned())
            }
            Op::Set(key, value) => {
                self.0.set(key.as_str(), BulkString::from(value.to_vec())).await.map_err(text)?;
                Ok(value.len())
            }
            Op::MGet(keys) => {
                let values: Vec<BulkString> = self.0.mget(&keys[..]).await.map_err(text)?;
                Ok(values.len())
            }
            Op::HGetAll(key) => {
                let fields: Vec<(BulkString, BulkString)> = self.0.hgetall(key.as_str()).await.map_err(text)?;
                Ok(fields.len())
            }
            Op::Incr(key) => {
                let count: i64 = self.0.incr(key.as_str()).await.map_err(text)?;
                Ok(usize::from(count > 0))
            }
            Op::Expire(key) => {
                let there = self.0.expire(key.as_str(), u64::from(LIFETIME), None).await.map_err(text)?;
                Ok(usize::from(there))
            }
            Op::Pipeline(keys) => {
                let mut pipeline = self.0.create_pipeline();
                pipeline.reserve(keys.len());
                for key in &keys[..] {
                    pipeline.get::<Option<BulkString>>(key.as_str()).queue();
                }
                let values: Vec<Option<BulkString>> = pipeline.execute().await.map_err(text)?;
                Ok(values.len())
            }
            Op::XAdd(key, value) => {
                // Its `xadd` sends the operator as `APPROXIMATELY`, which no server accepts.
                let command = cmd("XADD").key(key.as_str()).arg("MAXLEN").arg("~").arg(STREAM).arg("*").arg("data");
                let command = command.arg(BulkString::from(value.to_vec()));
                let id: String = self.0.send(command, None).await.map_err(text)?;
                Ok(id.len())
            }
        }
    }
}
