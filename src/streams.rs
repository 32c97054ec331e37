//! Stream consumers as users see them.

pub(crate) mod builder;
pub(crate) mod consumer;
pub(crate) mod delivery;
pub(crate) mod events;
pub(crate) mod inbox;
pub(crate) mod lease;
pub(crate) mod outcome;
