//! What a consumer measures of itself.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::histogram::Histogram;
use crate::streams::stats::{LatencyHistogram, Rates};

/// Rates are taken over so long.
const SPAN: Duration = Duration::from_secs(10);
/// A mark is set that often.
const STEP: Duration = Duration::from_secs(1);

/// Entries read, handed out, acknowledged, up to a moment.
type Mark = (Instant, [u64; 3]);

pub(crate) struct Meters {
    handler: Histogram,
    ack: Histogram,
    marks: VecDeque<Mark>,
}

impl Meters {
    pub(crate) fn new(now: Instant) -> Self {
        let marks = VecDeque::from([(now, [0; 3])]);
        Self { handler: Histogram::new(), ack: Histogram::new(), marks }
    }

    pub(crate) fn handled(&mut self, took: Duration) {
        self.handler.record(took, 1);
    }

    pub(crate) fn acked(&mut self, took: Duration, entries: u64) {
        self.ack.record(took, entries);
    }

    /// To be told now and then, or rates lag behind.
    pub(crate) fn mark(&mut self, counts: [u64; 3], now: Instant) {
        if self.marks.back().is_some_and(|(last, _)| now.saturating_duration_since(*last) < STEP) {
            return;
        }
        self.marks.push_back((now, counts));
        // One mark at least stays that is older than the span.
        while self.marks.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SPAN) {
            self.marks.pop_front();
        }
    }

    pub(crate) fn rates(&mut self, counts: [u64; 3], now: Instant) -> Rates {
        let Some((since, before)) = self.marks.front() else { return Rates::default() };
        let seconds = now.saturating_duration_since(*since).as_secs_f64();
        let per_second = |nth: usize| {
            let count = |counts: &[u64; 3]| counts.get(nth).copied().unwrap_or_default();
            if seconds > 0.0 { count(&counts).saturating_sub(count(before)) as f64 / seconds } else { 0.0 }
        };
        let rates = Rates { read: per_second(0), delivered: per_second(1), acked: per_second(2) };
        self.mark(counts, now);
        rates
    }

    pub(crate) fn handler_latency(&self) -> LatencyHistogram {
        LatencyHistogram::of(&self.handler)
    }

    pub(crate) fn ack_latency(&self) -> LatencyHistogram {
        LatencyHistogram::of(&self.ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds_and_fall_to_nothing() {
        let start = Instant::now();
        let mut meters = Meters::new(start);
        for second in 1..=100 {
            meters.mark([second * 50, second * 50, second * 10], start + Duration::from_secs(second));
        }
        let at = |second| start + Duration::from_secs(second);
        let rates = meters.rates([5000, 5000, 1000], at(100));
        assert!((49.0..51.0).contains(&rates.read) && (9.0..11.0).contains(&rates.acked), "{rates:?}");
        for second in 101..=115 {
            meters.mark([5000, 5000, 1000], at(second));
        }
        assert_eq!(meters.rates([5000, 5000, 1000], at(115)), Rates::default());
        assert!(meters.marks.len() <= 12, "{}", meters.marks.len());
    }
}
