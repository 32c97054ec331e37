//! One kind of errand to the server: at most one under way, and a growing pause after each failure.

use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Whether an errand may start now.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    under_way: bool,
    not_before: Option<Instant>,
    failures: u32,
}

impl Pace {
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way
    }

    pub(crate) fn may_start(&self, now: Instant) -> bool {
        !self.under_way && self.not_before.is_none_or(|at| at <= now)
    }

    /// When a pause ends, if there is one.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.under_way)
    }

    pub(crate) fn start(&mut self) {
        self.under_way = true;
        self.not_before = None;
    }

    /// Whatever was under way is no more. A pause goes on: a read that failed is tried again after it, even if what it
    /// needs was mended meanwhile.
    pub(crate) fn over(&mut self) {
        self.under_way = false;
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Waits as after a failure that nobody was told of.
    pub(crate) fn pause(&mut self, now: Instant, chance: &mut fastrand::Rng) {
        self.failed(now, chance);
        self.failures = 0;
    }

    /// Returns whether this was the first failure in a row, which is the one worth telling.
    pub(crate) fn failed(&mut self, now: Instant, chance: &mut fastrand::Rng) -> bool {
        self.under_way = false;
        let step = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.not_before = Some(now + step.mul_f64(0.5 + chance.f64() / 2.0));
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }
}
