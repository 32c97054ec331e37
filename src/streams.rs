//! Stream consumers as users see them.

pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod consumer;
pub(crate) mod dead_letters;
pub(crate) mod deduplicate;
pub(crate) mod delivery;
pub(crate) mod effects;
pub(crate) mod events;
mod extras;
pub(crate) mod features;
pub(crate) mod fence;
pub(crate) mod group;
pub(crate) mod inbox;
pub(crate) mod lease;
pub(crate) mod outcome;
pub(crate) mod producer;
pub(crate) mod scheduled;
mod start;
pub(crate) mod stats;
pub(crate) mod trace;
