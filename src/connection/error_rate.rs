//! How many commands failed lately, in a window that anybody may read while one thread writes.

use std::{
    ops::Add,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A slot covers this much time.
const SLOT: Duration = Duration::from_secs(1);
const SLOTS: usize = 10;
/// A slot holds the number of its second and two counts, so that one store changes all of them.
const COUNT_BITS: u32 = 24;
const MOST: u64 = (1 << COUNT_BITS) - 1;

/// How the commands of the last ten seconds ended; see [`Redis::error_rate`](crate::Redis::error_rate).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorRate {
    /// Commands that the server answered, with a value or with an error of its own.
    pub answered: u64,
    /// Commands that failed for want of a healthy connection: timeouts, lost links, refused or full.
    pub failed: u64,
}

impl Add for ErrorRate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { answered: self.answered + other.answered, failed: self.failed + other.failed }
    }
}

impl ErrorRate {
    /// The share of failures, 0.0 to 1.0; 0.0 when nothing was asked.
    #[must_use]
    pub fn ratio(self) -> f64 {
        let all = self.answered + self.failed;
        if all == 0 { 0.0 } else { self.failed as f64 / all as f64 }
    }
}

/// The counts of the last [`SLOTS`] seconds. Times are since any moment, the same for all calls.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: [AtomicU64; SLOTS],
}

impl Window {
    /// Adds to the present slot. For one writer: it loads and stores, so that it costs no locked instruction.
    pub(crate) fn record(&self, answered: u64, failed: u64, at: Duration) {
        let number = number(at);
        let Some(slot) = self.slot(number) else { return };
        let held = slot.load(Ordering::Relaxed);
        slot.store(added(held, number, answered, failed), Ordering::Relaxed);
    }

    /// Adds one failure to the present slot, for any number of writers.
    pub(crate) fn record_failure(&self, at: Duration) {
        let number = number(at);
        let Some(slot) = self.slot(number) else { return };
        let one_more = |held| Some(added(held, number, 0, 1));
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    pub(crate) fn read(&self, at: Duration) -> ErrorRate {
        let now = number(at);
        let mut rate = ErrorRate::default();
        for number in now.saturating_sub(SLOTS as u64 - 1)..=now {
            let Some(slot) = self.slot(number) else { continue };
            let (stamped, answered, failed) = unpack(slot.load(Ordering::Relaxed));
            if stamped == stamp(number) {
                rate.answered += answered;
                rate.failed += failed;
            }
        }
        rate
    }

    fn slot(&self, number: u64) -> Option<&AtomicU64> {
        self.slots.get((number % SLOTS as u64) as usize)
    }
}

fn number(at: Duration) -> u64 {
    // From 1 on: a slot that was never written must not look like one of the first second.
    at.as_secs() / SLOT.as_secs() + 1
}

fn stamp(number: u64) -> u64 {
    number & (u64::MAX >> (2 * COUNT_BITS))
}

/// The slot that holds `held` with more counts of the second with this number.
fn added(held: u64, number: u64, answered: u64, failed: u64) -> u64 {
    let (before, answered_before, failed_before) = unpack(held);
    let (answered, failed) =
        if before == stamp(number) { (answered + answered_before, failed + failed_before) } else { (answered, failed) };
    stamp(number) << (2 * COUNT_BITS) | answered.min(MOST) << COUNT_BITS | failed.min(MOST)
}

fn unpack(held: u64) -> (u64, u64, u64) {
    (held >> (2 * COUNT_BITS), held >> COUNT_BITS & MOST, held & MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of everything that was ever recorded.
        #[test]
        fn what_is_read_is_what_was_recorded_in_the_last_ten_seconds(
            steps in prop::collection::vec((0_u64..4_000, 0_u64..1_000, 0_u64..1_000), 0..100),
            idle in 0_u64..30_000,
        ) {
            let window = Window::default();
            let (mut now, mut all) = (0, Vec::new());
            for (pause, answered, failed) in steps {
                now += pause;
                window.record(answered, failed, Duration::from_millis(now));
                all.push((now / 1_000, answered, failed));
            }
            now += idle;
            let recent = all.iter().filter(|(second, ..)| now / 1_000 - second < 10);
            let expected = recent.fold((0, 0), |sum, (_, answered, failed)| (sum.0 + answered, sum.1 + failed));
            let rate = window.read(Duration::from_millis(now));
            prop_assert_eq!((rate.answered, rate.failed), expected);
            prop_assert!((0.0..=1.0).contains(&rate.ratio()));
        }
    }

    #[test]
    fn more_than_a_slot_can_hold_stays_the_most_it_can() {
        let window = Window::default();
        window.record(u64::MAX >> 1, 7, Duration::ZERO);
        window.record(1, 0, Duration::ZERO);
        assert_eq!(window.read(Duration::ZERO), ErrorRate { answered: MOST, failed: 7 });
    }
}
