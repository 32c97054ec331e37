//! Subscriptions, through changes of their server or cluster.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../cluster_support/mod.rs"]
mod cluster_support;
#[path = "../pubsub_support/mod.rs"]
mod pubsub_support;
use pubsub_support::support;

mod bus;
mod held_events;
mod membership;
