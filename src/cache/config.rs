//! The settings of the cache.

use std::time::Duration;

/// The settings of client-side caching; see [`RedisConfigBuilder::cache`](crate::RedisConfigBuilder::cache) and the chapter
/// [`caching`](crate::caching).
///
/// ```
/// use redis_actix::{CacheConfig, RedisConfig};
///
/// let config = RedisConfig::builder().cache(CacheConfig::new(64 * 1024 * 1024)).build()?;
/// assert!(config.cache().is_some());
/// # Ok::<(), redis_actix::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct CacheConfig {
    max_bytes: usize,
    default_ttl: Option<Duration>,
    broadcast: bool,
}

impl CacheConfig {
    /// The smallest cache.
    pub(crate) const MIN_BYTES: usize = 64 * 1024;

    /// A cache of at most this many bytes: keys, values and overhead, at least 65,536. Only messages with `cached(ttl)` are
    /// answered from it.
    pub const fn new(max_bytes: usize) -> Self {
        Self { max_bytes, default_ttl: None, broadcast: false }
    }

    /// Answers all reads that can be cached from replies up to this old, 1 millisecond to a day, except messages with
    /// `fresh()`. Default: none, so that only messages with `cached(ttl)` are answered from the cache.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// Lets the server report every change of a key with the prefix, instead of the keys that were read. The server keeps no
    /// table of keys, and reads are sent without `CLIENT CACHING YES`. Every write of every service with the prefix is reported
    /// to every connection. Default: off.
    pub const fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    /// The maximum number of bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The maximum age of replies to reads without their own choice.
    #[must_use]
    pub const fn default_ttl(&self) -> Option<Duration> {
        self.default_ttl
    }

    /// Whether the server reports every change of a key with the prefix.
    #[must_use]
    pub const fn is_broadcast(&self) -> bool {
        self.broadcast
    }
}
