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
#[path = "../support/mod.rs"]
mod support;

mod availability;
mod order;
mod partition;
mod redirects;
mod routing;
mod scripted;
mod units;
