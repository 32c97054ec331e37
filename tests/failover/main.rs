//! Failovers of clusters and of masters with sentinels, and rotation of credentials, under loads of every kind.
//!
//! `cargo xtask failover-table` runs all failovers and prints what each kind of caller sees.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "tls")]
mod certificates;
#[path = "../../chaos/src/lib.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the programs of chaos/")]
mod chaos;
mod matrix;
mod rotation;
