//! Entries of ours that nobody has in hand: they were delivered to somebody who did not settle them.
//!
//! One that was delivered may be the very one that took its process down, and is tried with no other of its kind
//! beside it: if it happens again, only its own count has grown. A server that delivers a page counts one for
//! each entry, and without this the neighbours of a poisonous one would end among the dead letters with it.

use std::collections::BTreeMap;

use crate::messages::stream_id::StreamId;

/// So far it is looked for entries that need no quarantine behind one that waits.
const LOOK: usize = 1024;

/// Ids with the counts of their deliveries.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    waiting: BTreeMap<StreamId, u64>,
    /// The one suspect that is outside.
    outside: Option<StreamId>,
}

impl Quarantine {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, id: StreamId, deliveries: u64) {
        self.waiting.insert(id, deliveries);
    }

    pub(crate) fn remove(&mut self, id: StreamId) {
        self.waiting.remove(&id);
        self.settled(id);
    }

    /// The suspect that was let out has its answer.
    pub(crate) fn settled(&mut self, id: StreamId) {
        self.outside = self.outside.filter(|outside| *outside != id);
    }

    pub(crate) fn outside(&self) -> Option<StreamId> {
        self.outside
    }

    /// Puts an entry back that was let out, and may have got no further.
    pub(crate) fn back(&mut self, id: StreamId, deliveries: u64) {
        self.settled(id);
        self.push(id, deliveries);
    }

    /// Up to `most` entries that may be delivered again, by their ids: those whose deliveries were all taken back,
    /// and one other. `in_order` lets none overtake another.
    pub(crate) fn let_out(&mut self, most: usize, in_order: bool) -> Vec<(StreamId, u64)> {
        let mut out = Vec::new();
        for (id, deliveries) in self.waiting.iter().take(LOOK) {
            if out.len() >= most {
                break;
            }
            if *deliveries > 0 {
                if self.outside.is_some() {
                    if in_order {
                        break;
                    }
                    continue;
                }
                self.outside = Some(*id);
            }
            out.push((*id, *deliveries));
        }
        for (id, _) in &out {
            self.waiting.remove(id);
        }
        out
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> BTreeMap<StreamId, u64> {
        self.outside = None;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever goes in and out in whatever order: one suspect is outside at most, nothing is forgotten, and
        /// in order it is never overtaken.
        #[test]
        fn one_suspect_at_a_time(
            counts in proptest::collection::vec(0..3u64, 0..60), in_order in any::<bool>(),
            steps in proptest::collection::vec((1..5usize, any::<bool>()), 200),
        ) {
            let mut quarantine = Quarantine::default();
            for (n, count) in counts.iter().enumerate() {
                quarantine.push(StreamId::new(n as u64 + 1, 0), *count);
            }
            let mut seen = Vec::new();
            let mut suspect = None;
            for (most, settle) in steps.into_iter().cycle().take(1_000) {
                if settle && let Some(id) = suspect.take() {
                    quarantine.settled(id);
                }
                for (id, count) in quarantine.let_out(most, in_order) {
                    if count > 0 {
                        prop_assert_eq!(suspect.replace(id), None, "two suspects");
                    }
                    seen.push(id);
                }
            }
            prop_assert_eq!(quarantine.outside(), suspect);
            prop_assert!(!in_order || seen.is_sorted());
            seen.sort();
            prop_assert!(quarantine.is_empty() || suspect.is_some());
            prop_assert_eq!(seen.len() + quarantine.len(), counts.len());
        }
    }
}
