//! Where connections lead, and how they are made: sentinels, handshakes, addresses, credentials, certificates.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod advice;
mod certificates;
mod credentials;
mod handshake;
mod handshake_refusals;
mod login_faults;
mod roles;
mod scripted_sentinel;
mod sentinel;
mod sentinel_election;
mod sentinel_failover;
mod sentinel_replicas;
#[cfg(feature = "tls")]
mod tls;
