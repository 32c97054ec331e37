//! A cluster: routing, redirects, order, fates, and what happens to its nodes.
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
#[path = "../stream_support/mod.rs"]
mod stream_support;
#[path = "../support/mod.rs"]
mod support;

mod availability;
mod basic;
mod blocking;
mod faults;
mod order;
mod partition;
mod per_thread;
mod pubsub;
mod redirects;
mod replicas;
mod routing;
mod scripted;
mod streams;
mod units;
