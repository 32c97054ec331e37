//! The cache from the view of the driver: whether its link is tracked, and the invalidations that it brings.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::ClientCache;
use super::link::{Trackable, TrackedLink, ticks};
use super::stats::Flush;

/// The part of an established link that concerns the cache.
pub(crate) struct Tracking {
    cache: Arc<ClientCache>,
    /// `None` if the server does not track keys for this link.
    link: Option<Arc<TrackedLink>>,
    /// How long entries are used without a byte from the server.
    trust: u64,
}

impl Tracking {
    pub(crate) fn new(cache: Arc<ClientCache>, is_tracked: bool, trust: Duration) -> Self {
        let trust = ticks(trust);
        let link = is_tracked.then(|| TrackedLink::new(trust));
        Self { cache, link, trust }
    }

    /// A command is sent on this link. Returns whether CLIENT CACHING YES goes before it.
    pub(crate) fn track(&self, command: &mut impl Trackable) -> bool {
        // ASKING and CLIENT CACHING cancel each other.
        let link = self.link.as_ref().filter(|_| !command.is_asking());
        command.track(link) && !self.cache.is_broadcast()
    }

    /// Bytes arrived.
    pub(crate) fn received(&self) {
        if let Some(link) = &self.link {
            link.trust_for(self.trust);
        }
    }

    /// An invalidation arrived: the keys, or nil for all of them.
    pub(crate) fn invalidated(&self, data: &[Value]) {
        match data.first() {
            Some(Value::Array(keys)) => self.cache.invalidate(keys),
            _ => self.flush(Flush::Server),
        }
    }

    /// The server refused a command of the connection itself, so a read may not be tracked. Returns the reason if reads are
    /// not cached on this link any more.
    #[cold]
    pub(crate) fn refused(&mut self, error: &redis::ServerError) -> Option<String> {
        let words = error.details().unwrap_or_default();
        if words.contains("'ping'") {
            return None;
        }
        self.flush(Flush::Server);
        let is_final = words.to_ascii_lowercase().contains("caching");
        is_final.then(|| self.link = None).map(|()| format!("CLIENT CACHING: {} {words}", error.code()))
    }

    fn flush(&self, cause: Flush) {
        if let Some(link) = &self.link {
            link.end_epoch();
            self.cache.count_flush(cause);
        }
    }
}

/// However the link ends, its invalidations end with it.
impl Drop for Tracking {
    fn drop(&mut self) {
        self.flush(Flush::LinkLost);
    }
}
