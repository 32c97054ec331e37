//! Every entry that this consumer has in hand, in exactly one stage.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::ids::IdMap;
use crate::messages::stream_id::StreamId;

/// So many stale deadlines are kept before they are looked for.
const SLACK: usize = 64;

/// What becomes of an entry next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryStage {
    /// For a handler.
    KeyedEntry,
    /// For its handler's answer; the number tells this run from earlier ones.
    Running { run: u64 },
    /// For its next attempt, at that time.
    Delayed { due: Instant },
    /// For its turn to be delivered again: its payload is not here.
    Parked,
    /// For its next attempt, which is being fetched.
    Taking,
    /// For the answer to its XACK.
    Acking,
    /// For its place among the dead letters.
    Burying,
    /// For the server to hear that others may have it.
    Leaving(ReleaseReason),
}

/// Why others may have an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReleaseReason {
    /// No handler has had it since it was delivered.
    Unstarted,
    /// Its handler let go of it: that attempt does not count.
    Released,
    /// Its attempts have ended with an outcome, and the next one is due after this time.
    Recorded { due: Instant },
    /// An attempt of it may have ended with its process.
    Suspect,
}

/// What is known of the attempts at an entry: what is counted are handlers that were started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// The number of the current or the next attempt, as its handler sees it.
    pub(crate) number: u64,
    /// How many were certainly started, the current one included.
    pub(crate) started: u64,
    /// An attempt may have been started whose outcome nobody knows: the entry may be what took a process down.
    pub(crate) suspect: bool,
    /// The next attempt is among `started` already: the server was told of it first.
    pub(crate) recorded: bool,
}

impl Attempts {
    /// Of an entry that was never handed to a handler.
    pub(crate) const NONE: Self = Self { number: 1, started: 0, suspect: false, recorded: false };

    /// Of an entry that the server has delivered so often, to somebody whose attempts are not known.
    pub(crate) fn unknown(deliveries: u64) -> Self {
        Self { number: deliveries + 1, suspect: deliveries > 0, ..Self::recorded(deliveries) }
    }

    /// Of an entry whose attempts have all ended with an outcome.
    pub(crate) fn recorded(deliveries: u64) -> Self {
        let started = deliveries.saturating_sub(1);
        Self { number: started + 1, started, suspect: false, recorded: false }
    }

    /// The count of deliveries that the server is to have. A read sets it to 1 before any handler is started, so it is one
    /// more than the attempts that are known to have been started; 0 is an entry that was certainly never started.
    pub(crate) fn deliveries(&self) -> u64 {
        self.started + 1
    }
}

/// One entry in hand.
#[derive(Debug)]
pub(crate) struct HeldEntry {
    pub(crate) stage: EntryStage,
    pub(crate) attempts: Attempts,
    pub(crate) order_key: Option<u64>,
    pub(crate) size: usize,
    /// Somebody else has it now; only an acknowledgement still counts.
    pub(crate) lost: bool,
    /// It was removed from the stream: it cannot be delivered again, and nobody else can have it.
    pub(crate) trimmed: bool,
    /// The server has forgotten that it is pending, though it is in the stream: another client removed this consumer.
    pub(crate) dropped: bool,
    /// Others may have it although it keeps its place here.
    pub(crate) offered: bool,
    /// When it may be delivered again, if it is parked.
    pub(crate) due: Option<Instant>,
    /// When its handler was given it.
    pub(crate) begun: Option<Instant>,
    /// Since when it is certainly ours: when the request was sent that the server has confirmed.
    renewed: Instant,
    /// It is among what the server is to be told next, or is being told.
    asked: bool,
}

impl HeldEntry {
    /// Whether its lease is renewed. A parked entry of no lane is not: others of the group may help with it.
    fn is_renewed(&self, now: Instant) -> bool {
        let lives = match self.stage {
            EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Burying => true,
            EntryStage::Delayed { due } => due > now && !self.offered,
            EntryStage::Parked => self.order_key.is_some() && !self.offered,
            EntryStage::Taking | EntryStage::Acking | EntryStage::Leaving(_) => false,
        };
        lives && !self.lost && !self.trimmed && !self.dropped
    }

    pub(crate) fn renewed(&self) -> Instant {
        self.renewed
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LeaseBook {
    holds: IdMap<HeldEntry>,
    held: usize,
    running: usize,
    delayed: usize,
    parked: usize,
    bytes: usize,
    runs: u64,
    /// Handlers' deadlines and retries' due times; those that no longer hold are skipped when they come up.
    deadlines: BinaryHeap<Reverse<(Instant, StreamId, u64)>>,
    dues: BinaryHeap<Reverse<(Instant, StreamId)>>,
}

impl LeaseBook {
    pub(crate) fn contains(&self, id: StreamId) -> bool {
        self.holds.contains_key(&id)
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&HeldEntry> {
        self.holds.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut HeldEntry> {
        self.holds.get_mut(&id)
    }

    pub(crate) fn stage(&self, id: StreamId) -> Option<EntryStage> {
        self.holds.get(&id).map(|hold| hold.stage)
    }

    pub(crate) fn len(&self) -> usize {
        self.holds.len()
    }

    pub(crate) fn ids(&self) -> Vec<StreamId> {
        self.holds.keys().copied().collect()
    }

    /// How many take up the window: those that wait for a handler, and those with one.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// How many wait without a payload: they take up no window.
    pub(crate) fn without_payload(&self) -> usize {
        self.delayed + self.parked
    }

    pub(crate) fn parked(&self) -> usize {
        self.parked
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The lowest id of all that is in hand.
    pub(crate) fn oldest(&self) -> Option<StreamId> {
        self.holds.keys().min().copied()
    }

    pub(crate) fn count(&self, wanted: impl Fn(EntryStage) -> bool) -> usize {
        self.holds.values().filter(|hold| wanted(hold.stage)).count()
    }

    /// Takes an entry into hand. It is certainly ours since `renewed`.
    pub(crate) fn insert(
        &mut self,
        id: StreamId,
        stage: EntryStage,
        attempts: Attempts,
        order_key: Option<u64>,
        size: usize,
        renewed: Instant,
    ) {
        let hold = HeldEntry {
            stage,
            attempts,
            order_key,
            size,
            lost: false,
            trimmed: false,
            dropped: false,
            offered: false,
            due: None,
            begun: None,
            renewed,
            asked: false,
        };
        self.leave_stage(id);
        self.holds.insert(id, hold);
        self.enter_stage(id);
    }

    /// Puts an entry down whose fate others decide from now on.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<HeldEntry> {
        self.leave_stage(id);
        self.holds.remove(&id)
    }

    pub(crate) fn set(&mut self, id: StreamId, stage: EntryStage) {
        self.leave_stage(id);
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.stage = stage;
        }
        if let EntryStage::Delayed { due } = stage {
            self.dues.push(Reverse((due, id)));
        }
        self.enter_stage(id);
        self.drop_stale();
    }

    /// Marks an entry as given to its handler, and returns the number of this run.
    pub(crate) fn run(&mut self, id: StreamId, deadline: Instant, now: Instant) -> u64 {
        self.runs += 1;
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.begun = Some(now);
            hold.attempts.started += u64::from(!hold.attempts.recorded);
            hold.attempts.recorded = false;
        }
        self.set(id, EntryStage::Running { run: self.runs });
        self.deadlines.push(Reverse((deadline, id, self.runs)));
        self.drop_stale();
        self.runs
    }

    /// Entries that ended leave their deadline behind, which may be years away: once most are stale they are removed.
    fn drop_stale(&mut self) {
        if self.deadlines.len() > 2 * self.running + SLACK {
            let holds = &self.holds;
            let live =
                |id: &StreamId, run: u64| holds.get(id).is_some_and(|hold| hold.stage == EntryStage::Running { run });
            self.deadlines.retain(|Reverse((_, id, run))| live(id, *run));
        }
        if self.dues.len() > 2 * self.delayed + SLACK {
            let holds = &self.holds;
            let live = |id: &StreamId, due| holds.get(id).is_some_and(|hold| hold.stage == EntryStage::Delayed { due });
            self.dues.retain(|Reverse((due, id))| live(id, *due));
        }
    }

    pub(crate) fn extend(&mut self, id: StreamId, run: u64, deadline: Instant) {
        self.deadlines.push(Reverse((deadline, id, run)));
    }

    /// The next handler whose deadline has passed.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<(StreamId, u64)> {
        while let Some(Reverse((_, id, run))) = pop_due(&mut self.deadlines, now, |entry| entry.0) {
            if self.stage(id) == Some(EntryStage::Running { run }) {
                return Some((id, run));
            }
        }
        None
    }

    /// Up to `most` entries whose next attempt is due.
    pub(crate) fn due(&mut self, now: Instant, most: usize) -> Vec<StreamId> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(Reverse((at, id))) = pop_due(&mut self.dues, now, |entry| entry.0)
        {
            if self.stage(id) == Some(EntryStage::Delayed { due: at }) {
                due.push(id);
            }
        }
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse(entry)| entry.0)
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.dues.peek().map(|Reverse(entry)| entry.0)
    }

    /// The entries whose lease the server has to hear of again: it last confirmed one that began at `before` or earlier.
    /// A delayed entry is among them: the server remembers no delay that is longer than its idle time can express.
    pub(crate) fn aging(&mut self, before: Instant, now: Instant) -> Vec<StreamId> {
        let mut aging = Vec::new();
        for (id, hold) in &mut self.holds {
            if hold.is_renewed(now) && !hold.asked && hold.renewed <= before {
                hold.asked = true;
                aging.push(*id);
            }
        }
        aging
    }

    /// As [`aging`](Self::aging) for somebody else who renews them: what is being asked for already may be stuck.
    pub(crate) fn overdue_leases(&self, before: Instant, now: Instant) -> Vec<StreamId> {
        let overdue = self.holds.iter().filter(|(_, hold)| hold.is_renewed(now) && hold.renewed <= before);
        overdue.map(|(id, _)| *id).collect()
    }

    /// Somebody else has renewed a lease. Whatever this consumer is about to tell the server about it is told all the same.
    pub(crate) fn confirm(&mut self, id: StreamId, sent: Instant) {
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.renewed = hold.renewed.max(sent);
        }
    }

    /// The server has confirmed what it was asked for at `sent`.
    pub(crate) fn renew(&mut self, id: StreamId, sent: Instant) {
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.renewed = hold.renewed.max(sent);
            hold.asked = false;
        }
    }

    /// The entries that are ours only as long as the server agrees.
    pub(crate) fn leased(&self) -> Vec<StreamId> {
        let lives = |stage| matches!(stage, EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Burying);
        self.holds.iter().filter(|(_, hold)| lives(hold.stage) && !hold.lost).map(|(id, _)| *id).collect()
    }

    fn enter_stage(&mut self, id: StreamId) {
        self.account(id, usize::wrapping_add);
    }

    fn leave_stage(&mut self, id: StreamId) {
        self.account(id, usize::wrapping_sub);
    }

    fn account(&mut self, id: StreamId, with: fn(usize, usize) -> usize) {
        let Some(hold) = self.holds.get(&id) else { return };
        let (held, running) = match hold.stage {
            EntryStage::KeyedEntry => (1, 0),
            EntryStage::Running { .. } => (1, 1),
            EntryStage::Delayed { .. } => return self.delayed = with(self.delayed, 1),
            EntryStage::Parked => return self.parked = with(self.parked, 1),
            _ => return,
        };
        self.held = with(self.held, held);
        self.running = with(self.running, running);
        self.bytes = with(self.bytes, hold.size);
    }
}

fn pop_due<T: Ord>(heap: &mut BinaryHeap<Reverse<T>>, now: Instant, at: impl Fn(&T) -> Instant) -> Option<Reverse<T>> {
    let due = heap.peek().is_some_and(|Reverse(entry)| at(entry) <= now);
    if due { heap.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Ablation: without `drop_stale` there are 10,000 deadlines and 10,000 due times.
    #[test]
    fn a_deadline_leaves_with_its_entry_however_far_away_it_is() {
        let now = Instant::now();
        let mut book = LeaseBook::default();
        let years = now + Duration::from_secs(10 * 365 * 24 * 3600);
        for n in 1..=10_000 {
            let id = StreamId::new(n, 0);
            book.insert(id, EntryStage::KeyedEntry, Attempts::NONE, None, 10, now);
            book.run(id, years, now);
            if n % 2 == 0 {
                book.set(id, EntryStage::Delayed { due: years });
            }
            if n > 1 {
                book.remove(id);
            }
        }
        assert!(book.deadlines.len() < 100 && book.dues.len() < 100, "{} {}", book.deadlines.len(), book.dues.len());
        assert_eq!(book.next_deadline(), Some(years), "the one that still runs");
    }
}
