//! Counters of one subscription, readable from any thread.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Counters of a subscription, readable from any thread.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionCounters {
    pub(crate) delivered: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) waiting: AtomicUsize,
    pub(crate) waiting_bytes: AtomicUsize,
    pub(crate) ended: AtomicBool,
}
