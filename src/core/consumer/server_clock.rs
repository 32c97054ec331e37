//! Whether the server's clock jumped. Idle times are told by it: after a leap of an hour everything pending
//! looks abandoned, until its owners have renewed their leases.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    seen: Option<(Instant, u64)>,
}

impl ServerClock {
    /// What the server's clock should say, in milliseconds since the Unix epoch.
    pub(crate) fn expected(&self, now: Instant) -> Option<u64> {
        let (at, millis) = self.seen?;
        let passed = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        Some(millis.saturating_add(passed))
    }

    pub(crate) fn saw(&mut self, millis: u64, now: Instant) {
        self.seen = Some((now, millis));
    }

    /// How far off it may be: as much as a lease has to spare when it is renewed.
    pub(crate) fn tolerance(min_idle: Duration) -> Duration {
        min_idle / 2
    }
}
