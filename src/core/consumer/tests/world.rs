//! A server that lives in memory, and the machine that it serves: runs what is asked, or only half of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::consumer::failure::{Failure, FailureKind};
use crate::core::consumer::ground::{Bed, Ensured, Start, start};
use crate::core::consumer::*;
use crate::error::{Error, ErrorKind, Fate};

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
        forget_after: None,
    }
}

pub(super) fn no_group() -> Failure {
    Failure { kind: FailureKind::NoGroup, error: Error::new(ErrorKind::Server, Fate::Rejected, "no group") }
}

fn lost_link() -> Failure {
    Failure { kind: FailureKind::Link, error: Error::new(ErrorKind::Disconnected, Fate::Unknown, "the link broke") }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) ours: bool,
    pub(super) since: Instant,
    pub(super) count: u64,
}

/// The server's side: what is new, what is pending for whom, what came of the rest.
#[derive(Default)]
pub(super) struct World {
    pub(super) fresh: VecDeque<StreamId>,
    pub(super) pending: BTreeMap<StreamId, Pending>,
    pub(super) acked: BTreeSet<StreamId>,
    pub(super) dead: BTreeSet<StreamId>,
    pub(super) added: u64,
    pub(super) destroyed: bool,
}

impl World {
    fn ground(&self) -> Ground {
        let first_fresh = self.fresh.front().map_or(self.added, |id| id.ms - 1);
        let lowest = self.pending.keys().next().map_or(first_fresh, |id| (id.ms - 1).min(first_fresh));
        let last_id = StreamId::new(self.added, 0);
        Ground { floor: StreamId::new(lowest, 0), last_id, added: None, lag: Some(self.fresh.len() as u64), pending: 0 }
    }

    fn read(&mut self, count: usize, runs: bool, now: Instant) -> Vec<Arrival<StreamId>> {
        let entries = self.fresh.drain(..if runs { self.fresh.len().min(count) } else { 0 });
        let page = entries.map(|id| {
            self.pending.insert(id, Pending { ours: true, since: now, count: 1 });
            Test::arrival(id, 1)
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
    pub(super) lanes: BTreeMap<u64, StreamId>,
    pub(super) clients: i64,
}

fn lane(id: StreamId) -> Option<u64> {
    (id.ms.is_multiple_of(2)).then_some(id.ms % 3)
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
            lanes: BTreeMap::new(),
            clients: 0,
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
        self.world.destroyed = true;
        self.world.pending.clear();
        self.world.fresh.clear();
    }

    /// This process dies, and one of the same name takes its place.
    pub(super) fn crash(&mut self) {
        self.machine = Consumer::new(self.terms.clone(), self.now, fastrand::Rng::with_seed(7));
        self.asked.clear();
        self.running.clear();
        self.lanes.clear();
    }

    /// Lets the machine say all it has to say.
    pub(super) fn look(&mut self) {
        while let Some(action) = self.machine.next(self.now) {
            match action {
                Action::Run { id, run, .. } => {
                    if let Some(lane) = lane(id) {
                        let before = self.lanes.insert(lane, id);
                        assert!(before.is_none(), "two of lane {lane} at once: {before:?} and {id}");
                    }
                    self.running.push((id, run));
                    assert!(self.running.len() <= self.terms.max_in_flight, "more handlers than allowed");
                }
                Action::CheckProgress { id, run } => self.machine.overdue(id, run, None, self.now),
                Action::GiveUp { id } => self.end(id),
                Action::Tell(_) | Action::SignalLost { .. } | Action::Sever { .. } => {}
                Action::Unblock { .. } => {}
                asked => self.asked.push(asked),
            }
        }
        let reads: Vec<_> = self.asked.iter().filter(|action| matches!(action, Action::Read { .. })).collect();
        assert!(reads.len() <= 2, "{reads:?}");
        assert!(
            reads.len() < 2 || !reads.iter().any(|read| matches!(read, Action::Read { blocks: true, .. })),
            "one behind a blocked one: {reads:?}"
        );
        let most = self.terms.window() + self.terms.batch + 1;
        assert!(self.machine.book().held() <= most, "more in hand than allowed");
    }

    pub(super) fn page(&mut self, page: Vec<Arrival<StreamId>>) {
        self.asked.extend(self.machine.page_came(page.len(), page.len() * 10, self.now));
        // As the engine does: what can be sent is sent before the page is decoded.
        self.look();
        self.machine.page_read(page, self.now);
    }

    fn end(&mut self, id: StreamId) {
        self.running.retain(|(running, _)| *running != id);
        self.lanes.retain(|_, running| *running != id);
    }

    pub(super) fn arrival(id: StreamId, attempt: u64) -> Arrival<StreamId> {
        Arrival { id, attempt, lane: lane(id), size: 10, payload: Ok(id) }
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
        let action = self.asked.remove(nth);
        let now = self.now;
        let world = &mut self.world;
        match action {
            Action::Connect => {
                self.clients += 1;
                let answer = if answers { Ok(Some(self.clients)) } else { Err(lost_link()) };
                self.machine.connected(answer, now);
            }
            Action::Reap { .. } => self.machine.reaped(if answers { Ok(()) } else { Err(lost_link()) }, now),
            Action::HoldName => self.machine.named(if answers { Ok(Holder::Us) } else { Err(lost_link()) }, now),
            Action::EnsureGroup { known } => {
                let mut made = None;
                if world.destroyed && runs {
                    let bed = Bed { last_id: StreamId::new(world.added, 0), added: None };
                    let begin = start(known, Some(bed), Start::After(StreamId::MIN));
                    let Start::After(after) = begin else { panic!("never at the end") };
                    world.destroyed = false;
                    world.fresh = (after.ms + 1..=world.added).map(|n| StreamId::new(n, 0)).collect();
                    made = Some(begin);
                }
                let ground = Some(world.ground());
                self.machine.ensured(if answers { Ok(Ensured { made, ground }) } else { Err(lost_link()) }, now);
            }
            Action::Look { .. } => {
                let answer = if answers { Ok((!world.destroyed).then(|| world.ground())) } else { Err(lost_link()) };
                self.machine.looked(answer, now);
            }
            Action::Read { .. } | Action::Take { .. } | Action::Sweep { .. } | Action::ListPending { .. }
                if world.destroyed =>
            {
                match action {
                    Action::Read { .. } => self.machine.read_failed(no_group(), now),
                    Action::Take { .. } => self.machine.took(Err(no_group()), now),
                    Action::Sweep { .. } => self.machine.swept(Err(no_group()), now),
                    _ => self.machine.listed(Err(no_group()), now),
                }
            }
            Action::Lease { .. } if world.destroyed => self.machine.leased(Err(no_group()), now),
            Action::Bury(burial) if world.destroyed => self.machine.buried(burial, Err(no_group()), now),
            Action::ListPending { after, count } => {
                let ours = world.pending.iter().filter(|(id, pending)| pending.ours && after.is_none_or(|a| **id > a));
                let page = ours.map(|(id, pending)| (*id, pending.count)).take(count).collect();
                self.machine.listed(if answers { Ok(page) } else { Err(lost_link()) }, now);
            }
            Action::Take { entries } => {
                let mut taken = Vec::new();
                for (id, count) in entries {
                    if let Some(pending) = world.pending.get_mut(&id).filter(|pending| runs && pending.ours) {
                        (pending.count, pending.since) = (count, now);
                        taken.push(Taken::Entry(Self::arrival(id, pending.count)));
                    }
                }
                self.machine.took(if answers { Ok(taken) } else { Err(lost_link()) }, now);
            }
            Action::Read { count, .. } => {
                let page = world.read(count, runs, now);
                if answers {
                    return self.page(page);
                }
                // With its link goes what was sent behind it, whether the server has seen that or not.
                self.asked.retain(|action| {
                    if let Action::Read { count, .. } = action {
                        world.read(*count, runs, now);
                    }
                    !is_read(action)
                });
                self.machine.read_failed(lost_link(), now);
            }
            Action::Sweep { count, .. } => {
                let mut swept = Vec::new();
                for (id, pending) in &mut world.pending {
                    let idle = now.saturating_duration_since(pending.since) >= terms().min_idle;
                    if runs && idle && swept.len() < count {
                        *pending = Pending { ours: true, since: now, ..*pending };
                        swept.push((*id, pending.count));
                    }
                }
                let claims = Claims { entries: swept, ..Claims::default() };
                let swept = Swept { clock: 0, claims: Some(claims) };
                self.machine.swept(if answers { Ok(swept) } else { Err(lost_link()) }, now);
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
                let mut lost = Vec::new();
                for term in wanted {
                    match world.pending.get_mut(&term.id) {
                        Some(pending) if pending.ours && runs => {
                            pending.since = now.checked_sub(term.idle).unwrap_or(now);
                            pending.count = term.count.unwrap_or(pending.count);
                        }
                        Some(pending) if pending.ours => {}
                        _ => lost.push(term.id),
                    }
                }
                let renewed = Renewed { lost, gone: Vec::new() };
                self.machine.leased(if answers { Ok(renewed) } else { Err(lost_link()) }, now);
            }
            Action::Bury(burial) => {
                let ours = world.pending.get(&burial.id).is_some_and(|pending| pending.ours);
                if runs && ours {
                    world.pending.remove(&burial.id);
                    world.dead.insert(burial.id);
                }
                let buried = if ours { Buried::Written } else { Buried::NotOurs };
                self.machine.buried(burial, if answers { Ok(buried) } else { Err(lost_link()) }, now);
            }
            other => panic!("nobody to carry out {other:?}"),
        }
    }

    pub(super) fn answer(&mut self, nth: usize, outcome: Outcome) {
        if !self.running.is_empty() {
            let (id, run) = self.running[nth % self.running.len()];
            self.end(id);
            self.machine.handled(id, run, Handled::Done(outcome), self.now);
        }
    }

    /// A peer takes over what has been idle, and hands it back the same way later.
    pub(super) fn steal(&mut self) {
        let min_idle = terms().min_idle;
        for pending in self.world.pending.values_mut() {
            if self.now.saturating_duration_since(pending.since) >= min_idle {
                *pending = Pending { ours: false, since: self.now, count: pending.count + 1 };
            }
        }
    }

    /// The world is kind from now on.
    pub(super) fn settle(&mut self) {
        for _ in 0..2_000 {
            self.look();
            let World { pending, fresh, destroyed, .. } = &self.world;
            if pending.is_empty() && fresh.is_empty() && !destroyed && self.machine.book().len() == 0 {
                return;
            }
            for _ in 0..self.asked.len() {
                self.serve(0, true, true);
                self.look();
            }
            self.answer(0, Outcome::Ack);
            self.now += Duration::from_millis(20);
        }
    }
}
