//! Where connections lead, and how they are made: sentinels, handshakes, addresses, credentials, certificates.
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
#[path = "../cluster/scripted.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod scripted;
#[path = "../support/mod.rs"]
mod support;

mod advice;
mod certificates;
mod credentials;
mod dial_under_way;
mod handshake;
mod handshake_refusals;
mod login_faults;
mod own_commands;
mod public_reports;
mod roles;
mod scripted_sentinel;
mod sentinel;
mod sentinel_discovery;
mod sentinel_election;
mod sentinel_failover;
mod sentinel_replicas;
#[cfg(feature = "tls")]
mod tls;
