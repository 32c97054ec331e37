//! Client-side caching on a link: whether the server tracks keys for it, and refusals of that.

use std::time::Duration;

use redis::Value;

use super::Driver;
use crate::cache::tracking::Tracking;
use crate::events::ConnectionEvent;
use crate::protocol::server_info::ServerInfo;

impl Driver {
    /// The tracking of a new link, if there is a cache, and why the server does not track keys for it.
    pub(super) fn tracking_of(
        &self,
        server_info: &ServerInfo,
        time_limit: Duration,
    ) -> (Option<Tracking>, Option<String>) {
        let cache = self.connect_params.cache.as_ref().filter(|_| self.connect_params.tracks);
        let (Some(cache), Some(tracked)) = (cache, &server_info.tracking) else { return (None, None) };
        let tracking = Tracking::new(cache.clone(), tracked.is_ok(), time_limit);
        (Some(tracking), tracked.clone().err())
    }

    /// An error came. Where it answers a command of the connection itself, that may have been CLIENT CACHING: then the
    /// following read is not tracked.
    #[cold]
    pub(super) fn check_tracking(&mut self, value: &Value) {
        let is_own = self.admission.oldest().is_none();
        let tracking = self.established.as_mut().and_then(|established| established.tracking.as_mut());
        if let (Value::ServerError(error), Some(tracking), true) = (value, tracking, is_own)
            && let Some(reason) = tracking.refused(error)
        {
            self.emit(ConnectionEvent::CacheUnavailable { reason });
        }
    }
}
