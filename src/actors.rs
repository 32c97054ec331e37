//! The actors: thin shells around the machines of `core` and the wire.

pub(crate) mod connection;
pub(crate) mod stream_consumer;
