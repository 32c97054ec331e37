//! The actors: thin shells around the machines of `core` and the wire.

pub(crate) mod connection;
pub(crate) mod driver;
pub(crate) mod ticket;
