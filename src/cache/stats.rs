//! The counts of the cache.

use std::sync::atomic::{AtomicU64, Ordering};

use super::store::Store;

/// Why many entries became invalid at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    LinkLost,
    Server,
    Topology,
    Login,
}

/// Statistics of client-side caching, in [`Stats`](crate::Stats) and [`Health`](crate::Health). Totals count from the start of
/// the connection and never decrease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Total of reads that were answered from the cache.
    pub hits: u64,
    /// Total of reads that could have been answered from the cache, and were not: those without an entry, and those of
    /// `invalid` and `expired`.
    pub misses: u64,
    /// Total of misses that used the reply to a request of another caller.
    pub shared_misses: u64,
    /// Total of misses whose entry was changed since: by an invalidation, an own write, or a flush.
    pub invalid: u64,
    /// Total of misses whose entry was older than the TTL.
    pub expired: u64,
    /// Total of replies that were stored.
    pub stored: u64,
    /// Total of entries that were evicted for lack of room.
    pub evicted: u64,
    /// Total of keys that servers reported as changed.
    pub invalidations: u64,
    /// Total of keys whose entries became invalid because this process wrote them.
    pub own_writes: u64,
    /// Total of flushes because a link was lost, or replaced. They concern the entries that were read on it.
    pub flushes_link_lost: u64,
    /// Total of flushes by servers (`FLUSHALL`), and after replies that leave the tracking of keys unclear.
    pub flushes_server: u64,
    /// Total of flushes because cluster slots have another owner.
    pub flushes_topology: u64,
    /// Total of flushes because of [`Redis::reauthenticate`](crate::Redis::reauthenticate).
    pub flushes_login: u64,
    /// The number of entries, with invalid ones that were not replaced yet.
    pub entries: u64,
    /// Their bytes, and those of the counters of changes.
    pub bytes: u64,
    /// The bound of `bytes`.
    pub max_bytes: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    shared_misses: AtomicU64,
    invalid: AtomicU64,
    expired: AtomicU64,
    stored: AtomicU64,
    invalidations: AtomicU64,
    own_writes: AtomicU64,
    flushes: [AtomicU64; 4],
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    #[inline]
    pub(super) fn hit(&self) {
        count(&self.hits);
    }

    pub(super) fn miss(&self) {
        count(&self.misses);
    }

    pub(super) fn invalid(&self) {
        count(&self.misses);
        count(&self.invalid);
    }

    pub(super) fn expired(&self) {
        count(&self.misses);
        count(&self.expired);
    }

    pub(super) fn shared_miss(&self) {
        count(&self.shared_misses);
    }

    pub(super) fn store(&self) {
        count(&self.stored);
    }

    pub(super) fn invalidation(&self) {
        count(&self.invalidations);
    }

    pub(super) fn own_write(&self) {
        count(&self.own_writes);
    }

    pub(super) fn flush(&self, cause: Flush) {
        if let Some(counter) = self.flushes.get(cause as usize) {
            count(counter);
        }
    }

    pub(super) fn read(&self, store: &Store, counter_bytes: usize) -> CacheStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let flushes = |cause: Flush| self.flushes.get(cause as usize).map_or(0, of);
        CacheStats {
            hits: of(&self.hits),
            misses: of(&self.misses),
            shared_misses: of(&self.shared_misses),
            invalid: of(&self.invalid),
            expired: of(&self.expired),
            stored: of(&self.stored),
            evicted: store.evicted(),
            invalidations: of(&self.invalidations),
            own_writes: of(&self.own_writes),
            flushes_link_lost: flushes(Flush::LinkLost),
            flushes_server: flushes(Flush::Server),
            flushes_topology: flushes(Flush::Topology),
            flushes_login: flushes(Flush::Login),
            entries: store.len() as u64,
            bytes: store.bytes() + counter_bytes as u64,
            max_bytes: (store.max_bytes() + counter_bytes) as u64,
        }
    }
}
