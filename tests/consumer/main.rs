//! Stream consumers: what is delivered, in which order, and at which cost.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../cluster_support/mod.rs"]
mod cluster_support;
#[path = "../stream_support/mod.rs"]
mod stream_support;
#[path = "../support/mod.rs"]
mod support;

mod attempts;
mod names;
mod order;
mod replaced;
mod server_numbers;
mod user_code;
