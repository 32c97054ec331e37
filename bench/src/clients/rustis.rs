//! rustis, nothing set.

use rustis::{
    client::Client as RustisClient,
    commands::{HashCommands, StringCommands},
    resp::BulkString,
};

use crate::client::{Client, Connect, Op, text};

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
        }
    }
}
