//! The delivery core of a connection: fates, the queue, deadlines, liveness, the mailbox.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod end;
mod fates;
mod first_dial;
mod floods;
mod liveness;
mod panics;
mod queue;
