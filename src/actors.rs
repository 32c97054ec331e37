//! The actors: thin shells around the machines of `core` and the wire.

pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod consumer_denials;
pub(crate) mod consumer_engine;
pub(crate) mod consumer_errands;
pub(crate) mod consumer_fleet;
mod consumer_meters;
mod consumer_plain;
mod consumer_upkeep;
pub(crate) mod driver;
pub(crate) mod engine;
pub(crate) mod keeper;
pub(crate) mod pubsub;
pub(crate) mod replicas;
pub(crate) mod replicated;
pub(crate) mod scripts;
pub(crate) mod stream_consumer;
pub(crate) mod ticket;
