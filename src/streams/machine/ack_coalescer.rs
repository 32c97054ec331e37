//! Many acknowledgements, few commands.
//!
//! One XACK for each entry would make the server's round trip the limit of a consumer. So an idle
//! coalescer sends at once, and a busy one gathers until its last XACK has returned.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::messages::stream_id::StreamId;

/// At most this many ids in one XACK.
const BATCH: usize = 512;
/// No acknowledgement is held back for longer, however slow the XACK before it is.
const LONGEST_WAIT: Duration = Duration::from_millis(5);
/// So many XACKs may be under way at once.
const FLIGHTS: usize = 4;

/// Acknowledgements that wait, and those under way. An id leaves only when its XACK was answered.
#[derive(Debug, Default)]
pub(crate) struct AckCoalescer {
    waiting: VecDeque<StreamId>,
    /// When the first of them began to wait.
    since: Option<Instant>,
    flights: BTreeMap<u64, Vec<StreamId>>,
    last_flight: u64,
    /// Nothing is sent before this: the last attempt failed.
    not_before: Option<Instant>,
}

impl AckCoalescer {
    /// How many are not acknowledged yet.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.flights.values().map(Vec::len).sum::<usize>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flights.is_empty()
    }

    pub(crate) fn push(&mut self, id: StreamId, now: Instant) {
        self.waiting.push_back(id);
        self.since.get_or_insert(now);
    }

    /// The ids of the next XACK, if one is to be sent now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(u64, Vec<StreamId>)> {
        if self.waiting.is_empty() || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let waited_enough = self.since.is_some_and(|since| now.saturating_duration_since(since) >= LONGEST_WAIT);
        let due = self.flights.is_empty() || self.waiting.len() >= BATCH || waited_enough;
        if !due || self.flights.len() >= FLIGHTS {
            return None;
        }
        self.not_before = None;
        let ids: Vec<_> = self.waiting.drain(..self.waiting.len().min(BATCH)).collect();
        self.since = (!self.waiting.is_empty()).then_some(now);
        self.last_flight += 1;
        self.flights.insert(self.last_flight, ids.clone());
        Some((self.last_flight, ids))
    }

    /// When [`next`](Self::next) may have something without anything else happening.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.flights.len() < FLIGHTS)?;
        let gathered = since + LONGEST_WAIT;
        Some(self.not_before.map_or(gathered, |at| if self.flights.is_empty() { at } else { at.max(gathered) }))
    }

    /// An XACK was answered: its ids are settled.
    pub(crate) fn returned(&mut self, flight: u64) -> Vec<StreamId> {
        self.flights.remove(&flight).unwrap_or_default()
    }

    /// An XACK was not answered, or refused: its ids wait again, in front. Sending an id twice does no harm.
    pub(crate) fn failed(&mut self, flight: u64, again: Instant) {
        for id in self.returned(flight).into_iter().rev() {
            self.waiting.push_front(id);
        }
        self.since.get_or_insert(again);
        self.not_before = Some(again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(n: u64) -> StreamId {
        StreamId::new(n, 0)
    }

    #[test]
    fn idle_it_sends_at_once_and_busy_it_gathers() {
        let now = Instant::now();
        let mut acks = AckCoalescer::default();
        acks.push(id(1), now);
        let (first, ids) = acks.next(now).expect("idle");
        assert_eq!(ids, [id(1)]);
        acks.push(id(2), now);
        acks.push(id(3), now);
        assert!(acks.next(now).is_none(), "the first one is under way");
        assert_eq!(acks.returned(first), [id(1)]);
        assert_eq!(acks.next(now).expect("idle again").1, [id(2), id(3)]);
    }

    #[test]
    fn a_slow_answer_holds_nothing_back_for_long() {
        let now = Instant::now();
        let mut acks = AckCoalescer::default();
        acks.push(id(1), now);
        acks.next(now).expect("idle");
        acks.push(id(2), now);
        let due = acks.wake_at().expect("waits");
        assert_eq!(due, now + LONGEST_WAIT);
        assert!(acks.next(due).is_some());
    }

    proptest! {
        /// Whatever is answered, lost and repeated: an id that was pushed is settled or still there.
        #[test]
        fn no_acknowledgement_is_ever_lost(steps in proptest::collection::vec(0..5u8, 0..300)) {
            let mut now = Instant::now();
            let mut acks = AckCoalescer::default();
            let (mut pushed, mut settled) = (0, BTreeSet::new());
            let mut flights = Vec::new();
            for step in steps {
                match step {
                    0 | 1 => {
                        pushed += 1;
                        acks.push(id(pushed), now);
                    }
                    2 => if let Some(flight) = flights.pop() {
                        settled.extend(acks.returned(flight));
                    }
                    3 => if let Some(flight) = flights.pop() {
                        acks.failed(flight, now + Duration::from_millis(100));
                    }
                    _ => now += Duration::from_millis(20),
                }
                if let Some((flight, ids)) = acks.next(now) {
                    prop_assert!(ids.len() <= BATCH);
                    flights.push(flight);
                }
                prop_assert!(flights.len() <= FLIGHTS);
                prop_assert_eq!(acks.len() + settled.len(), pushed as usize);
            }
            while !acks.is_empty() {
                now += Duration::from_secs(1);
                if let Some((flight, _)) = acks.next(now) {
                    flights.push(flight);
                }
                settled.extend(flights.drain(..).flat_map(|flight| acks.returned(flight)));
            }
            prop_assert_eq!(settled.len(), pushed as usize);
        }
    }
}
