//! What every contender has to do, in its own idiom.

use std::{future::Future, sync::Arc};

/// One operation, its names and value made ready beforehand: only the client is measured.
#[derive(Clone)]
pub enum Op {
    /// `GET`; the answer's length counts.
    Get(String),
    /// `SET`.
    Set(String, Arc<[u8]>),
    /// `MGET`; how many values came counts.
    MGet(Arc<[String]>),
    /// `HGETALL`; how many fields came counts.
    HGetAll(String),
    /// `INCR`.
    Incr(String),
    /// `EXPIRE` in an hour; whether there was such a key counts.
    Expire(String),
    /// A `GET` of each in one pipeline; how many values came counts.
    Pipeline(Arc<[String]>),
    /// `XADD` of one field to a stream that is kept at about [`STREAM`] entries.
    XAdd(String, Arc<[u8]>),
}

/// So long are streams kept, roughly.
pub const STREAM: u64 = 10_000;

/// The lifetime that [`Op::Expire`] sets, in seconds.
pub const LIFETIME: u32 = 3600;

/// A handle to one connection, cloned for each caller.
pub trait Client: Clone + Send + 'static {
    /// Executes `op` and returns what of its answer counts: bytes, values or fields.
    fn run(&mut self, op: &Op) -> impl Future<Output = Result<usize, String>> + Send;
}

/// How clients are made.
pub trait Connect: 'static {
    /// What is made.
    type Client: Client;

    /// Its name in tables.
    const NAME: &'static str;

    /// Connects to the server on this port, on the runtime that polls this.
    fn connect(port: u16) -> impl Future<Output = Result<Self::Client, String>> + Send;
}

/// What every error becomes here: it is counted, and the first one is shown.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
