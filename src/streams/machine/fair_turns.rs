//! Whose turn it is, where several streams share the handlers of one consumer.

/// Stride scheduling: each stream that has something gets its share of the turns, by its weight, however long the
/// others have waited; one that had nothing does not save turns up.
#[derive(Debug)]
pub(crate) struct WeightedTurns {
    strides: Vec<u64>,
    /// How far each has come; whoever is behind is next.
    passed: Vec<u64>,
    now: u64,
}

/// Divisible by many weights.
const ROUND: u64 = 1 << 32;
/// From here on all counts begin anew: 2^32 turns of weight 1 later they would pass the end of the number.
const RENUMBER: u64 = 1 << 62;

impl WeightedTurns {
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let strides: Vec<u64> = weights.into_iter().map(|weight| ROUND / u64::from(weight.max(1))).collect();
        Self { passed: vec![0; strides.len()], strides, now: 0 }
    }

    /// The next one of those that are `ready`.
    #[cfg(test)]
    fn next(&mut self, ready: impl Fn(usize) -> bool) -> Option<usize> {
        self.next_of((0..self.strides.len()).filter(|nth| ready(*nth)))
    }

    /// The next one of those that are ready.
    pub(crate) fn next_of(&mut self, ready: impl Iterator<Item = usize>) -> Option<usize> {
        let (next, passed) = ready
            // Who was idle begins where the others are.
            .filter_map(|nth| Some((nth, (*self.passed.get(nth)?).max(self.now))))
            .min_by_key(|(_, passed)| *passed)?;
        self.now = passed;
        if passed >= RENUMBER {
            self.renumber();
        }
        let passed = self.now;
        let stride = self.strides.get(next).copied().unwrap_or(ROUND);
        if let Some(place) = self.passed.get_mut(next) {
            *place = passed + stride;
        }
        Some(next)
    }

    /// Takes from all counts what all have in common; only their differences matter.
    fn renumber(&mut self) {
        for passed in &mut self.passed {
            *passed = passed.saturating_sub(self.now);
        }
        self.now = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first share that differs from the fair one by more turns than there are streams: the turns it got, and should have.
    fn unfair(mut turns: WeightedTurns, weights: &[u32]) -> Option<(f64, f64)> {
        let mut got = vec![0; weights.len()];
        for _ in 0..weights.iter().sum::<u32>() * 10 {
            got[turns.next(|_| true).expect("all are ready")] += 1;
        }
        let shares = got.iter().zip(weights).map(|(got, weight)| (f64::from(*got), f64::from(*weight * 10)));
        shares.into_iter().find(|(got, fair)| (got - fair).abs() > weights.len() as f64)
    }

    proptest! {
        /// Over any stretch in which all are ready, each gets its share, give or take one turn for each stream.
        #[test]
        fn shares_follow_the_weights(weights in proptest::collection::vec(1..20u32, 1..5), idle in 0..5usize) {
            let mut turns = WeightedTurns::new(weights.clone());
            // A stream without entries for a while has no claim from that time.
            for _ in 0..100 {
                turns.next(|nth| nth != idle);
            }
            prop_assert_eq!(unfair(turns, &weights), None);
        }

        /// Ablation: without the renumbering the sum overflows (a debug build panics).
        #[test]
        fn shares_stay_fair_at_the_end_of_the_counter(weights in proptest::collection::vec(1..20u32, 2..5), left in 0..50u64) {
            let mut turns = WeightedTurns::new(weights.clone());
            let start = u64::MAX - left * ROUND - weights.len() as u64 * ROUND;
            turns.now = start;
            turns.passed.fill(start);
            prop_assert_eq!(unfair(turns, &weights), None);
        }

        #[test]
        fn only_who_is_ready_has_a_turn(ready in proptest::collection::vec(any::<bool>(), 1..6)) {
            let mut turns = WeightedTurns::new(vec![1; ready.len()]);
            match turns.next(|nth| ready[nth]) {
                Some(nth) => prop_assert!(ready[nth]),
                None => prop_assert!(ready.iter().all(|ready| !ready)),
            }
        }
    }
}
