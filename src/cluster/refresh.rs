//! When the topology is refreshed: periodically, and soon after a reason to think that it is wrong.

use std::time::{Duration, Instant};

/// The average time between two refreshes without a reason. It is drawn between three and five quarters of this, so that many
/// clients do not refresh at once.
const PERIOD: Duration = Duration::from_secs(10);
/// The time between two refreshes with a reason: many commands that receive MOVED cause one refresh.
const GAP: Duration = Duration::from_millis(100);
/// The longest time between refreshes while they find no complete topology.
const RAREST: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Refresh {
    chance: fastrand::Rng,
    period: Duration,
    /// The next refresh, unless one is under way.
    due: Option<Instant>,
    last: Option<Instant>,
    /// It was found wrong during a refresh, whose result may be older.
    again: bool,
    /// It was found wrong since the last refresh began.
    is_doubted: bool,
    /// Refreshes in a row that found no complete topology.
    in_vain: u32,
}

impl Refresh {
    pub(crate) fn new(chance: fastrand::Rng) -> Self {
        Self { chance, period: PERIOD, due: None, last: None, again: false, is_doubted: false, in_vain: 0 }
    }

    /// The topology was found wrong.
    pub(crate) fn wanted(&mut self, now: Instant) {
        self.is_doubted = true;
        match self.due {
            None if self.last.is_some() => self.again = true,
            due => {
                let soonest = self.last.map_or(now, |last| (last + self.pause()).max(now));
                self.due = Some(due.map_or(soonest, |due| due.min(soonest)));
            }
        }
    }

    fn pause(&self) -> Duration {
        (GAP * 2_u32.saturating_pow(self.in_vain.min(8))).min(RAREST)
    }

    /// When [`starts`](Self::starts) is to be asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the topology was found wrong since the last refresh, so that one node is not enough to confirm it.
    pub(crate) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_doubted)
    }

    /// Whether a refresh begins now.
    pub(crate) fn starts(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        (self.due, self.last, self.again) = (None, Some(now), false);
        true
    }

    /// A refresh has ended. `well`: the topology is known and complete.
    pub(crate) fn ended(&mut self, well: bool, now: Instant) {
        self.in_vain = if well { 0 } else { self.in_vain.saturating_add(1) };
        let share = 0.75 + self.chance.f64() / 2.0;
        let after = if well && !self.again {
            self.period.mul_f64(share)
        } else if well {
            GAP
        } else {
            self.pause().mul_f64(share)
        };
        self.again = false;
        self.due = Some(now + after);
    }

    /// A refresh was dropped: the next one begins at once.
    pub(crate) fn dropped(&mut self, now: Instant) {
        if self.due.is_none() && self.last.is_some() {
            self.due = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn nothing_is_refreshed_before_it_is_requested() {
        let mut refresh = Refresh::new(fastrand::Rng::with_seed(1));
        let now = Instant::now();
        assert!(!refresh.starts(now + ms(100_000)));
        refresh.wanted(now);
        assert!(refresh.starts(now));
        assert!(!refresh.starts(now + ms(100_000)), "one at a time");
    }

    #[test]
    fn a_thousand_reasons_are_one_refresh() {
        let mut refresh = Refresh::new(fastrand::Rng::with_seed(1));
        let start = Instant::now();
        let mut attempts = 0;
        for at in 0..1000 {
            let now = start + ms(at);
            refresh.wanted(now);
            if refresh.starts(now) {
                attempts += 1;
                refresh.ended(true, now);
            }
        }
        assert!((9..=11).contains(&attempts), "{attempts} looks in a second");
    }

    #[test]
    fn a_reason_during_a_refresh_causes_another_one() {
        let mut refresh = Refresh::new(fastrand::Rng::with_seed(1));
        let now = Instant::now();
        refresh.wanted(now);
        assert!(refresh.starts(now));
        assert!(refresh.take_doubt());
        refresh.wanted(now + ms(5));
        refresh.ended(true, now + ms(10));
        assert!(refresh.take_doubt() && !refresh.take_doubt(), "the next one begins in doubt as well");
        assert!(refresh.due().is_some_and(|due| due <= now + ms(10) + GAP));
    }

    proptest! {
        /// There is always a next refresh, it is not sooner than the gap allows, and without a reason it is not later than the period.
        #[test]
        fn refreshes_go_on_and_keep_their_distance(seed: u64, steps in proptest::collection::vec((0..3_u8, any::<bool>(), 0..3000_u64), 1..200)) {
            let mut refresh = Refresh::new(fastrand::Rng::with_seed(seed));
            let mut now = Instant::now();
            refresh.wanted(now);
            let (mut running, mut last): (bool, Option<Instant>) = (false, None);
            for (step, well, passed) in steps {
                now += ms(passed);
                match step {
                    0 => refresh.wanted(now),
                    1 if running => {
                        refresh.ended(well, now);
                        running = false;
                    }
                    _ => {
                        if refresh.starts(now) {
                            prop_assert!(!running, "two at once");
                            prop_assert!(last.is_none_or(|last| now - last >= GAP.mul_f64(0.7)));
                            (running, last) = (true, Some(now));
                        }
                    }
                }
                prop_assert!(running || refresh.due().is_some_and(|due| due <= now + PERIOD.mul_f64(1.25)));
            }
        }
    }
}
