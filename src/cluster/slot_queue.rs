//! Commands that wait while their slot is redirected, in the order in which their callers sent them.
//!
//! A node that answers MOVED or CLUSTERDOWN refuses the commands in flight one by one. If each were sent on by itself, a
//! command that comes later and goes to the new owner at once would overtake them. So the slot is closed: refused
//! and new commands wait here until no command of the slot is in flight any more. Then the first one is sent alone, and
//! when a node has run it the others follow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// The order in which callers sent their commands, and of the parts of a pipeline that of the pipeline.
///
/// Without the part, an element that is refused twice would come back behind the next element of its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SendOrder {
    command: u64,
    part: u32,
}

impl SendOrder {
    pub(crate) fn new(command: u64) -> Self {
        Self { command, part: 0 }
    }

    /// That of the element at `index` of this pipeline.
    pub(crate) fn part(self, index: usize) -> Self {
        Self { part: u32::try_from(index).unwrap_or(u32::MAX), ..self }
    }
}

/// Its place among the commands of a slot. The number of its arrival distinguishes commands that are taken over from a node
/// without an order of their own.
type Turn = (SendOrder, u64);

/// The queues of all slots that are closed.
pub(crate) struct SlotQueues<T> {
    queues: HashMap<u16, SlotQueue<T>>,
    deadlines: BTreeSet<(Instant, u16, Turn)>,
    retries: BTreeSet<(Instant, u16)>,
    arrivals: u64,
    len: usize,
    bytes: usize,
}

struct SlotQueue<T> {
    waiting: BTreeMap<Turn, SlotEntry<T>>,
    retry_at: Instant,
    /// The first command was sent alone, and did not come back so far.
    probing: bool,
}

/// One command.
pub(crate) struct SlotEntry<T> {
    pub(crate) item: T,
    pub(crate) deadline: Instant,
    pub(crate) bytes: usize,
    /// It was sent, and a node did not run it.
    pub(crate) was_refused: bool,
}

/// The commands to send for a slot.
pub(crate) enum Release<T> {
    /// This one alone; the slot stays closed.
    Probe(T),
    /// All of these, in this order; the slot is open.
    All(Vec<T>),
}

impl<T> SlotQueues<T> {
    pub(crate) fn new() -> Self {
        let (queues, deadlines, retries) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { queues, deadlines, retries, arrivals: 0, len: 0, bytes: 0 }
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes they hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_closed(&self, slot: u16) -> bool {
        !self.queues.is_empty() && self.queues.contains_key(&slot)
    }

    /// Closes a slot, at least until `retry_at`. Returns whether it was open.
    pub(crate) fn close(&mut self, slot: u16, retry_at: Instant) -> bool {
        if let Some(queue) = self.queues.get_mut(&slot) {
            if queue.retry_at < retry_at {
                self.retries.remove(&(queue.retry_at, slot));
                self.retries.insert((retry_at, slot));
                queue.retry_at = retry_at;
            }
            return false;
        }
        self.queues.insert(slot, SlotQueue { waiting: BTreeMap::new(), retry_at, probing: false });
        self.retries.insert((retry_at, slot));
        true
    }

    /// Ends the pause of a slot: it has another owner.
    pub(crate) fn retry_now(&mut self, slot: u16, now: Instant) {
        if let Some(queue) = self.queues.get_mut(&slot).filter(|queue| queue.retry_at > now) {
            self.retries.remove(&(queue.retry_at, slot));
            queue.retry_at = now;
        }
    }

    /// Puts a command into the queue of a slot that is closed, behind those that were sent before it.
    pub(crate) fn push(&mut self, slot: u16, order: SendOrder, waiting: SlotEntry<T>) {
        let Some(queue) = self.queues.get_mut(&slot) else { return };
        self.arrivals += 1;
        let turn = (order, self.arrivals);
        // The refused command was the probe, or was in flight beside it.
        queue.probing &= !waiting.was_refused;
        self.deadlines.insert((waiting.deadline, slot, turn));
        self.len += 1;
        self.bytes += waiting.bytes;
        queue.waiting.insert(turn, waiting);
    }

    /// The slots whose pause is over by `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<u16> {
        let later = self.retries.split_off(&(now, u16::MAX));
        let due = std::mem::replace(&mut self.retries, later);
        due.into_iter().map(|(_, slot)| slot).collect()
    }

    /// No command of the slot is in flight: the commands to send now, if its pause is over.
    pub(crate) fn release(&mut self, slot: u16, now: Instant) -> Option<Release<T>> {
        let queue = self.queues.get_mut(&slot).filter(|queue| queue.retry_at <= now)?;
        // Where none was refused, the slot was closed only for commands in flight at another node.
        let proven = queue.probing || !queue.waiting.values().any(|one| one.was_refused);
        if proven {
            let queue = self.queues.remove(&slot)?;
            self.retries.remove(&(queue.retry_at, slot));
            let all: Vec<_> = queue.waiting.into_iter().collect();
            return Some(Release::All(all.into_iter().map(|(turn, one)| self.forget(slot, turn, one)).collect()));
        }
        queue.probing = true;
        let (turn, first) = queue.waiting.pop_first()?;
        Some(Release::Probe(self.forget(slot, turn, first)))
    }

    /// The probe came to no node.
    pub(crate) fn probe_dropped(&mut self, slot: u16) {
        if let Some(queue) = self.queues.get_mut(&slot) {
            queue.probing = false;
        }
    }

    /// A command of the slot was run by a node. Returns the older ones that a node had refused: sent again they would run
    /// after it.
    pub(crate) fn overtaken(&mut self, slot: u16, order: SendOrder) -> Vec<T> {
        let Some(queue) = self.queues.get_mut(&slot) else { return Vec::new() };
        let older = queue.waiting.range(..(order, 0)).filter(|(_, one)| one.was_refused);
        let turns: Vec<_> = older.map(|(turn, _)| *turn).collect();
        turns.into_iter().filter_map(|turn| self.take(slot, turn)).collect()
    }

    /// Takes out those whose deadline has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some(&(deadline, slot, turn)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            expired.extend(self.take(slot, turn));
        }
        expired
    }

    /// Takes out all, in order of their slots. No slot is closed any more.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        let queues = std::mem::replace(self, Self::new()).queues;
        queues.into_values().flat_map(|queue| queue.waiting.into_values()).map(|one| one.item).collect()
    }

    /// When there is something to do: a pause or a deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        let retry = self.retries.first().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, ..)| *at);
        retry.into_iter().chain(deadline).min()
    }

    fn take(&mut self, slot: u16, turn: Turn) -> Option<T> {
        let one = self.queues.get_mut(&slot)?.waiting.remove(&turn)?;
        Some(self.forget(slot, turn, one))
    }

    fn forget(&mut self, slot: u16, turn: Turn, one: SlotEntry<T>) -> T {
        self.deadlines.remove(&(one.deadline, slot, turn));
        self.len -= 1;
        self.bytes -= one.bytes;
        one.item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::time::Duration;

    const SLOT: u16 = 7;

    fn waiting(item: u64, deadline: Instant, was_refused: bool) -> SlotEntry<u64> {
        SlotEntry { item, deadline, bytes: 1, was_refused }
    }

    fn order_of(item: u64) -> SendOrder {
        SendOrder::new(item / 3).part(item as usize % 3)
    }

    fn sent(release: Option<Release<u64>>) -> (bool, Vec<u64>) {
        match release {
            None => (false, Vec::new()),
            Some(Release::Probe(item)) => (true, vec![item]),
            Some(Release::All(items)) => (false, items),
        }
    }

    /// Ablation: without `probe_dropped` the second release sends all, although no node has run anything.
    #[test]
    fn a_probe_that_came_to_no_node_proves_nothing() {
        let (now, mut queues) = (Instant::now(), SlotQueues::new());
        let late = now + Duration::from_secs(9);
        queues.close(SLOT, now);
        for item in 1..=3 {
            queues.push(SLOT, SendOrder::new(item), waiting(item, late, true));
        }
        assert_eq!(sent(queues.release(SLOT, now)), (true, vec![1]));
        queues.probe_dropped(SLOT);
        assert_eq!(sent(queues.release(SLOT, now)), (true, vec![2]));
        assert_eq!(sent(queues.release(SLOT, now)), (false, vec![3]), "the second one has run");
    }

    #[test]
    fn the_oldest_goes_alone_and_the_others_follow_in_order() {
        let (now, mut queues) = (Instant::now(), SlotQueues::new());
        let late = now + Duration::from_secs(9);
        assert!(queues.close(SLOT, now) && queues.is_closed(SLOT) && !queues.is_closed(8));
        queues.push(SLOT, SendOrder::new(3), waiting(3, late, false));
        queues.push(SLOT, SendOrder::new(2), waiting(2, late, true));
        queues.push(SLOT, SendOrder::new(1), waiting(1, late, true));
        assert_eq!(sent(queues.release(SLOT, now)), (true, vec![1]));
        // It comes back, with a pause.
        let pause = now + Duration::from_millis(10);
        assert!(!queues.close(SLOT, pause));
        queues.push(SLOT, SendOrder::new(1), waiting(1, late, true));
        assert_eq!(sent(queues.release(SLOT, now)), (false, vec![]));
        assert_eq!((queues.next(), queues.len()), (Some(pause), 3));
        assert_eq!(queues.take_due(pause), [SLOT]);
        assert_eq!(sent(queues.release(SLOT, pause)), (true, vec![1]));
        assert_eq!(sent(queues.release(SLOT, pause)), (false, vec![2, 3]));
        assert!(!queues.is_closed(SLOT));
        assert_eq!((queues.len(), queues.bytes(), queues.next()), (0, 0, None));
    }

    #[test]
    fn an_expired_command_leaves_its_queue_and_an_overtaken_one_too() {
        let (now, mut queues) = (Instant::now(), SlotQueues::new());
        let at = |ms| now + Duration::from_millis(ms);
        queues.close(SLOT, at(50));
        queues.push(SLOT, SendOrder::new(1), waiting(1, at(10), true));
        queues.push(SLOT, SendOrder::new(2), waiting(2, at(90), true));
        queues.push(SLOT, SendOrder::new(3), waiting(3, at(90), false));
        queues.push(SLOT, SendOrder::new(5), waiting(5, at(90), true));
        assert_eq!(queues.next(), Some(at(10)));
        assert_eq!((queues.expire(at(10)), queues.len()), (vec![1], 3));
        assert_eq!((queues.overtaken(SLOT, SendOrder::new(4)), queues.len(), queues.bytes()), (vec![2], 2, 2));
        assert_eq!(queues.take_all().len(), 2);
        assert!(!queues.is_closed(SLOT) && queues.next().is_none());
    }

    proptest! {
        /// A node that refuses some, whichever and for how long: what runs, runs in order, all of it, and the clock is
        /// always looked at again. Each three of the commands are the elements of one pipeline.
        ///
        /// Ablation: with one order for all elements of a pipeline (`SendOrder::part` returns `self`) the first that is
        /// refused twice runs last.
        #[test]
        fn whatever_is_refused_everything_runs_in_order(refusals in proptest::collection::vec(any::<bool>(), 1..60)) {
            let (mut now, mut queues) = (Instant::now(), SlotQueues::new());
            let late = now + Duration::from_secs(900);
            let (mut flight, mut ran) = (VecDeque::new(), Vec::new());
            let mut refusals = refusals.into_iter();
            let mut next = 0;
            while ran.len() < 30 {
                while next < 30 && (flight.len() + queues.len()) < 5 {
                    if queues.is_closed(SLOT) {
                        queues.push(SLOT, order_of(next), waiting(next, late, false));
                    } else {
                        flight.push_back(next);
                    }
                    next += 1;
                }
                // A node that begins to refuse goes on: of those in flight the first ones run.
                let mut refused = false;
                while let Some(order) = flight.pop_front() {
                    refused |= refusals.next().unwrap_or(false);
                    if refused {
                        queues.close(SLOT, now + Duration::from_millis(10));
                        queues.push(SLOT, order_of(order), waiting(order, late, true));
                    } else {
                        ran.push(order);
                    }
                }
                if queues.is_closed(SLOT) {
                    let mut release = queues.release(SLOT, now);
                    if release.is_none() {
                        now = queues.next().expect("a pause");
                        prop_assert!(now < late, "nothing is looked at before the deadline");
                        prop_assert_eq!(queues.take_due(now), [SLOT]);
                        release = queues.release(SLOT, now);
                    }
                    flight.extend(sent(release).1);
                }
            }
            prop_assert_eq!(ran, (0..30).collect::<Vec<_>>());
        }
    }
}
