//! A server that lives in memory, and the machine that it serves: runs what is asked, or only half of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Fate};
use crate::streams::machine::failure::{Failure, FailureKind};
use crate::streams::machine::group_position::{Ensured, Start, StreamSnapshot, start};
use crate::streams::machine::*;

pub(super) fn terms() -> Terms {
    Terms {
        max_in_flight: 3,
        batch: 4,
        backlog: 8,
        max_bytes: 1000,
        block: Duration::from_millis(500),
        min_idle: Duration::from_millis(300),
        handler_deadline: Duration::from_millis(700),
        sweep_every: Duration::from_millis(100),
        retry: vec![Duration::from_millis(50), Duration::from_millis(200)],
        max_deliveries: 3,
        ordered: false,
        stall_after: Duration::from_secs(10),
        look_every: Duration::from_millis(100),
        idle_look: Duration::from_millis(400),
        forget_after: None,
    }
}

pub(super) fn no_group() -> Failure {
    Failure { kind: FailureKind::NoGroup, error: Error::new(ErrorKind::Server, Fate::Rejected, "no group") }
}

fn lost_link() -> Failure {
    Failure { kind: FailureKind::Link, error: Error::new(ErrorKind::Disconnected, Fate::Unknown, "the link broke") }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseOwner {
    Us,
    Peer,
    /// Handed back by somebody, for whoever comes first.
    Returned,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) owner: LeaseOwner,
    pub(super) since: Instant,
    pub(super) count: u64,
    /// How far the server's clock has jumped since.
    pub(super) skew: Duration,
}

impl Pending {
    pub(super) fn new(owner: LeaseOwner, since: Instant, count: u64) -> Self {
        Self { owner, since, count, skew: Duration::ZERO }
    }

    /// By the server's clock.
    fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since) + self.skew
    }
}

/// The server's side: what is new, what is pending for whom, what came of the rest.
#[derive(Default)]
pub(super) struct World {
    pub(super) fresh: VecDeque<StreamId>,
    pub(super) pending: BTreeMap<StreamId, Pending>,
    pub(super) acked: BTreeSet<StreamId>,
    pub(super) dead: BTreeSet<StreamId>,
    /// Entries that were removed from the stream.
    pub(super) trimmed: BTreeSet<StreamId>,
    skew: Duration,
    pub(super) added: u64,
    pub(super) destroyed: bool,
}

impl World {
    fn group_position(&self) -> GroupPosition {
        let first_fresh = self.fresh.front().map_or(self.added, |id| id.ms - 1);
        let lowest = self.pending.keys().next().map_or(first_fresh, |id| (id.ms - 1).min(first_fresh));
        let last_id = StreamId::new(self.added, 0);
        GroupPosition {
            floor: StreamId::new(lowest, 0),
            last_id,
            added: None,
            lag: Some(self.fresh.len() as u64),
            pending: 0,
        }
    }

    /// What the server's clock says.
    pub(super) fn clock(&self, began: Instant, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(began) + self.skew;
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes an entry out of the pending ones that is not in the stream any more.
    fn remove_trimmed(&mut self, id: StreamId) -> bool {
        self.trimmed.contains(&id) && self.pending.remove(&id).is_some()
    }

    fn read(&mut self, count: usize, runs: bool, ordered: bool, now: Instant) -> Vec<Arrival<StreamId>> {
        let entries = self.fresh.drain(..if runs { self.fresh.len().min(count) } else { 0 });
        let page = entries.map(|id| {
            self.pending.insert(id, Pending::new(LeaseOwner::Us, now, 1));
            Test::arrival(id, ordered)
        });
        page.collect()
    }
}

pub(super) struct Test {
    terms: Terms,
    pub(super) world: World,
    pub(super) machine: Consumer<StreamId>,
    pub(super) now: Instant,
    /// What was asked and not answered yet.
    pub(super) asked: Vec<Action<StreamId>>,
    pub(super) running: Vec<(StreamId, u64)>,
    pub(super) keyed_queue: BTreeMap<u64, StreamId>,
    pub(super) clients: i64,
    /// How many handlers were started for each entry, by whichever process.
    pub(super) started: BTreeMap<StreamId, u64>,
    /// Entries whose attempts were taken back, or made by a peer.
    pub(super) uncounted: BTreeSet<StreamId>,
    /// Entries whose handlers have said their last word, whether the server knows it or not.
    pub(super) ended: BTreeSet<StreamId>,
    pub(super) lost_groups: u64,
    pub(super) began: Instant,
    /// Attempts that were recorded before they started, by a process that died in between, those that do not count, and
    /// those of peers.
    pub(super) gaps: BTreeMap<StreamId, u64>,
    /// Nothing has happened that makes the count of attempts unclear.
    pub(super) exact: bool,
    /// Nothing has happened that lets others have entries in between.
    pub(super) keeps_order: bool,
}

fn order_key(id: StreamId, ordered: bool) -> Option<u64> {
    (ordered && id.ms.is_multiple_of(2)).then_some(id.ms % 3)
}

impl Test {
    pub(super) fn new() -> Self {
        Self::with(terms())
    }

    pub(super) fn with(terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            machine: Consumer::new(terms.clone(), now, fastrand::Rng::with_seed(7)),
            terms,
            world: World::default(),
            now,
            asked: Vec::new(),
            running: Vec::new(),
            keyed_queue: BTreeMap::new(),
            clients: 0,
            started: BTreeMap::new(),
            uncounted: BTreeSet::new(),
            ended: BTreeSet::new(),
            lost_groups: 0,
            began: now,
            gaps: BTreeMap::new(),
            exact: true,
            keeps_order: true,
        }
    }

    pub(super) fn add(&mut self) {
        self.world.added += 1;
        if !self.world.destroyed {
            self.world.fresh.push_back(StreamId::new(self.world.added, 0));
        }
    }

    /// The group goes, with what was pending in it.
    pub(super) fn destroy(&mut self) {
        (self.exact, self.keeps_order) = (false, false);
        self.lost_groups += 1;
        self.world.destroyed = true;
        self.world.pending.clear();
        self.world.fresh.clear();
    }

    /// An entry is removed from the stream.
    pub(super) fn trim(&mut self, nth: usize) {
        let there = (1..=self.world.added).map(|n| StreamId::new(n, 0));
        let there: Vec<_> = there.filter(|id| !self.world.trimmed.contains(id)).collect();
        if !there.is_empty() {
            let id = there[nth % there.len()];
            self.world.trimmed.insert(id);
            self.world.fresh.retain(|fresh| *fresh != id);
        }
    }

    /// The group is set back: all that is in the stream is delivered once more, and its counts begin anew.
    pub(super) fn seek(&mut self) {
        if !self.world.destroyed {
            (self.exact, self.keeps_order) = (false, false);
            self.lost_groups += 1;
            let there = (1..=self.world.added).map(|n| StreamId::new(n, 0));
            self.world.fresh = there.filter(|id| !self.world.trimmed.contains(id)).collect();
        }
    }

    /// The server's clock jumps forward.
    pub(super) fn jump(&mut self, by: Duration) {
        self.world.skew += by;
        self.world.pending.values_mut().for_each(|pending| pending.skew += by);
    }

    /// A consumer that has ended is followed by another one. Of what it has handed back all attempts are known.
    fn succeed(&mut self) {
        let left = self.world.pending.values().any(|pending| pending.owner == LeaseOwner::Us);
        let exact = self.exact && !left && self.machine.book().len() == 0;
        self.crash();
        self.exact = exact;
    }

    /// This process dies, and one of the same name takes its place.
    pub(super) fn crash(&mut self) {
        self.machine = Consumer::new(self.terms.clone(), self.now, fastrand::Rng::with_seed(7));
        self.exact = false;
        for (id, pending) in &self.world.pending {
            let started = self.started.get(id).copied().unwrap_or_default();
            *self.gaps.entry(*id).or_default() += pending.count.saturating_sub(1 + started);
        }
        let pending = &self.world.pending;
        self.ended.retain(|id| !pending.contains_key(id));
        self.asked.clear();
        self.running.clear();
        self.keyed_queue.clear();
    }

    /// Lets the machine say all it has to say.
    pub(super) fn look(&mut self) {
        while let Some(action) = self.machine.next(self.now) {
            match action {
                Action::Run { id, run, attempt, .. } => {
                    self.check_start(id, attempt);
                    if let Some(order_key) = self.order_key(id) {
                        let before = self.keyed_queue.insert(order_key, id);
                        assert!(before.is_none(), "two of lane {order_key} at once: {before:?} and {id}");
                    }
                    self.running.push((id, run));
                    assert!(self.running.len() <= self.terms.max_in_flight, "more handlers than allowed");
                }
                Action::CheckProgress { id, run } => self.machine.overdue(id, run, None, true, self.now),
                Action::GiveUp { id } => {
                    if self.started.get(&id).is_some_and(|started| *started >= self.terms.max_deliveries) {
                        self.ended.insert(id);
                    }
                    self.end(id);
                }
                Action::PublishEvent(_) | Action::SignalLost { .. } | Action::Disconnect { .. } | Action::Finish => {}
                Action::Unblock { .. } => {}
                asked => self.asked.push(asked),
            }
        }
        self.check_leases();
        if self.machine.is_closed() {
            self.succeed();
            return self.look();
        }
        let reads: Vec<_> = self.asked.iter().filter(|action| matches!(action, Action::Read { .. })).collect();
        assert!(reads.len() <= 2, "{reads:?}");
        assert!(
            reads.len() < 2 || !reads.iter().any(|read| matches!(read, Action::Read { blocks: true, .. })),
            "one behind a blocked one: {reads:?}"
        );
        let most = self.terms.max_in_flight + 2 * self.terms.batch + 1;
        assert!(self.machine.book().held() <= most, "more in hand than allowed");
    }

    /// What the machine takes for its own is its own: no handler runs beside one of a peer while its lease is held. A group
    /// that was lost or set back has forgotten whose its entries were.
    fn check_leases(&self) {
        if self.lost_groups > 0 {
            return;
        }
        for (id, _) in self.world.pending.iter().filter(|(_, pending)| pending.owner == LeaseOwner::Peer) {
            let Some(hold) = self.machine.book().get(*id).filter(|hold| !hold.lost) else { continue };
            if matches!(hold.stage, EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Burying) {
                let held = hold.renewed() + self.terms.min_idle > self.now;
                assert!(!held, "{id} is taken for ours: {hold:?}");
            }
        }
    }

    pub(super) fn page(&mut self, page: Vec<Arrival<StreamId>>) {
        self.asked.extend(self.machine.page_came(page.len(), page.len() * 10, self.now));
        // As the engine does: what can be sent is sent before the page is decoded.
        self.look();
        self.machine.page_read(page, self.now);
    }

    fn end(&mut self, id: StreamId) {
        self.running.retain(|(running, _)| *running != id);
        self.keyed_queue.retain(|_, running| *running != id);
    }

    pub(super) fn arrival(id: StreamId, ordered: bool) -> Arrival<StreamId> {
        Arrival { id, order_key: order_key(id, ordered), size: 10, payload: Ok(id) }
    }

    /// Carries out what was asked, or only half of it: `runs` without `answers` is a lost reply.
    pub(super) fn serve(&mut self, nth: usize, runs: bool, answers: bool) {
        if self.asked.is_empty() {
            return;
        }
        let nth = nth % self.asked.len();
        // Reads are answered in the order of their link.
        let is_read = |action: &Action<StreamId>| matches!(action, Action::Read { .. });
        let nth = if is_read(&self.asked[nth]) { self.asked.iter().position(is_read).unwrap_or(nth) } else { nth };
        // Commands of one connection run in order: a change of a lease runs before a later redelivery of its entry.
        let is_lease = |action: &Action<StreamId>| matches!(action, Action::Lease { .. });
        let earlier_lease = self.asked[..nth].iter().position(is_lease);
        let nth = earlier_lease.filter(|_| matches!(self.asked[nth], Action::Take { .. })).unwrap_or(nth);
        let action = self.asked.remove(nth);
        let (now, ordered) = (self.now, self.terms.ordered);
        let world = &mut self.world;
        match action {
            Action::Connect => {
                self.clients += 1;
                let answer = if answers { Ok(Some(self.clients)) } else { Err(lost_link()) };
                self.machine.connected(answer, now);
            }
            Action::Reap { .. } => self.machine.reaped(if answers { Ok(()) } else { Err(lost_link()) }, now),
            Action::HoldName => self.machine.named(if answers { Ok(Holder::Us) } else { Err(lost_link()) }, now),
            Action::EnsureGroup { known, .. } => {
                let mut made = None;
                if world.destroyed && runs {
                    let stream_snapshot = StreamSnapshot { last_id: StreamId::new(world.added, 0), added: None };
                    let begin = start(known, Some(stream_snapshot), Start::After(StreamId::MIN));
                    let Start::After(after) = begin else { panic!("never at the end") };
                    world.destroyed = false;
                    world.fresh = (after.ms + 1..=world.added).map(|n| StreamId::new(n, 0)).collect();
                    made = Some(begin);
                }
                let group_position = Some(world.group_position());
                self.machine
                    .ensured(if answers { Ok(Ensured { made, group_position }) } else { Err(lost_link()) }, now);
            }
            Action::RefreshTopology { .. } => {
                let answer =
                    if answers { Ok((!world.destroyed).then(|| world.group_position())) } else { Err(lost_link()) };
                self.machine.looked(answer, now);
            }
            Action::Read { .. }
            | Action::Take { .. }
            | Action::Peek { .. }
            | Action::Sweep { .. }
            | Action::ListPending { .. }
                if world.destroyed =>
            {
                match action {
                    Action::Read { .. } => self.machine.read_failed(no_group(), now),
                    Action::Take { .. } => self.machine.took(Err(no_group()), now),
                    Action::Peek { .. } => self.machine.peeked(Err(no_group()), now),
                    Action::Sweep { .. } => self.machine.swept(Err(no_group()), now),
                    _ => self.machine.listed(Err(no_group()), now),
                }
            }
            Action::Lease { .. } if world.destroyed => self.machine.leased(Err(no_group()), now),
            Action::DeadLetter(dead_letter_request) if world.destroyed => {
                self.machine.was_dead_lettered(dead_letter_request, Err(no_group()), now)
            }
            Action::ListPending { after, count } => {
                let ours = world
                    .pending
                    .iter()
                    .filter(|(id, pending)| pending.owner == LeaseOwner::Us && after.is_none_or(|a| **id > a));
                let page = ours.map(|(id, pending)| (*id, pending.count)).take(count).collect();
                self.machine.listed(if answers { Ok(page) } else { Err(lost_link()) }, now);
            }
            Action::Take { entries } => {
                let mut taken = Vec::new();
                for (id, count) in entries {
                    if let Some(pending) =
                        world.pending.get_mut(&id).filter(|pending| runs && pending.owner == LeaseOwner::Us)
                    {
                        *pending = Pending::new(LeaseOwner::Us, now, count);
                        let gone = world.remove_trimmed(id);
                        let entry = TakeReply::Entry(Self::arrival(id, ordered));
                        taken.push(if gone { TakeReply::Gone(id) } else { entry });
                    }
                }
                self.machine.took(if answers { Ok(taken) } else { Err(lost_link()) }, now);
            }
            Action::Read { count, .. } => {
                let page = world.read(count, runs, ordered, now);
                if answers {
                    return self.page(page);
                }
                // With its link goes what was sent behind it, whether the server has seen that or not.
                self.asked.retain(|action| {
                    if let Action::Read { count, .. } = action {
                        world.read(*count, runs, ordered, now);
                    }
                    !is_read(action)
                });
                self.machine.read_failed(lost_link(), now);
            }
            Action::RenewUnread(unread) => {
                for (_, pending) in world.pending.range_mut(unread.from..).take(if runs { usize::MAX } else { 0 }) {
                    if pending.owner == LeaseOwner::Us && pending.idle(now) <= unread.max_idle {
                        (pending.since, pending.skew) = (now, Duration::ZERO);
                    }
                }
                self.machine.renewed_unread(if answers { Ok(()) } else { Err(lost_link()) }, now);
            }
            Action::Sweep { count, unread, clock, .. } => {
                let (mut swept, mut returned) = (Vec::new(), Vec::new());
                let server_clock = world.clock(self.began, now);
                let as_expected = |(expected, tolerance): (u64, Duration)| {
                    u128::from(server_clock.abs_diff(expected)) <= tolerance.as_millis()
                };
                let claims_idle = clock.is_none_or(as_expected);
                for (id, pending) in &mut world.pending {
                    let idle = pending.idle(now);
                    if !runs || swept.len() + returned.len() >= count {
                        continue;
                    }
                    if pending.owner == LeaseOwner::Returned {
                        pending.owner = LeaseOwner::Us;
                        returned.push((*id, pending.count, idle));
                    } else if claims_idle && idle >= terms().min_idle {
                        let is_unread = pending.owner == LeaseOwner::Us && unread.is_some_and(|from| *id >= from);
                        *pending = Pending::new(LeaseOwner::Us, now, pending.count);
                        swept.push(ClaimedEntry { id: *id, deliveries: pending.count, is_unread });
                    }
                }
                // Without an answer what is pending for this consumer may have been a peer's.
                self.exact &= answers;
                let gone: Vec<_> = swept.iter().map(|entry| entry.id).filter(|id| world.remove_trimmed(*id)).collect();
                swept.retain(|entry| !gone.contains(&entry.id));
                let claims = ClaimReply { entries: swept, gone, ..ClaimReply::default() };
                let swept = SweepReply { clock: server_clock, returned, claims: claims_idle.then_some(claims) };
                self.machine.swept(if answers { Ok(swept) } else { Err(lost_link()) }, now);
            }
            Action::Peek { ids } => {
                let order_key_of = |id: &StreamId| {
                    let there = OrderPosition::Lane { order_key: order_key(*id, ordered), size: 10 };
                    (*id, if world.trimmed.contains(id) { OrderPosition::Gone } else { there })
                };
                let peeked = ids.iter().map(order_key_of).collect();
                self.machine.peeked(if answers { Ok(peeked) } else { Err(lost_link()) }, now);
            }
            Action::Ack { flight, ids } => {
                for id in ids.iter().filter(|_| runs) {
                    if world.pending.remove(id).is_some() {
                        world.acked.insert(*id);
                    }
                }
                self.machine.acked(flight, if answers { Ok(()) } else { Err(lost_link()) }, now);
            }
            Action::Lease { terms: wanted } => {
                let (mut lost, mut absent, mut gone) = (Vec::new(), Vec::new(), Vec::new());
                for term in wanted {
                    match world.pending.get_mut(&term.id) {
                        Some(pending) if pending.owner == LeaseOwner::Us && runs => {
                            let since = now.checked_sub(term.idle).unwrap_or(now);
                            let owner = if term.returned { LeaseOwner::Returned } else { LeaseOwner::Us };
                            *pending = Pending::new(owner, since, term.count.unwrap_or(pending.count));
                            if world.remove_trimmed(term.id) {
                                gone.push(term.id);
                            }
                        }
                        Some(pending) if pending.owner == LeaseOwner::Us => {}
                        Some(_) => lost.push(term.id),
                        None if term.forced && runs && world.trimmed.contains(&term.id) => gone.push(term.id),
                        None if term.forced && runs => {
                            let since = now.checked_sub(term.idle).unwrap_or(now);
                            let owner = if term.returned { LeaseOwner::Returned } else { LeaseOwner::Us };
                            world.pending.insert(term.id, Pending::new(owner, since, term.count.unwrap_or(1)));
                        }
                        None => absent.push(term.id),
                    }
                }
                let renewed = LeaseReply { lost, absent, gone };
                self.machine.leased(if answers { Ok(renewed) } else { Err(lost_link()) }, now);
            }
            Action::DeadLetter(dead_letter_request) => {
                let ours =
                    world.pending.get(&dead_letter_request.id).is_some_and(|pending| pending.owner == LeaseOwner::Us);
                if dead_letter_request.reason == DeadLetterReason::MaxDeliveries {
                    let started = self.started.get(&dead_letter_request.id).copied().unwrap_or_default();
                    // An attempt at a suspect is recorded before it starts, and a crash may come in between.
                    let gaps = self.gaps.get(&dead_letter_request.id).copied().unwrap_or_default();
                    let most = self.terms.max_deliveries;
                    assert!(started + gaps >= most, "{} is dead after {started} starts", dead_letter_request.id);
                }
                let is_gone = world.trimmed.contains(&dead_letter_request.id);
                if runs && ours {
                    world.pending.remove(&dead_letter_request.id);
                    if !is_gone {
                        world.dead.insert(dead_letter_request.id);
                    }
                }
                let was_dead_lettered = match (ours, is_gone) {
                    (true, true) => DeadLetterOutcome::Gone,
                    (true, false) => DeadLetterOutcome::Written,
                    (false, _) => DeadLetterOutcome::NotOurs,
                };
                self.machine.was_dead_lettered(
                    dead_letter_request,
                    if answers { Ok(was_dead_lettered) } else { Err(lost_link()) },
                    now,
                );
            }
            other => panic!("nobody to carry out {other:?}"),
        }
    }

    fn order_key(&self, id: StreamId) -> Option<u64> {
        order_key(id, self.terms.ordered)
    }

    /// A handler is started: what its attempt is called, and that nothing of its key is overtaken.
    fn check_start(&mut self, id: StreamId, attempt: u64) {
        let started = self.started.entry(id).or_default();
        *started += 1;
        // With its group goes what was known of it.
        let known = self.lost_groups == 0 && !self.uncounted.contains(&id);
        assert!(attempt > 1 || *started == 1 || !known, "{id} is called new at start {started}");
        if self.exact {
            assert_eq!(attempt, *started, "{id}");
        }
        let (Some(order_key), true) = (self.order_key(id), self.keeps_order) else { return };
        let before = |other: &&StreamId| {
            let ended = self.ended.contains(other) || self.world.trimmed.contains(other);
            **other < id && self.order_key(**other) == Some(order_key) && !ended
        };
        let pending =
            self.world.pending.iter().filter(|(_, pending)| pending.owner != LeaseOwner::Peer).map(|(id, _)| id);
        let overtaken = pending.chain(&self.world.fresh).find(before);
        assert_eq!(overtaken, None, "overtaken by {id}");
    }

    pub(super) fn answer(&mut self, nth: usize, outcome: Outcome) {
        if !self.running.is_empty() {
            let (id, run) = self.running[nth % self.running.len()];
            self.end(id);
            match outcome {
                Outcome::Ack | Outcome::Reject(_) => drop(self.ended.insert(id)),
                // That attempt does not count.
                Outcome::Release | Outcome::PauseFor(_) => self.uncount(id),
                _ if self.started.get(&id).is_some_and(|started| *started >= self.terms.max_deliveries) => {
                    self.ended.insert(id);
                }
                _ => {}
            }
            self.machine.handled(id, run, Handled::Done(outcome), self.now);
        }
    }

    /// An attempt does not count. Until the server knows that, it may do so for others.
    fn uncount(&mut self, id: StreamId) {
        *self.started.entry(id).or_default() -= 1;
        *self.gaps.entry(id).or_default() += 1;
        self.uncounted.insert(id);
    }

    /// A handler ends without an answer: it panicked, or its actor ended before it came to the entry.
    pub(super) fn fail(&mut self, nth: usize, started: bool) {
        if self.running.is_empty() {
            return;
        }
        let (id, run) = self.running[nth % self.running.len()];
        self.end(id);
        if !started {
            self.uncount(id);
        } else if self.started.get(&id).is_some_and(|started| *started >= self.terms.max_deliveries) {
            self.ended.insert(id);
        }
        let handled = if started { Handled::Unanswered } else { Handled::Unstarted };
        self.machine.handled(id, run, handled, self.now);
    }

    /// A peer takes over what has been idle, and hands it back the same way later.
    pub(super) fn steal(&mut self) {
        let min_idle = terms().min_idle;
        for (id, pending) in &mut self.world.pending {
            if self.now.saturating_duration_since(pending.since) >= min_idle {
                *pending = Pending::new(LeaseOwner::Peer, self.now, pending.count + 1);
                // The peer starts its handler at once, and this process may be about to.
                *self.started.entry(*id).or_default() += 1;
                *self.gaps.entry(*id).or_default() += 1;
                self.uncounted.insert(*id);
                (self.exact, self.keeps_order) = (false, false);
            }
        }
    }

    /// The world is kind from now on.
    pub(super) fn settle(&mut self) {
        let mut blocked_until: Option<Instant> = None;
        for _ in 0..2_000 {
            self.look();
            let World { pending, fresh, destroyed, .. } = &self.world;
            if pending.is_empty() && fresh.is_empty() && !destroyed && self.machine.book().len() == 0 {
                return;
            }
            let blocked = |test: &Self, action: &Action<StreamId>| {
                let waits = test.world.fresh.is_empty() && !test.world.destroyed;
                waits && matches!(action, Action::Read { blocks: true, .. })
            };
            let mut busy = !self.running.is_empty();
            while let Some(nth) = self.asked.iter().position(|action| !blocked(self, action)) {
                busy = true;
                self.serve(nth, true, true);
                self.look();
            }
            self.answer(0, Outcome::Ack);
            if busy {
                blocked_until = None;
                self.now += Duration::from_millis(1);
                continue;
            }
            // Nothing but the clock can go on with it.
            let wake_at = self.machine.wake_at();
            let block = self.terms.block;
            let read_ends = (!self.asked.is_empty()).then(|| *blocked_until.get_or_insert(self.now + block));
            let Some(next) = wake_at.into_iter().chain(read_ends).min() else { return };
            self.now = next.max(self.now + Duration::from_millis(1));
            if read_ends.is_some_and(|at| at <= self.now) {
                blocked_until = None;
                self.serve(0, true, true);
            }
        }
    }
}
