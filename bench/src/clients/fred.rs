//! fred, defaults with TCP_NODELAY.

use bytes::Bytes;
use fred::prelude::{
    Builder, Client as FredClient, ClientLike, Config, HashesInterface, KeysInterface, StreamsInterface, TcpConfig,
};
use fred::types::streams::{XCapKind, XCapTrim};

use crate::client::{Client, Connect, LIFETIME, Op, STREAM, text};

/// One connection.
pub struct Fred;

/// A handle.
#[derive(Clone)]
pub struct Handle(FredClient);

impl Connect for Fred {
    type Client = Handle;
    const NAME: &'static str = "fred";

    async fn connect(port: u16) -> Result<Handle, String> {
        let config = Config::from_url(&format!("redis://127.0.0.1:{port}")).map_err(text)?;
        let client = Builder::from_config(config)
            .with_connection_config(|config| {
                config.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .build()
            .map_err(text)?;
        client.init().await.map_err(text)?;
        Ok(Handle(client))
    }
}

impl Client for Handle {
    async fn run(&mut self, op: &Op) -> Result<usize, String> {
        match op {
            Op::Get(key) => {
                let value: Option<Bytes> = self.0.get(key.as_str()).await.map_err(text)?;
                value.map(|value| value.len()).ok_or_else(|| "no such key".to_owned())
            }
            Op::Set(key, value) => {
                let () = self.0.set(key.as_str(), &value[..], None, None, false).await.map_err(text)?;
                Ok(value.len())
            }
            Op::MGet(keys) => {
                let values: Vec<Bytes> = self.0.mget(keys.to_vec()).await.map_err(text)?;
                Ok(values.len())
            }
            Op::HGetAll(key) => {
                let fields: Vec<(Bytes, Bytes)> = self.0.hgetall(key.as_str()).await.map_err(text)?;
                Ok(fields.len())
            }
            Op::Incr(key) => {
                let count: i64 = self.0.incr(key.as_str()).await.map_err(text)?;
                Ok(usize::from(count > 0))
            }
            Op::Expire(key) => {
                let there: bool = self.0.expire(key.as_str(), i64::from(LIFETIME), None).await.map_err(text)?;
                Ok(usize::from(there))
            }
            Op::Pipeline(keys) => {
                let pipeline = self.0.pipeline();
                for key in &keys[..] {
                    let () = pipeline.get(key.as_str()).await.map_err(text)?;
                }
                let values: Vec<Option<Bytes>> = pipeline.all().await.map_err(text)?;
                Ok(values.len())
            }
            Op::XAdd(key, value) => {
                let newest = (XCapKind::MaxLen, XCapTrim::AlmostExact, STREAM as i64);
                let fields = vec![("data", &value[..])];
                let id: String = self.0.xadd(key.as_str(), false, newest, "*", fields).await.map_err(text)?;
                Ok(id.len())
            }
        }
    }
}
