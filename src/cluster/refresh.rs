//! When the picture of the cluster is drawn anew: now and then, and soon after somebody was told that it is wrong.

use std::time::{Duration, Instant};

/// Between two looks without a reason, on average; drawn between three and five quarters of it, so that many
/// clients do not look at once.
const PERIOD: Duration = Duration::from_secs(10);
/// Between two looks with a reason: however many commands are told that a slot has moved, it is one look.
const GAP: Duration = Duration::from_millis(100);
/// While something is wrong, and looking has not mended it, looks become this rare.
const RAREST: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Refresh {
    chance: fastrand::Rng,
    period: Duration,
    /// The next look, unless one is under way.
    due: Option<Instant>,
    last: Option<Instant>,
    /// Somebody found it wrong while a look was under way: what that brings may be older.
    again: bool,
    /// Somebody found it wrong since the last look began.
    is_doubted: bool,
    /// Looks in a row that did not mend it.
    in_vain: u32,
}

impl Refresh {
    pub(crate) fn new(chance: fastrand::Rng) -> Self {
        Self { chance, period: PERIOD, due: None, last: None, again: false, is_doubted: false, in_vain: 0 }
    }

    /// Something is not as the picture has it.
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

    /// Whether somebody found the topology wrong since the last look, so that one node is not enough to confirm it.
    pub(crate) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_doubted)
    }

    /// Whether a look begins now.
    pub(crate) fn starts(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        (self.due, self.last, self.again) = (None, Some(now), false);
        true
    }

    /// A look has ended. `well`: the picture is there, and nobody is missing in it.
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

    /// A look was dropped: the next one begins at once.
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
    fn nobody_looks_before_somebody_asks() {
        let mut refresh = Refresh::new(fastrand::Rng::with_seed(1));
        let now = Instant::now();
        assert!(!refresh.starts(now + ms(100_000)));
        refresh.wanted(now);
        assert!(refresh.starts(now));
        assert!(!refresh.starts(now + ms(100_000)), "one at a time");
    }

    #[test]
    fn a_thousand_reasons_are_one_look() {
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
    fn a_reason_during_a_look_is_looked_into_afterwards() {
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
        /// Whatever comes: there is always a next look, it is not sooner than the gap allows, and while all is well it
        /// is not later than the period.
        #[test]
        fn looks_go_on_and_are_never_hurried(seed: u64, steps in proptest::collection::vec((0..3_u8, any::<bool>(), 0..3000_u64), 1..200)) {
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
