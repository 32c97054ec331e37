//! Entries that wait for a handler, in order within a key while keys go side by side.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::messages::stream_id::StreamId;

/// What waits.
#[derive(Debug)]
pub(crate) struct KeyedEntry<P> {
    pub(crate) id: StreamId,
    /// Entries of one lane are handled one after the other; those of none need not wait for any.
    pub(crate) order_key: Option<u64>,
    /// An entry without its payload is parked: it keeps its place, and is delivered again when its turn comes.
    pub(crate) payload: Option<P>,
}

/// First come, first served, except that a lane has at most one entry outside.
#[derive(Debug)]
pub(crate) struct KeyedQueue<P> {
    ready: VecDeque<KeyedEntry<P>>,
    /// Parked entries whose turn it is, with their lanes.
    parked: BTreeMap<StreamId, Option<u64>>,
    /// The lanes with an entry in `ready`, in `parked` or outside, and who waits behind it.
    behind: HashMap<u64, VecDeque<KeyedEntry<P>>>,
    /// How many have their payload.
    len: usize,
    /// How many are parked behind others.
    parked_behind: usize,
}

impl<P> KeyedQueue<P> {
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
    pub(crate) fn park_in_front(&mut self, id: StreamId, order_key: Option<u64>) {
        self.parked.insert(id, order_key);
    }

    pub(crate) fn push(&mut self, waiting: KeyedEntry<P>) {
        if let Some(order_key) = waiting.order_key {
            if let Some(queue) = self.behind.get_mut(&order_key) {
                match waiting.payload {
                    Some(_) => self.len += 1,
                    None => self.parked_behind += 1,
                }
                return queue.push_back(waiting);
            }
            self.behind.insert(order_key, VecDeque::new());
        }
        self.len += usize::from(waiting.payload.is_some());
        self.head(waiting);
    }

    fn head(&mut self, waiting: KeyedEntry<P>) {
        if waiting.payload.is_some() {
            self.ready.push_back(waiting);
        } else {
            self.parked.insert(waiting.id, waiting.order_key);
        }
    }

    /// Puts an entry back that was outside: its lane is still its own, and it comes before all others.
    pub(crate) fn push_back_in_front(&mut self, waiting: KeyedEntry<P>) {
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
    pub(crate) fn done(&mut self, order_key: Option<u64>) {
        let Some(order_key) = order_key else { return };
        match self.behind.get_mut(&order_key).map(VecDeque::pop_front) {
            Some(Some(next)) => {
                self.parked_behind -= usize::from(next.payload.is_none());
                self.head(next);
            }
            Some(None) => drop(self.behind.remove(&order_key)),
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
    pub(crate) fn remove(&mut self, id: StreamId, order_key: Option<u64>) -> bool {
        if let Some(order_key) = self.parked.remove(&id) {
            self.done(order_key);
            return true;
        }
        if let Some(at) = self.ready.iter().position(|waiting| waiting.id == id) {
            self.ready.remove(at);
            self.len -= 1;
            self.done(order_key);
            return true;
        }
        let Some(queue) = order_key.and_then(|order_key| self.behind.get_mut(&order_key)) else { return false };
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
        all.extend(self.ready.drain(..).map(|waiting| (waiting.id, waiting.order_key)));
        let heads: Vec<_> = all.iter().filter_map(|(_, order_key)| *order_key).collect();
        for order_key in heads {
            let queue = self.behind.remove(&order_key).into_iter().flatten();
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
            let mut keyed_queue = KeyedQueue::new();
            let mut outside: Vec<(StreamId, Option<u64>)> = Vec::new();
            let (mut order_key_of, mut last) = (HashMap::new(), HashMap::new());
            let (mut keys, mut choices) = (keys.into_iter().enumerate(), choices.into_iter().cycle());
            let (mut pushed, mut handled) = (0, 0);
            loop {
                let choice = choices.next().unwrap_or_default();
                match choice % 6 {
                    0 => if let Some((n, order_key)) = keys.next() {
                        let id = StreamId::new(n as u64 + 1, 0);
                        order_key_of.insert(id, order_key);
                        keyed_queue.push(KeyedEntry { id, order_key, payload: (choice < 200).then_some(()) });
                        pushed += 1;
                    }
                    1 => if let Some((id, ())) = keyed_queue.pop() {
                        let order_key = order_key_of[&id];
                        prop_assert!(order_key.is_none() || outside.iter().all(|other| other.1 != order_key));
                        outside.push((id, order_key));
                    }
                    2 if !outside.is_empty() => {
                        let (id, order_key) = outside.swap_remove(choice as usize % outside.len());
                        if let Some(order_key) = order_key {
                            prop_assert!(last.insert(order_key, id).is_none_or(|before| before < id));
                        }
                        keyed_queue.done(order_key);
                        handled += 1;
                    }
                    3 if !outside.is_empty() && choice > 200 => {
                        let (id, order_key) = outside.swap_remove(choice as usize % outside.len());
                        keyed_queue.push_back_in_front(KeyedEntry { id, order_key, payload: Some(()) });
                    }
                    4 => drop(keyed_queue.park(usize::from(choice % 2 == 0), 10)),
                    // A parked entry is delivered again.
                    5 => {
                        let parked = keyed_queue.parked().next();
                        if let Some(id) = parked {
                            keyed_queue.unpark(id);
                            keyed_queue.push_back_in_front(KeyedEntry { id, order_key: order_key_of[&id], payload: Some(()) });
                        }
                    }
                    _ => {}
                }
                let parked = keyed_queue.parked().count() + keyed_queue.parked_behind();
                prop_assert_eq!(keyed_queue.len() + parked + outside.len() + handled, pushed);
                if keys.len() == 0 && keyed_queue.is_empty() && parked == 0 && outside.is_empty() {
                    break;
                }
            }
            prop_assert!(keyed_queue.behind.is_empty(), "a lane that nobody uses is forgotten");
        }
    }
}
