//! The operations, and the interface of contenders.

use std::{future::Future, sync::Arc};

/// One operation with prepared names and value: only the client is measured.
#[derive(Clone)]
pub enum Op {
    /// `GET`; returns the length of the reply.
    Get(String),
    /// `SET`.
    Set(String, Arc<[u8]>),
    /// `MGET`; returns the number of values.
    MGet(Arc<[String]>),
    /// `HGETALL`; returns the number of fields.
    HGetAll(String),
    /// `INCR`.
    Incr(String),
    /// `EXPIRE` in an hour; returns whether the key exists.
    Expire(String),
    /// A `GET` of each in one pipeline; returns the number of values.
    Pipeline(Arc<[String]>),
    /// `XADD` of one field to a stream that is trimmed to about [`STREAM`] entries.
    XAdd(String, Arc<[u8]>),
}

/// Approximate length of streams.
pub const STREAM: u64 = 10_000;

/// The lifetime that [`Op::Expire`] sets, in seconds.
pub const LIFETIME: u32 = 3600;

/// A handle to one connection, cloned for each caller.
pub trait Client: Clone + Send + 'static {
    /// Executes `op` and returns the size of its reply: bytes, values or fields.
    fn run(&mut self, op: &Op) -> impl Future<Output = Result<usize, String>> + Send;
}

/// Connects clients.
pub trait Connect: 'static {
    /// The client.
    type Client: Client;

    /// Its name in tables.
    const NAME: &'static str;

    /// Connects to the server on this port, on the runtime that polls this.
    fn connect(port: u16) -> impl Future<Output = Result<Self::Client, String>> + Send;
}

/// Converts an error to text: errors are counted, and the first one is shown.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
