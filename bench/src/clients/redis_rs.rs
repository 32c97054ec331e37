//! redis-rs: the multiplexed connection with defaults and tuned, and the connection manager.

use redis::{
    AsyncConnectionConfig, IntoConnectionInfo,
    aio::{ConnectionLike, ConnectionManager, MultiplexedConnection},
    io::tcp::TcpSettings,
};

use crate::client::{Client, Connect, LIFETIME, Op, STREAM, text};

/// `MultiplexedConnection` with defaults.
pub struct Multiplexed;

/// `MultiplexedConnection` without its response timeout, with TCP_NODELAY and a longer queue.
pub struct Tuned;

/// `ConnectionManager` with defaults: the peer that reconnects.
pub struct Manager;

/// Any of its connections.
#[derive(Clone)]
pub struct Handle<C>(C);

impl Connect for Multiplexed {
    type Client = Handle<MultiplexedConnection>;
    const NAME: &'static str = "redis-rs";

    async fn connect(port: u16) -> Result<Self::Client, String> {
        let client = redis::Client::open(("127.0.0.1", port)).map_err(text)?;
        client.get_multiplexed_async_connection().await.map(Handle).map_err(text)
    }
}

impl Connect for Tuned {
    type Client = Handle<MultiplexedConnection>;
    const NAME: &'static str = "redis-rs tuned";

    async fn connect(port: u16) -> Result<Self::Client, String> {
        let info = ("127.0.0.1", port).into_connection_info().map_err(text)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = redis::Client::open(info).map_err(text)?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(4096);
        client.get_multiplexed_async_connection_with_config(&config).await.map(Handle).map_err(text)
    }
}

impl Connect for Manager {
    type Client = Handle<ConnectionManager>;
    const NAME: &'static str = "redis-rs manager";

    async fn connect(port: u16) -> Result<Self::Client, String> {
        let client = redis::Client::open(("127.0.0.1", port)).map_err(text)?;
        ConnectionManager::new(client).await.map(Handle).map_err(text)
    }
}

impl<C: ConnectionLike + Clone + Send + 'static> Client for Handle<C> {
    async fn run(&mut self, op: &Op) -> Result<usize, String> {
        query(&mut self.0, op).await
    }
}

/// Runs the operation on any connection of redis-rs.
///
/// # Errors
/// Those of the command.
pub async fn query<C: ConnectionLike>(connection: &mut C, op: &Op) -> Result<usize, String> {
    match op {
        Op::Get(key) => {
            let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query_async(connection).await.map_err(text)?;
            value.map(|value| value.len()).ok_or_else(|| "no such key".to_owned())
        }
        Op::Set(key, value) => {
            let () = redis::cmd("SET").arg(key).arg(&value[..]).query_async(connection).await.map_err(text)?;
            Ok(value.len())
        }
        Op::MGet(keys) => {
            let values: Vec<Vec<u8>> = redis::cmd("MGET").arg(&keys[..]).query_async(connection).await.map_err(text)?;
            Ok(values.len())
        }
        Op::HGetAll(key) => {
            let fields: Vec<(Vec<u8>, Vec<u8>)> =
                redis::cmd("HGETALL").arg(key).query_async(connection).await.map_err(text)?;
            Ok(fields.len())
        }
        Op::Incr(key) => {
            let count: i64 = redis::cmd("INCR").arg(key).query_async(connection).await.map_err(text)?;
            Ok(usize::from(count > 0))
        }
        Op::Expire(key) => {
            let there: bool =
                redis::cmd("EXPIRE").arg(key).arg(LIFETIME).query_async(connection).await.map_err(text)?;
            Ok(usize::from(there))
        }
        Op::Pipeline(keys) => {
            let mut pipeline = redis::Pipeline::with_capacity(keys.len());
            for key in &keys[..] {
                pipeline.cmd("GET").arg(key);
            }
            let values: Vec<Option<Vec<u8>>> = pipeline.query_async(connection).await.map_err(text)?;
            Ok(values.len())
        }
        Op::XAdd(key, value) => {
            let mut command = redis::cmd("XADD");
            command.arg(key).arg("MAXLEN").arg("~").arg(STREAM).arg("*").arg("data").arg(&value[..]);
            let id: String = command.query_async(connection).await.map_err(text)?;
            Ok(id.len())
        }
    }
}
