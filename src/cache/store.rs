//! The entries, bounded by bytes.
//!
//! `quick_cache` and not `moka`: the weight is exact at every moment and not after a maintenance run, and it has two small
//! dependencies. The cost of a hit was not compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::entry::{CachedReply, Line, LineRef};

/// The bytes of a small entry, to size the tables.
const SMALL_ENTRY: usize = 512;

pub(super) struct Store {
    entries: Cache<Line, Arc<CachedReply>, ByBytes, RandomState, Evictions>,
    evicted: Arc<AtomicU64>,
    max_bytes: usize,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Line, Arc<CachedReply>> for ByBytes {
    fn weight(&self, _: &Line, reply: &Arc<CachedReply>) -> u64 {
        reply.weight() as u64
    }
}

/// Counts the entries that were evicted for lack of room.
#[derive(Clone)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Line, Arc<CachedReply>> for Evictions {
    /// Evicted entries are dropped outside of the lock of the shard.
    type RequestState = Vec<Arc<CachedReply>>;

    fn on_evict(&self, dropped: &mut Self::RequestState, _: Line, reply: Arc<CachedReply>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        dropped.push(reply);
    }
}

impl Store {
    pub(super) fn new(max_bytes: usize) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let mut options = OptionsBuilder::new();
        // A shard must have room for more than one large reply.
        options.shards((max_bytes >> 20).clamp(1, 64));
        options.estimated_items_capacity(max_bytes / SMALL_ENTRY).weight_capacity(max_bytes as u64);
        let lifecycle = Evictions(evicted.clone());
        let entries = match options.build() {
            Ok(options) => Cache::with_options(options, ByBytes, RandomState::default(), lifecycle),
            // Both capacities are set, so this does not happen.
            Err(_) => {
                Cache::with(max_bytes / SMALL_ENTRY, max_bytes as u64, ByBytes, RandomState::default(), lifecycle)
            }
        };
        Self { entries, evicted, max_bytes }
    }

    #[inline]
    pub(super) fn get(&self, line: &[u8]) -> Option<Arc<CachedReply>> {
        self.entries.get(&LineRef(line))
    }

    pub(super) fn remove(&self, line: &[u8]) {
        self.entries.remove(&LineRef(line));
    }

    pub(super) fn insert(&self, reply: CachedReply) {
        let reply = Arc::new(reply);
        self.entries.insert(Line(reply.clone()), reply);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}
