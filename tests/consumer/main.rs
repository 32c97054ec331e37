//! Stream consumers: delivery, order and cost.
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

mod attack;
mod attempts;
mod basic;
mod batches;
mod data;
mod dead_letters;
mod decode;
mod effects;
mod handler;
mod link;
mod lua;
mod names;
mod newer;
mod order;
mod process;
mod producer;
mod records;
mod replaced;
mod rights;
mod schedule;
mod server;
mod server_numbers;
mod unread;
mod user_code;
