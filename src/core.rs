//! Decisions only: no sockets, no clock, no actors. Time and chance are arguments, so every path of these
//! machines can be driven by a test.

pub(crate) mod admission;
pub(crate) mod backlog;
pub(crate) mod busy_poll;
pub(crate) mod cluster;
pub(crate) mod consumer;
pub(crate) mod histogram;
pub(crate) mod lane;
pub(crate) mod link;
pub(crate) mod liveness;
pub(crate) mod rate;
pub(crate) mod replica;
pub(crate) mod retry;
pub(crate) mod subscriptions;
pub(crate) mod undo;
pub(crate) mod verdict;

use std::time::Duration;

/// As long as anything is waited for: ten years. Beyond it the clock overflows, and `Duration::MAX` is what people write
/// for "never".
pub(crate) const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
