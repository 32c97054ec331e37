//! The actors: thin shells around the machines of `core` and the wire.

pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod consumer_engine;
pub(crate) mod consumer_errands;
pub(crate) mod driver;
pub(crate) mod engine;
pub(crate) mod pubsub;
pub(crate) mod scripts;
pub(crate) mod stream_consumer;
pub(crate) mod ticket;
