//! Whether the server's clock jumped. Idle times are told by it: after a leap of an hour everything pending
//! looks abandoned, until its owners have renewed their leases.

use std::time::{Duration, Instant};

/// How many round trips fit into the time after which entries are taken over. With fewer a lease lapses between two
/// renewals although its owner lives.
const ROUND_TRIPS: u32 = 5;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    seen: Option<(Instant, u64)>,
    /// The average of late.
    round_trip: Duration,
}

impl ServerClock {
    /// What the server's clock should say, in milliseconds since the Unix epoch, and how far off it may be: as much as a
    /// lease has to spare when it is renewed, and what it takes to ask and to be answered.
    pub(crate) fn expected(&self, min_idle: Duration, now: Instant) -> Option<(u64, Duration)> {
        let (at, millis) = self.seen?;
        let passed = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        Some((millis.saturating_add(passed), min_idle / 2 + 2 * self.round_trip))
    }

    /// What it said to a question that was sent at `sent`.
    pub(crate) fn saw(&mut self, millis: u64, sent: Instant, now: Instant) {
        let took = now.saturating_duration_since(sent);
        self.round_trip = if self.seen.is_none() { took } else { (self.round_trip * 7 + took) / 8 };
        self.seen = Some((now, millis));
    }

    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// After how long entries are taken over: later than asked for, where round trips are so long that leases cannot be
    /// renewed in time.
    pub(crate) fn claim_after(&self, min_idle: Duration) -> Duration {
        min_idle.max(self.round_trip * ROUND_TRIPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ablation: with half of `min_idle` as the tolerance nothing is ever claimed over such a distance.
    #[test]
    fn round_trips_widen_the_tolerance_and_leaps_are_seen_all_the_same() {
        let (start, idle, trip) = (Instant::now(), Duration::from_millis(300), Duration::from_millis(202));
        let mut clock = ServerClock::default();
        let server = |at: Instant| 1_000_000 + at.saturating_duration_since(start).as_millis() as u64;
        let mut now = start;
        for _ in 0..10 {
            // The server looks at its clock anywhere between the question and the answer.
            for share in [0, 1, 2] {
                let looks = now + trip * share / 2;
                if let Some((expected, tolerance)) = clock.expected(idle, now) {
                    assert!(server(looks).abs_diff(expected) <= tolerance.as_millis() as u64, "{share}");
                    assert!(
                        server(looks + Duration::from_secs(3600)).abs_diff(expected) > tolerance.as_millis() as u64
                    );
                }
                clock.saw(server(looks), now, now + trip);
                now += trip + Duration::from_millis(100);
            }
        }
        assert!(
            clock.claim_after(idle) > trip * 4 && clock.claim_after(Duration::from_secs(30)) == Duration::from_secs(30)
        );
    }
}
