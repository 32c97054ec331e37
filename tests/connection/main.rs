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

mod bad_input;
mod busy_poll;
mod delivery;
mod delivery_faults;
mod end;
mod end_faults;
mod fates;
mod first_dial;
mod floods;
mod link_faults;
mod liveness;
mod panics;
mod per_thread;
mod queue;
mod random_faults;
mod reports;
mod server_faults;
mod submit_queue;
mod supervision;
