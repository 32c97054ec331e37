//! The limits of one process, for the time in which Redis cannot decide.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Algorithm, Limit};

/// The maximum number of remembered keys.
const MOST_KEYS: usize = 10_000;

/// For each key the time at which its bucket is full again.
#[derive(Debug, Default)]
pub(super) struct LocalLimits(Mutex<HashMap<String, Instant>>);

impl LocalLimits {
    /// Whether a request is admitted, the number of tokens left, and the time until the next one, or until the bucket is full.
    pub(super) fn check(&self, key: &str, limit: Limit, now: Instant) -> (bool, u64, Duration) {
        let interval = match limit.algorithm {
            Algorithm::TokenBucket => limit.time,
            Algorithm::SlidingWindow => limit.time / u32::try_from(limit.most).unwrap_or(u32::MAX),
        };
        let interval = interval.max(Duration::from_micros(1));
        let capacity = interval.saturating_mul(u32::try_from(limit.most).unwrap_or(u32::MAX));
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= MOST_KEYS && !full_at.contains_key(key) {
            full_at.retain(|_, full| *full > now);
            if full_at.len() >= MOST_KEYS {
                // More keys than can be remembered are active. Forgetting one would admit its burst again.
                return (false, 0, interval);
            }
        }
        let full = full_at.get(key).copied().unwrap_or(now).max(now);
        let next = full + interval;
        let debt = next - now;
        if debt > capacity {
            return (false, 0, debt - capacity);
        }
        full_at.insert(key.to_owned(), next);
        let tokens = (capacity - debt).as_nanos() / interval.as_nanos();
        (true, u64::try_from(tokens).unwrap_or(u64::MAX), debt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_admits_its_capacity_and_then_one_each_interval() {
        let (limits, begin) = (LocalLimits::default(), Instant::now());
        let limit = Limit::token_bucket(3, Duration::from_secs(1));
        let admitted = |at| limits.check("k", limit, at).0;
        assert_eq!([begin; 4].map(admitted), [true, true, true, false]);
        assert_eq!(limits.check("k", limit, begin).2, Duration::from_secs(1));
        assert!(limits.check("other", limit, begin).0);
        assert_eq!([begin + Duration::from_secs(1); 2].map(admitted), [true, false]);
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let (limits, begin) = (LocalLimits::default(), Instant::now());
        let limit = Limit::sliding_window(1, Duration::from_secs(1));
        let admitted = (0..MOST_KEYS + 5).filter(|key| limits.check(&key.to_string(), limit, begin).0).count();
        assert_eq!(admitted, MOST_KEYS);
        assert!(limits.check("new", limit, begin + Duration::from_secs(2)).0, "expired keys make room");
    }
}
