//! Stream consumers as users see them.

pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod consumer;
pub(crate) mod consumer_commands;
pub(crate) mod dead_letters;
pub(crate) mod deduplicate;
pub(crate) mod delivery;
pub(crate) mod denials;
pub(crate) mod effects;
pub(crate) mod engine;
pub(crate) mod events;
mod extras;
pub(crate) mod features;
pub(crate) mod fence;
pub(crate) mod group;
pub(crate) mod inbox;
pub(crate) mod known_features;
pub(crate) mod lease;
pub(crate) mod lease_renewer;
pub(crate) mod machine;
pub(crate) mod maintenance;
pub(crate) mod meters;
pub(crate) mod multi_stream;
pub(crate) mod outcome;
pub(crate) mod producer;
#[cfg(feature = "metrics")]
mod record_metrics;
pub(crate) mod scheduled;
mod start;
pub(crate) mod stats;
pub(crate) mod trace;
pub(crate) mod without_scripts;
