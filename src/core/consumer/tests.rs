//! The machine against a server that lives in memory, driven by chance: whatever is lost, delayed and
//! answered, no entry is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::failure::{Failure, FailureKind};
use super::*;
use crate::error::{Error, ErrorKind, Fate};

fn terms() -> Terms {
    Terms {
        max_in_flight: 3,
        batch: 4,
        max_bytes: 1000,
        block: Duration::from_millis(500),
        min_idle: Duration::from_millis(300),
        handler_deadline: Duration::from_millis(700),
        sweep_every: Duration::from_millis(100),
        retry: vec![Duration::from_millis(50), Duration::from_millis(200)],
        max_deliveries: 3,
    }
}

fn lost_link() -> Failure {
    Failure { kind: FailureKind::Link, error: Error::new(ErrorKind::Disconnected, Fate::Unknown, "the link broke") }
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    ours: bool,
    since: Instant,
    count: u64,
}

/// The server's side: what is new, what is pending for whom, what came of the rest.
#[derive(Default)]
struct World {
    fresh: VecDeque<StreamId>,
    pending: BTreeMap<StreamId, Pending>,
    acked: BTreeSet<StreamId>,
    dead: BTreeSet<StreamId>,
    added: u64,
}

struct Test {
    world: World,
    machine: Consumer<StreamId>,
    now: Instant,
    /// What was asked and not answered yet.
    asked: Vec<Action<StreamId>>,
    running: Vec<(StreamId, u64)>,
    lanes: BTreeMap<u64, StreamId>,
    clients: i64,
}

fn lane(id: StreamId) -> Option<u64> {
    (id.ms.is_multiple_of(2)).then_some(id.ms % 3)
}

impl Test {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            world: World::default(),
            machine: Consumer::new(terms(), now, fastrand::Rng::with_seed(7)),
            now,
            asked: Vec::new(),
            running: Vec::new(),
            lanes: BTreeMap::new(),
            clients: 0,
        }
    }

    fn add(&mut self) {
        self.world.added += 1;
        self.world.fresh.push_back(StreamId::new(self.world.added, 0));
    }

    /// Lets the machine say all it has to say.
    fn look(&mut self) {
        while let Some(action) = self.machine.next(self.now) {
            match action {
                Action::Run { id, run, .. } => {
                    if let Some(lane) = lane(id) {
                        let before = self.lanes.insert(lane, id);
                        assert!(before.is_none(), "two of lane {lane} at once: {before:?} and {id}");
                    }
                    self.running.push((id, run));
                    assert!(self.running.len() <= 3, "more handlers than allowed");
                }
                Action::CheckProgress { id, run } => self.machine.overdue(id, run, None, self.now),
                Action::GiveUp { id } => self.end(id),
                Action::Tell(_) | Action::SignalLost { .. } | Action::Sever => {}
                Action::Unblock { .. } => {}
                asked => self.asked.push(asked),
            }
        }
        assert!(self.machine.book().held() <= terms().window() + terms().batch + 1, "more in hand than allowed");
    }

    fn end(&mut self, id: StreamId) {
        self.running.retain(|(running, _)| *running != id);
        self.lanes.retain(|_, running| *running != id);
    }

    fn arrival(id: StreamId, attempt: u64) -> Arrival<StreamId> {
        Arrival { id, attempt, lane: lane(id), size: 10, payload: Ok(id) }
    }

    /// Carries out what was asked, or only half of it: `runs` without `answers` is a lost reply.
    fn serve(&mut self, nth: usize, runs: bool, answers: bool) {
        if self.asked.is_empty() {
            return;
        }
        let action = self.asked.swap_remove(nth % self.asked.len());
        let now = self.now;
        let world = &mut self.world;
        match action {
            Action::Connect => {
                self.clients += 1;
                let answer = if answers { Ok(Some(self.clients)) } else { Err(lost_link()) };
                self.machine.connected(answer, now);
            }
            Action::Reap { .. } => self.machine.reaped(if answers { Ok(()) } else { Err(lost_link()) }, now),
            Action::EnsureGroup => self.machine.ensured(if answers { Ok(false) } else { Err(lost_link()) }, now),
            Action::ListPending { after, count } => {
                let ours = world.pending.iter().filter(|(id, pending)| pending.ours && after.is_none_or(|a| **id > a));
                let page = ours.map(|(id, _)| *id).take(count).collect();
                self.machine.listed(if answers { Ok(page) } else { Err(lost_link()) }, now);
            }
            Action::Take { ids } => {
                let mut taken = Vec::new();
                for id in ids {
                    if let Some(pending) = world.pending.get_mut(&id).filter(|pending| runs && pending.ours) {
                        (pending.count, pending.since) = (pending.count + 1, now);
                        taken.push(Taken::Entry(Self::arrival(id, pending.count)));
                    }
                }
                self.machine.took(if answers { Ok(taken) } else { Err(lost_link()) }, now);
            }
            Action::Read { count } => {
                let mut page = Vec::new();
                while runs
                    && page.len() < count
                    && let Some(id) = world.fresh.pop_front()
                {
                    world.pending.insert(id, Pending { ours: true, since: now, count: 1 });
                    page.push(Self::arrival(id, 1));
                }
                self.machine.read(if answers { Ok(page) } else { Err(lost_link()) }, now);
            }
            Action::Sweep { count, .. } => {
                let mut swept = Vec::new();
                for (id, pending) in &mut world.pending {
                    let idle = now.saturating_duration_since(pending.since) >= terms().min_idle;
                    if runs && idle && swept.len() < count {
                        *pending = Pending { ours: true, since: now, count: pending.count + 1 };
                        swept.push(Self::arrival(*id, pending.count));
                    }
                }
                let swept = Swept { cursor: StreamId::MIN, entries: swept, gone: Vec::new() };
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
                self.machine.leased(if answers { Ok(lost) } else { Err(lost_link()) }, now);
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

    fn answer(&mut self, nth: usize, outcome: Outcome) {
        if !self.running.is_empty() {
            let (id, run) = self.running[nth % self.running.len()];
            self.end(id);
            self.machine.handled(id, run, Handled::Done(outcome), self.now);
        }
    }

    /// A peer takes over what has been idle, and hands it back the same way later.
    fn steal(&mut self) {
        let min_idle = terms().min_idle;
        for pending in self.world.pending.values_mut() {
            if self.now.saturating_duration_since(pending.since) >= min_idle {
                *pending = Pending { ours: false, since: self.now, count: pending.count + 1 };
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add,
    Serve { nth: usize, runs: bool, answers: bool },
    Answer(usize, u8),
    Wait(u64),
    Steal,
    Pause,
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Add),
        8 => any::<usize>().prop_map(|nth| Step::Serve { nth, runs: true, answers: true }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(nth, runs)| Step::Serve { nth, runs, answers: false }),
        5 => (any::<usize>(), any::<u8>()).prop_map(|(nth, outcome)| Step::Answer(nth, outcome)),
        3 => (0..200u64).prop_map(Step::Wait),
        1 => Just(Step::Steal),
        1 => Just(Step::Resume),
        1 => prop_oneof![3 => Just(Step::Resume), 1 => Just(Step::Pause)],
    ];
    proptest::collection::vec(step, 0..400)
}

fn outcome(choice: u8) -> Outcome {
    match choice % 16 {
        0 | 1 => Outcome::Retry,
        2 => Outcome::Reject("no".to_owned()),
        3 => Outcome::Release,
        4 => Outcome::PauseFor(Duration::from_millis(u64::from(choice))),
        5 => Outcome::RetryAfter(Duration::from_millis(u64::from(choice) * 3)),
        _ => Outcome::Ack,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// After any history, once the world is kind again, every entry is acknowledged or among the dead
    /// letters, in exactly one of both, and nothing is left in hand.
    #[test]
    fn every_entry_ends_in_exactly_one_place(steps in steps()) {
        let mut test = Test::new();
        for step in steps {
            match step {
                Step::Add => test.add(),
                Step::Serve { nth, runs, answers } => test.serve(nth, runs, answers),
                Step::Answer(nth, choice) => test.answer(nth, outcome(choice)),
                Step::Wait(ms) => test.now += Duration::from_millis(ms),
                Step::Steal => test.steal(),
                Step::Pause => test.machine.pause(),
                Step::Resume => test.machine.resume(test.now),
            }
            test.look();
        }
        test.machine.resume(test.now);
        for _ in 0..2_000 {
            test.look();
            if test.world.pending.is_empty() && test.world.fresh.is_empty() && test.machine.book().len() == 0 {
                break;
            }
            for _ in 0..test.asked.len() {
                test.serve(0, true, true);
                test.look();
            }
            test.answer(0, Outcome::Ack);
            test.now += Duration::from_millis(20);
        }
        let World { pending, fresh, acked, dead, added } = &test.world;
        prop_assert!(fresh.is_empty() && pending.is_empty(), "left: {} new, {pending:?}, {} with {:?}, asked {:?}", fresh.len(), test.machine.state(), test.machine.book(), test.asked);
        prop_assert_eq!(acked.len() + dead.len(), *added as usize);
        prop_assert!(acked.is_disjoint(dead));
        prop_assert_eq!(test.machine.book().len(), 0);
    }
}
