//! Client-side caching: replies to reads are kept in this process, and the server reports the keys that change.
//!
//! An entry is valid while the counters of its keys, the epoch of its link and its age allow it; all three are compared at
//! every hit. Invalidating means counting, so no writer, push or flush touches an entry, and an entry that is stored too late
//! is never valid: it carries the counters from before its command was sent.

mod admit;
mod commands;
pub(crate) mod config;
mod counters;
pub(crate) mod entry;
mod flights;
pub(crate) mod link;
mod read;
pub(crate) mod stats;
mod store;
pub(crate) mod tracking;
mod write;

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use crate::frame::{CacheChoice, Frame};
use crate::prefix::KeyPrefix;
use config::CacheConfig;
use counters::WriteCounters;
use entry::CachedReply;
use flights::Flights;
use stats::{CacheStats, Counts, Flush};
use store::Store;

/// The cache of one connection and of everything that belongs to its handle.
pub(crate) struct ClientCache {
    default_ttl: Option<Duration>,
    broadcast: bool,
    prefix: KeyPrefix,
    counters: WriteCounters,
    store: Store,
    flights: Arc<Flights>,
    counts: Counts,
}

impl ClientCache {
    pub(crate) fn new(config: CacheConfig, prefix: KeyPrefix) -> Arc<Self> {
        let counters = WriteCounters::for_cache_of(config.max_bytes());
        let bytes = config.max_bytes().saturating_sub(counters.bytes());
        Arc::new(Self {
            default_ttl: config.default_ttl(),
            broadcast: config.is_broadcast(),
            prefix,
            counters,
            store: Store::new(bytes),
            flights: Arc::default(),
            counts: Counts::default(),
        })
    }

    /// Whether the server reports every key of the prefix, so that reads need not announce themselves.
    pub(crate) fn is_broadcast(&self) -> bool {
        self.broadcast
    }

    pub(crate) fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    /// The maximum age of a reply to this command; `None` if it is not answered from the cache.
    #[inline]
    fn ttl_of(&self, frame: &Frame) -> Option<Duration> {
        match frame.cache_choice() {
            CacheChoice::Default => self.default_ttl,
            CacheChoice::Ttl(ttl) => Some(ttl),
            CacheChoice::Fresh => None,
        }
    }

    /// The valid reply to this command, if there is one. Called on the caller's thread.
    pub(crate) fn find(&self, frame: &Frame) -> Option<Arc<CachedReply>> {
        let ttl = self.ttl_of(frame)?;
        let line = frame.cache_line()?;
        let Some(reply) = self.store.get(line) else {
            self.counts.miss();
            return None;
        };
        if !reply.frame().has_marks_of(frame) {
            return None;
        }
        if !self.counters.are_unchanged(reply.stamps()) || !reply.is_of_valid_link() {
            // Freed now; otherwise it would occupy its room until the store evicts it.
            self.store.remove(line);
            self.counts.invalid();
            return None;
        }
        if !reply.is_younger_than(ttl) {
            self.counts.expired();
            return None;
        }
        self.counts.hit();
        Some(reply)
    }

    /// The server reports that keys have changed.
    pub(crate) fn invalidate(&self, keys: &[Value]) {
        let prefix = self.prefix.as_str().as_bytes();
        for key in keys {
            if let Value::BulkString(key) = key
                && let Some(key) = key.strip_prefix(prefix)
            {
                self.counters.touch(key);
                self.counts.invalidation();
            }
        }
    }

    /// Invalidates every entry.
    pub(crate) fn flush(&self, cause: Flush) {
        self.counters.touch_all();
        self.counts.flush(cause);
    }

    /// Counts a flush of one link's entries.
    pub(crate) fn count_flush(&self, cause: Flush) {
        self.counts.flush(cause);
    }

    pub(crate) fn stats(&self) -> CacheStats {
        self.counts.read(&self.store, self.counters.bytes())
    }
}
