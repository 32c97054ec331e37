//! Entries that wait for a handler, in order within a key while keys go side by side.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::messages::stream_id::StreamId;

/// What waits.
#[derive(Debug)]
pub(crate) struct Waiting<P> {
    pub(crate) id: StreamId,
    /// Entries of one lane are handled one after the other; those of none need not wait for any.
    pub(crate) lane: Option<u64>,
    /// An entry without its payload is parked: it keeps its place, and is delivered again when its turn comes.
    pub(crate) payload: Option<P>,
}

/// First come, first served, except that a lane has at most one entry outside.
#[derive(Debug)]
pub(crate) struct Lanes<P> {
    ready: VecDeque<Waiting<P>>,
    /// Parked entries whose turn it is, with their lanes.
    parked: BTreeMap<StreamId, Option<u64>>,
    /// The lanes with an entry in `ready`, in `parked` or outside, and who waits behind it.
    behind: HashMap<u64, VecDeque<Waiting<P>>>,
    /// How many have their payload.
    len: usize,
    /// How many are parked behind others.
    parked_behind: usize,
}

impl<P> Lanes<P> {
    pub(crate) fn new() -> Self {
        Self { ready: VecDeque::new(), parked: BTreeMap::new(), behind: HashMap::new(), len: 0, parked_behind: 0 }
    }

    /// How many wait with their payload.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether [`pop`](Self::pop) has something.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many [`pop`](Self::pop) has.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many are parked behind an entry of their lane.
    #[cfg(test)]
    pub(crate) fn parked_behind(&self) -> usize {
        self.parked_behind
    }

    /// How many of the parked ones have their turn.
    pub(crate) fn turns(&self) -> usize {
        self.parked.len()
    }

    /// The parked entries whose turn it is.
    pub(crate) fn parked(&self) -> impl Iterator<Item = StreamId> {
        self.parked.keys().copied()
    }

    /// Takes a parked entry out whose turn it is. Its lane is closed until [`done`](Self::done).
    pub(crate) fn unpark(&mut self, id: StreamId) {
        self.parked.remove(&id);
    }

    /// Puts an entry among the parked ones whose turn it is: its lane is its own.
    pub(crate) fn park_in_front(&mut self, id: StreamId, lane: Option<u64>) {
        self.parked.insert(id, lane);
    }

    pub(crate) fn push(&mut self, waiting: Waiting<P>) {
        if let Some(lane) = waiting.lane {
            if let Some(queue) = self.behind.get_mut(&lane) {
                match waiting.payload {
                    Some(_) => self.len += 1,
                    None => self.parked_behind += 1,
                }
                return queue.push_back(waiting);
            }
            self.behind.insert(lane, VecDeque::new());
        }
        self.len += usize::from(waiting.payload.is_some());
        self.head(waiting);
    }

    fn head(&mut self, waiting: Waiting<P>) {
        if waiting.payload.is_some() {
            self.ready.push_back(waiting);
        } else {
            self.parked.insert(waiting.id, waiting.lane);
        }
    }

    /// Puts an entry back that was outside: its lane is still its own, and it comes before all others.
    pub(crate) fn push_back_in_front(&mut self, waiting: Waiting<P>) {
        self.len += 1;
        self.ready.push_front(waiting);
    }

    /// Takes the next entry outside, with its payload. Its lane is closed until [`done`](Self::done).
    pub(crate) fn pop(&mut self) -> Option<(StreamId, P)> {
        let waiting = self.ready.pop_front()?;
        self.len -= 1;
        waiting.payload.map(|payload| (waiting.id, payload))
    }

    /// The entry that was outside is settled: the next one of its lane may go.
    pub(crate) fn done(&mut self, lane: Option<u64>) {
        let Some(lane) = lane else { return };
        match self.behind.get_mut(&lane).map(VecDeque::pop_front) {
            Some(Some(next)) => {
                self.parked_behind -= usize::from(next.payload.is_none());
                self.head(next);
            }
            Some(None) => drop(self.behind.remove(&lane)),
            None => {}
        }
    }

    /// Lets go of the payloads behind entries of their lane, but for the first `keep` of each: a lane that has to wait
    /// must not take up the room of all others. Returns the entries and their payloads.
    pub(crate) fn park(&mut self, keep: usize, most: usize) -> Vec<(StreamId, P)> {
        let mut parked = Vec::new();
        for waiting in self.behind.values_mut().flat_map(|queue| queue.iter_mut().skip(keep)) {
            if self.parked_behind + parked.len() >= most {
                break;
            }
            parked.extend(waiting.payload.take().map(|payload| (waiting.id, payload)));
        }
        self.len -= parked.len();
        self.parked_behind += parked.len();
        parked
    }

    /// Takes an entry out that waits, wherever it stands. Its order goes on without it.
    pub(crate) fn remove(&mut self, id: StreamId, lane: Option<u64>) -> bool {
        if let Some(lane) = self.parked.remove(&id) {
            self.done(lane);
            return true;
        }
        if let Some(at) = self.ready.iter().position(|waiting| waiting.id == id) {
            self.ready.remove(at);
            self.len -= 1;
            self.done(lane);
            return true;
        }
        let Some(queue) = lane.and_then(|lane| self.behind.get_mut(&lane)) else { return false };
        let Some(at) = queue.iter().position(|waiting| waiting.id == id) else { return false };
        match queue.remove(at).and_then(|waiting| waiting.payload) {
            Some(_) => self.len -= 1,
            None => self.parked_behind -= 1,
        }
        true
    }

    /// Takes everything that waits. Lanes with an entry outside stay closed until it is done.
    pub(crate) fn drain(&mut self) -> Vec<StreamId> {
        let mut all: Vec<_> = std::mem::take(&mut self.parked).into_iter().collect();
        all.extend(self.ready.drain(..).map(|waiting| (waiting.id, waiting.lane)));
        let heads: Vec<_> = all.iter().filter_map(|(_, lane)| *lane).collect();
        for lane in heads {
            let queue = self.behind.remove(&lane).into_iter().flatten();
            all.extend(queue.map(|waiting| (waiting.id, None)));
        }
        for queue in self.behind.values_mut() {
            all.extend(queue.drain(..).map(|waiting| (waiting.id, None)));
        }
        (self.len, self.parked_behind) = (0, 0);
        let mut ids: Vec<_> = all.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However many keys there are and in whatever order handlers end: within a key the ids come out
        /// in the order in which they went in, one at a time, and all of them come out, parked meanwhile or not.
        #[test]
        fn a_lane_keeps_its_order(
            keys in proptest::collection::vec(proptest::option::of(0..4u64), 0..100),
            choices in proptest::collection::vec(any::<u8>(), 400),
        ) {
            let mut lanes = Lanes::new();
            let mut outside: Vec<(StreamId, Option<u64>)> = Vec::new();
            let (mut lane_of, mut last) = (HashMap::new(), HashMap::new());
            let (mut keys, mut choices) = (keys.into_iter().enumerate(), choices.into_iter().cycle());
            let (mut pushed, mut handled) = (0, 0);
            loop {
                let choice = choices.next().unwrap_or_default();
                match choice % 6 {
                    0 => if let Some((n, lane)) = keys.next() {
                        let id = StreamId::new(n as u64 + 1, 0);
                        lane_of.insert(id, lane);
                        lanes.push(Waiting { id, lane, payload: (choice < 200).then_some(()) });
                        pushed += 1;
                    }
                    1 => if let Some((id, ())) = lanes.pop() {
                        let lane = lane_of[&id];
                        prop_assert!(lane.is_none() || outside.iter().all(|other| other.1 != lane));
                        outside.push((id, lane));
                    }
                    2 if !outside.is_empty() => {
                        let (id, lane) = outside.swap_remove(choice as usize % outside.len());
                        if let Some(lane) = lane {
                            prop_assert!(last.insert(lane, id).is_none_or(|before| before < id));
                        }
                        lanes.done(lane);
                        handled += 1;
                    }
                    3 if !outside.is_empty() && choice > 200 => {
                        let (id, lane) = outside.swap_remove(choice as usize % outside.len());
                        lanes.push_back_in_front(Waiting { id, lane, payload: Some(()) });
                    }
                    4 => drop(lanes.park(usize::from(choice % 2 == 0), 10)),
                    // A parked entry is delivered again.
                    5 => {
                        let parked = lanes.parked().next();
                        if let Some(id) = parked {
                            lanes.unpark(id);
                            lanes.push_back_in_front(Waiting { id, lane: lane_of[&id], payload: Some(()) });
                        }
                    }
                    _ => {}
                }
                let parked = lanes.parked().count() + lanes.parked_behind();
                prop_assert_eq!(lanes.len() + parked + outside.len() + handled, pushed);
                if keys.len() == 0 && lanes.is_empty() && parked == 0 && outside.is_empty() {
                    break;
                }
            }
            prop_assert!(lanes.behind.is_empty(), "a lane that nobody uses is forgotten");
        }
    }
}
