//! The link whose invalidations keep an entry valid.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Ticks of the coarse clock.
pub(super) fn now() -> u64 {
    coarsetime::Instant::now_without_cache_update().as_ticks()
}

pub(super) fn ticks(time: Duration) -> u64 {
    coarsetime::Duration::from(time).as_ticks()
}

/// Shared by the driver of the link and the entries that were read on it.
pub(crate) struct TrackedLink {
    /// Changes when all its entries become invalid.
    epoch: AtomicU64,
    /// Its entries are not used after this time, unless bytes arrive before: a half-open link brings no invalidations.
    trusted_until: AtomicU64,
}

impl TrackedLink {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(super) fn is_trusted(&self, now: u64) -> bool {
        now <= self.trusted_until.load(Ordering::Relaxed)
    }

    pub(super) fn new(trust: u64) -> Arc<Self> {
        let trusted_until = AtomicU64::new(now().saturating_add(trust));
        Arc::new(Self { epoch: AtomicU64::new(0), trusted_until })
    }

    pub(super) fn end_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn trust_for(&self, trust: u64) {
        self.trusted_until.store(now().saturating_add(trust), Ordering::Relaxed);
    }
}

/// A command that may be one whose reply is cached.
pub(crate) trait Trackable {
    fn is_asking(&self) -> bool;
    fn track(&mut self, link: Option<&Arc<TrackedLink>>) -> bool;
}
