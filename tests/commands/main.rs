//! Commands as callers send them: back-pressure, commands built by hand, replies, configuration, statistics.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod boundary;
mod codes;
mod futures;
mod kept_futures;
mod listed_futures;
mod memory;
mod pipelines;
mod raw;
mod replies;
mod scripts;
mod stats;
mod transactions;
