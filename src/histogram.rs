//! A histogram of durations in bounded memory.

use std::time::Duration;

/// Sub-buckets per power of two of microseconds: the maximum relative error is 1/8.
const SUB_BUCKETS: usize = 8;
/// Up to 2^36 microseconds, or 19 hours; longer durations count as that.
const POWERS: usize = 34;
const BUCKETS: usize = SUB_BUCKETS * POWERS;

/// Log-linear buckets: fine for short durations, coarse for long ones, two kilobytes in total.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: Duration,
    longest: Duration,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), count: 0, sum: Duration::ZERO, longest: Duration::ZERO }
    }

    pub(crate) fn record(&mut self, took: Duration, times: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(took)) {
            *bucket += times;
        }
        self.count += times;
        self.sum = self.sum.saturating_add(took.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)));
        self.longest = self.longest.max(took);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    pub(crate) fn mean(&self) -> Duration {
        let nanos = self.sum.as_nanos().checked_div(u128::from(self.count)).unwrap_or_default();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The upper end of the bucket that contains the quantile.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.count as f64) * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(end_of(bucket)).min(self.longest);
            }
        }
        self.longest
    }
}

fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < SUB_BUCKETS as u64 {
        return micros as usize;
    }
    let power = micros.ilog2() as usize;
    let part = (micros >> (power - 3)) as usize & (SUB_BUCKETS - 1);
    ((power - 2) * SUB_BUCKETS + part).min(BUCKETS - 1)
}

/// The highest value in a bucket.
fn end_of(bucket: usize) -> u64 {
    let (power, part) = (bucket / SUB_BUCKETS, (bucket % SUB_BUCKETS) as u64);
    match power.checked_sub(1) {
        None => part,
        Some(shift) => ((SUB_BUCKETS as u64 + part + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_relative_error_is_limited_to_one_eighth(micros in 0..1u64 << 36) {
            let bucket = bucket_of(Duration::from_micros(micros));
            let end = end_of(bucket);
            prop_assert!(end >= micros && end <= micros + micros / 8, "{micros} in {bucket}, which ends at {end}");
            prop_assert!(bucket == 0 || end_of(bucket - 1) < micros);
        }

        #[test]
        fn quantiles_match_those_of_the_sorted_values(mut values in proptest::collection::vec(0..10_000_000u64, 1..200)) {
            let mut histogram = Histogram::new();
            for value in &values {
                histogram.record(Duration::from_micros(*value), 1);
            }
            values.sort_unstable();
            for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
                let nth = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
                let (exact, estimate) = (values[nth - 1], histogram.quantile(share).as_micros() as u64);
                prop_assert!(estimate >= exact && estimate <= exact + exact / 8, "{share}: {estimate} for {exact}");
            }
        }
    }

    #[test]
    fn durations_above_the_range_are_counted() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::MAX, 2);
        assert_eq!(
            (histogram.count(), histogram.quantile(0.5), histogram.longest()),
            (2, Duration::from_micros((1 << 36) - 1), Duration::MAX)
        );
        assert_eq!(Histogram::new().quantile(0.5), Duration::ZERO);
    }
}
