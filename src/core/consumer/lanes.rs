//! Entries that wait for a handler, in order within a key while keys go side by side.

use std::collections::{HashMap, VecDeque};

use crate::messages::stream_id::StreamId;

/// What waits.
#[derive(Debug)]
pub(crate) struct Waiting<P> {
    pub(crate) id: StreamId,
    /// Entries of one lane are handled one after the other; those of none need not wait for any.
    pub(crate) lane: Option<u64>,
    pub(crate) payload: P,
}

/// First come, first served, except that a lane has at most one entry outside.
#[derive(Debug)]
pub(crate) struct Lanes<P> {
    ready: VecDeque<Waiting<P>>,
    /// The lanes with an entry in `ready` or outside, and who waits behind it.
    behind: HashMap<u64, VecDeque<Waiting<P>>>,
    len: usize,
}

impl<P> Lanes<P> {
    pub(crate) fn new() -> Self {
        Self { ready: VecDeque::new(), behind: HashMap::new(), len: 0 }
    }

    /// How many wait.
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

    pub(crate) fn push(&mut self, waiting: Waiting<P>) {
        self.len += 1;
        let Some(lane) = waiting.lane else { return self.ready.push_back(waiting) };
        match self.behind.get_mut(&lane) {
            Some(queue) => queue.push_back(waiting),
            None => {
                self.behind.insert(lane, VecDeque::new());
                self.ready.push_back(waiting);
            }
        }
    }

    /// Puts an entry back that was outside: its lane is still its own, and it comes before all others.
    pub(crate) fn push_back_in_front(&mut self, waiting: Waiting<P>) {
        self.len += 1;
        self.ready.push_front(waiting);
    }

    /// Takes the next entry outside. Its lane is closed until [`done`](Self::done).
    pub(crate) fn pop(&mut self) -> Option<Waiting<P>> {
        let waiting = self.ready.pop_front()?;
        self.len -= 1;
        Some(waiting)
    }

    /// The entry that was outside is settled: the next one of its lane may go.
    pub(crate) fn done(&mut self, lane: Option<u64>) {
        let Some(lane) = lane else { return };
        match self.behind.get_mut(&lane).map(VecDeque::pop_front) {
            Some(Some(next)) => self.ready.push_back(next),
            Some(None) => drop(self.behind.remove(&lane)),
            None => {}
        }
    }

    /// Takes an entry out that waits, wherever it stands. Its order goes on without it.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<Waiting<P>> {
        if let Some(at) = self.ready.iter().position(|waiting| waiting.id == id) {
            let waiting = self.ready.remove(at)?;
            self.len -= 1;
            self.done(waiting.lane);
            return Some(waiting);
        }
        for queue in self.behind.values_mut() {
            if let Some(at) = queue.iter().position(|waiting| waiting.id == id) {
                self.len -= 1;
                return queue.remove(at);
            }
        }
        None
    }

    /// Takes everything that waits. Lanes with an entry outside stay closed until it is done.
    pub(crate) fn drain(&mut self) -> Vec<Waiting<P>> {
        let mut all: Vec<_> = self.ready.drain(..).collect();
        for lane in all.iter().filter_map(|waiting| waiting.lane).collect::<Vec<_>>() {
            all.extend(self.behind.remove(&lane).into_iter().flatten());
        }
        for queue in self.behind.values_mut() {
            all.extend(queue.drain(..));
        }
        self.len = 0;
        all.sort_by_key(|waiting| waiting.id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However many keys there are and in whatever order handlers end: within a key the ids come out
        /// in the order in which they went in, one at a time, and all of them come out.
        #[test]
        fn a_lane_keeps_its_order(
            keys in proptest::collection::vec(proptest::option::of(0..4u64), 0..100),
            choices in proptest::collection::vec(any::<u8>(), 400),
        ) {
            let mut lanes = Lanes::new();
            let mut outside: Vec<Waiting<()>> = Vec::new();
            let mut last = HashMap::new();
            let (mut keys, mut choices) = (keys.into_iter().enumerate(), choices.into_iter().cycle());
            let (mut pushed, mut handled) = (0, 0);
            loop {
                let choice = choices.next().unwrap_or_default();
                match choice % 4 {
                    0 => if let Some((n, lane)) = keys.next() {
                        lanes.push(Waiting { id: StreamId::new(n as u64 + 1, 0), lane, payload: () });
                        pushed += 1;
                    }
                    1 => if let Some(next) = lanes.pop() {
                        prop_assert!(next.lane.is_none() || outside.iter().all(|other| other.lane != next.lane));
                        outside.push(next);
                    }
                    2 if !outside.is_empty() => {
                        let done = outside.swap_remove(choice as usize % outside.len());
                        if let Some(lane) = done.lane {
                            prop_assert!(last.insert(lane, done.id).is_none_or(|before| before < done.id));
                        }
                        lanes.done(done.lane);
                        handled += 1;
                    }
                    3 if !outside.is_empty() && choice > 200 => {
                        let back = outside.swap_remove(choice as usize % outside.len());
                        lanes.push_back_in_front(back);
                    }
                    _ => {}
                }
                prop_assert_eq!(lanes.len() + outside.len() + handled, pushed);
                if keys.len() == 0 && lanes.is_empty() && outside.is_empty() {
                    break;
                }
            }
            prop_assert!(lanes.behind.is_empty(), "a lane that nobody uses is forgotten");
        }
    }
}
