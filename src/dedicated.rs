//! Connections that one caller has for itself: commands that block, and WATCH.

pub(crate) mod asking;
pub(crate) mod blocking;
pub(crate) mod compensate;
pub(crate) mod in_flight;
pub(crate) mod pool;
pub(crate) mod watch;
