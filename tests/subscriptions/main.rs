//! Subscriptions, through changes of their server or cluster.
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
#[path = "../support/mod.rs"]
mod support;

mod attack;
mod basic;
mod bus;
mod busy;
mod faults;
mod held_events;
mod membership;
mod random_cluster;
mod sentinel;
mod slow;

use redis_actix::prelude::*;

/// Checks that numbered messages came in order, and that where numbers are missing a gap says so. Returns how many gaps there
/// were, and how many messages.
fn complete(events: &[SubscriptionEvent]) -> (usize, usize) {
    check_numbers(events, false)
}

/// As [`complete`], for a channel that any node of a cluster delivers. The nodes pass a message on to each other after it was
/// published, so one that arrived before a gap may arrive again behind it, from a node that received it later.
fn complete_from_any_node(events: &[SubscriptionEvent]) -> (usize, usize) {
    check_numbers(events, true)
}

fn check_numbers(events: &[SubscriptionEvent], may_repeat_behind_gap: bool) -> (usize, usize) {
    let (mut gaps, mut messages, mut next, mut is_covered) = (0, 0, 0_u64, false);
    for (at, event) in events.iter().enumerate() {
        match event {
            SubscriptionEvent::Gap { .. } => (gaps, is_covered) = (gaps + 1, true),
            SubscriptionEvent::Message(message) => {
                let Ok(number) = String::from_utf8_lossy(message.payload()).parse::<u64>() else { continue };
                let is_repeat = may_repeat_behind_gap && is_covered;
                assert!(number >= next || is_repeat, "event {at} is {number} again, or late: {next} was expected");
                assert!(number == next || is_covered, "event {at} is {number}, {next} is missing without a gap");
                (next, messages, is_covered) = (number + 1, messages + 1, false);
            }
            _ => {}
        }
    }
    (gaps, messages)
}
