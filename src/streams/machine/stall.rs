//! A consumer that is connected, has entries to read, and gets none.

use std::time::{Duration, Instant};

/// A link that was given up in vain is given up ever more seldom: a server may count a lag that nobody can read.
const LONGEST: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stall {
    limit: Duration,
    since: Option<Instant>,
    factor: u32,
}

impl Stall {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, factor: 1 }
    }

    /// Entries came.
    pub(crate) fn delivered(&mut self) {
        (self.since, self.factor) = (None, 1);
    }

    /// The group was looked at. Returns since when it has been stalled, once it is for too long; `reading` is
    /// whether a read is under way, without which nothing can come.
    pub(crate) fn looked(&mut self, lag: Option<u64>, reading: bool, now: Instant) -> Option<Duration> {
        if !reading || lag.unwrap_or_default() == 0 {
            self.since = None;
            return None;
        }
        let lasts = now.saturating_duration_since(*self.since.get_or_insert(now));
        if lasts < self.limit.saturating_mul(self.factor) {
            return None;
        }
        self.since = None;
        self.factor = (self.factor * 2).min(LONGEST);
        Some(lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn only_lag_without_deliveries_while_reading_is_a_stall() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        for (lag, reading) in [(None, true), (Some(0), true), (Some(5), false)] {
            let mut stall = Stall::new(LIMIT);
            assert!((0..100).all(|secs| stall.looked(lag, reading, at(secs)).is_none()), "{lag:?} {reading}");
        }
        let mut stall = Stall::new(LIMIT);
        let found: Vec<_> = (0..80).filter(|secs| stall.looked(Some(1), true, at(*secs)).is_some()).collect();
        assert_eq!(found, [10, 31, 72], "ever more seldom");
        stall.delivered();
        assert!(stall.looked(Some(1), true, at(100)).is_none());
        assert!(stall.looked(Some(1), true, at(110)).is_some());
    }
}
