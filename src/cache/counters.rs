//! Counters of the changes of keys, and of writes that have no reply yet.
//!
//! A key has the counter at its hash. Keys that share one invalidate each other, which costs a miss and is never wrong. There
//! are about as many counters as small entries fit into the cache.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

/// The lower bits count the writes without a reply, the upper bits the changes. Both are far beyond the number of commands that
/// a connection admits, and of changes in the lifetime of an entry.
const PENDING_BITS: u32 = 24;
const CHANGE: u64 = 1 << PENDING_BITS;
const PENDING: u64 = CHANGE - 1;

/// The bytes of the cache for each counter.
const BYTES_PER_COUNTER: usize = 512;

/// A counter with its value when a command was sent. The last one of a command is the counter of all keys.
pub(super) type Stamps = SmallVec<[(u32, u64); 2]>;

pub(super) struct WriteCounters {
    /// The first one counts changes of any number of unknown keys.
    counters: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl WriteCounters {
    pub(super) fn for_cache_of(bytes: usize) -> Self {
        let count = (bytes / BYTES_PER_COUNTER).clamp(128, 1 << 22).next_power_of_two();
        Self { counters: (0..=count).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::default() }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.counters)
    }

    /// The number of the counter of a key; 0 is the one of all keys.
    pub(super) fn index(&self, key: &[u8]) -> u32 {
        let mask = self.counters.len() as u64 - 2;
        (self.hasher.hash_one(key) & mask) as u32 + 1
    }

    fn add(&self, index: u32, amount: u64) {
        if let Some(counter) = self.counters.get(index as usize) {
            // Sequentially consistent with the loads of hits: a caller that has seen one of two changes sees the earlier one.
            counter.fetch_add(amount, Ordering::SeqCst);
        }
    }

    /// A write was admitted.
    pub(super) fn begin(&self, index: u32) {
        self.add(index, CHANGE + 1);
    }

    /// The reply to a write is about to be delivered, or there will be none.
    pub(super) fn end(&self, index: u32) {
        self.add(index, CHANGE - 1);
    }

    /// A key was changed by others.
    pub(super) fn touch(&self, key: &[u8]) {
        self.add(self.index(key), CHANGE);
    }

    /// Any key may have been changed.
    pub(super) fn touch_all(&self) {
        self.add(0, CHANGE);
    }

    fn load(&self, index: u32) -> u64 {
        self.counters.get(index as usize).map_or(PENDING, |counter| counter.load(Ordering::SeqCst))
    }

    /// The present counters of these keys; `None` while a write of one of them has no reply.
    pub(super) fn stamps<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Option<Stamps> {
        let mut stamps = Stamps::new();
        for index in keys.map(|key| self.index(key)).chain([0]) {
            let value = self.load(index);
            if value & PENDING != 0 {
                return None;
            }
            stamps.push((index, value));
        }
        Some(stamps)
    }

    #[inline]
    pub(super) fn are_unchanged(&self, stamps: &[(u32, u64)]) -> bool {
        stamps.iter().all(|(index, value)| self.load(*index) == *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(counters: &WriteCounters, key: &[u8]) -> Option<Stamps> {
        counters.stamps([key].into_iter())
    }

    #[test]
    fn a_key_has_no_stamps_while_a_write_has_no_reply() {
        let counters = WriteCounters::for_cache_of(1 << 20);
        let before = stamps(&counters, b"a").expect("no write");
        assert!(counters.are_unchanged(&before));
        let index = counters.index(b"a");
        counters.begin(index);
        counters.begin(index);
        assert!(stamps(&counters, b"a").is_none() && !counters.are_unchanged(&before));
        counters.end(index);
        assert!(stamps(&counters, b"a").is_none(), "the other one has no reply");
        counters.end(index);
        let after = stamps(&counters, b"a").expect("both have a reply");
        assert!(counters.are_unchanged(&after) && !counters.are_unchanged(&before));
    }

    #[test]
    fn a_change_of_any_key_invalidates_all_stamps() {
        let counters = WriteCounters::for_cache_of(1 << 20);
        let (one, other) = (stamps(&counters, b"a").expect("none"), stamps(&counters, b"b").expect("none"));
        counters.touch(b"a");
        assert!(!counters.are_unchanged(&one));
        if counters.index(b"a") != counters.index(b"b") {
            assert!(counters.are_unchanged(&other));
        }
        counters.touch_all();
        assert!(!counters.are_unchanged(&other));
    }
}
