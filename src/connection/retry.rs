//! When to dial again. The only file that names the `backoff` crate, which is unmaintained.

use std::{ops::RangeInclusive, time::Duration};

use crate::clock::FOREVER;
use backoff::{SystemClock, backoff::Backoff, exponential::ExponentialBackoff};

/// How a lost connection is dialled again: exponentially growing delays, each drawn between zero and
/// the current step ("full jitter"), so that a thousand clients of a restarted server do not come back in
/// one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a policy does nothing until it is given to Redis::builder"]
pub struct ReconnectPolicy {
    first: Duration,
    longest: Duration,
    stable_after: Duration,
    give_up_after: Option<u32>,
}

impl Default for ReconnectPolicy {
    /// 100 ms to 5 s, stable after 10 s, never giving up. The longest delay is about as long as a command waits by
    /// default: with a longer one callers fail while the server is back already.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)..=Duration::from_secs(5))
    }
}

impl ReconnectPolicy {
    /// Delays of up to `steps.start()` at first, doubling up to `steps.end()`. Anything below one
    /// millisecond counts as one, an end before the start as the start.
    pub fn exponential(steps: RangeInclusive<Duration>) -> Self {
        let first = (*steps.start()).clamp(Duration::from_millis(1), FOREVER);
        Self {
            first,
            longest: (*steps.end()).clamp(first, FOREVER),
            stable_after: Duration::from_secs(10),
            give_up_after: None,
        }
    }

    /// How long a connection must have been healthy before the delays start from the beginning again.
    /// Default 10 s. A server that accepts and closes at once therefore sees growing delays. A link of half a second and more
    /// that the server closed because it was idle counts as healthy, too.
    pub fn stable_after(mut self, healthy: Duration) -> Self {
        self.stable_after = healthy.min(FOREVER);
        self
    }

    /// Ends the connection for good after this number of failed attempts in a row. By default it is tried for
    /// ever: a service whose Redis was away for a night should be there in the morning.
    pub fn give_up_after(mut self, attempts: u32) -> Self {
        self.give_up_after = Some(attempts.max(1));
        self
    }

    pub(crate) fn healthy_after(&self) -> Duration {
        self.stable_after
    }
}

/// The delays of one connection.
pub(crate) struct Retry {
    policy: ReconnectPolicy,
    steps: ExponentialBackoff<SystemClock>,
    chance: fastrand::Rng,
    attempts: u32,
}

impl Retry {
    pub(crate) fn new(policy: ReconnectPolicy, chance: fastrand::Rng) -> Self {
        // The crate jitters around a step and before the cap; ours is drawn from zero after the cap, so its
        // own is off. Its elapsed time is off too: only the user's limit may end the attempts.
        let steps = ExponentialBackoff {
            current_interval: policy.first,
            initial_interval: policy.first,
            max_interval: policy.longest,
            multiplier: 2.0,
            randomization_factor: 0.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { policy, steps, chance, attempts: 0 }
    }

    pub(crate) fn policy(&self) -> &ReconnectPolicy {
        &self.policy
    }

    /// The delay before the next attempt, or `None` when the user's limit is reached.
    pub(crate) fn next_delay(&mut self) -> Option<Duration> {
        self.attempts = self.attempts.saturating_add(1);
        if self.policy.give_up_after.is_some_and(|limit| self.attempts >= limit) {
            return None;
        }
        let step = self.steps.next_backoff().unwrap_or(self.policy.longest).min(self.policy.longest);
        Some(step.mul_f64(self.chance.f64()))
    }

    /// The longest delay, with jitter of a quarter: for refusals, which should not be hammered, and not be
    /// repeated by a whole fleet in one moment either.
    pub(crate) fn longest_delay(&mut self) -> Duration {
        self.policy.longest.mul_f64(0.75 + self.chance.f64() / 4.0)
    }

    pub(crate) fn reset(&mut self) {
        self.steps.reset();
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(seed: u64) -> Retry {
        let policy = ReconnectPolicy::exponential(Duration::from_millis(100)..=Duration::from_secs(1));
        Retry::new(policy, fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn every_delay_is_drawn_below_its_step_and_the_steps_double_up_to_the_longest() {
        let mut most = [Duration::ZERO; 6];
        for seed in 0..2_000 {
            let mut retry = retry(seed);
            for longest in &mut most {
                *longest = retry.next_delay().expect("no limit").max(*longest);
            }
        }
        for (longest, step) in most.iter().zip([100, 200, 400, 800, 1000, 1000]) {
            let step = Duration::from_millis(step);
            assert!(*longest <= step && *longest > step.mul_f64(0.95), "{longest:?} of {step:?}");
        }
    }

    #[test]
    fn the_first_delay_is_jittered_too() {
        let below_half = (0..1_000).filter(|&seed| retry(seed).next_delay() < Some(Duration::from_millis(50))).count();
        assert!((350..650).contains(&below_half), "{below_half} of 1000 in the lower half");
    }

    #[test]
    fn only_a_limit_of_the_user_ends_the_attempts() {
        let mut endless = retry(1);
        assert!((0..100_000).all(|_| endless.next_delay().is_some()));
        let policy = ReconnectPolicy::default().give_up_after(3);
        let mut limited = Retry::new(policy, fastrand::Rng::with_seed(1));
        assert_eq!((0..3).filter_map(|_| limited.next_delay()).count(), 2);
        limited.reset();
        assert!(limited.next_delay().is_some());
    }
}
