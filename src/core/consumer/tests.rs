//! The machine against a server that lives in memory, driven by chance: whatever is lost, delayed and
//! answered, no entry is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::failure::{Failure, FailureKind};
use super::ground::{Bed, Ensured, Start, start};
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
        ordered: false,
        stall_after: Duration::from_secs(10),
        look_every: Duration::from_millis(100),
        forget_after: None,
    }
}

fn no_group() -> Failure {
    Failure { kind: FailureKind::NoGroup, error: Error::new(ErrorKind::Server, Fate::Rejected, "no group") }
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
    destroyed: bool,
}

impl World {
    fn ground(&self) -> Ground {
        let first_fresh = self.fresh.front().map_or(self.added, |id| id.ms - 1);
        let lowest = self.pending.keys().next().map_or(first_fresh, |id| (id.ms - 1).min(first_fresh));
        let last_id = StreamId::new(self.added, 0);
        Ground { floor: StreamId::new(lowest, 0), last_id, added: None, lag: Some(self.fresh.len() as u64), pending: 0 }
    }
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
        if !self.world.destroyed {
            self.world.fresh.push_back(StreamId::new(self.world.added, 0));
        }
    }

    /// The group goes, with what was pending in it.
    fn destroy(&mut self) {
        self.world.destroyed = true;
        self.world.pending.clear();
        self.world.fresh.clear();
    }

    /// This process dies, and one of the same name takes its place.
    fn crash(&mut self) {
        self.machine = Consumer::new(terms(), self.now, fastrand::Rng::with_seed(7));
        self.asked.clear();
        self.running.clear();
        self.lanes.clear();
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
                Action::Tell(_) | Action::SignalLost { .. } | Action::Sever { .. } => {}
                Action::Unblock { .. } => {}
                asked => self.asked.push(asked),
            }
        }
        assert!(self.machine.book().held() <= terms().window() + terms().batch + 1, "more in hand than allowed");
    }

    fn page(&mut self, page: Vec<Arrival<StreamId>>) {
        self.asked.extend(self.machine.page_came(page.len(), page.len() * 10, self.now));
        self.machine.page_read(page, self.now);
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
            Action::Look => {
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
            Action::Read { count } => {
                let mut page = Vec::new();
                while runs
                    && page.len() < count
                    && let Some(id) = world.fresh.pop_front()
                {
                    world.pending.insert(id, Pending { ours: true, since: now, count: 1 });
                    page.push(Self::arrival(id, 1));
                }
                if answers {
                    self.page(page);
                } else {
                    self.machine.read_failed(lost_link(), now);
                }
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
    Destroy,
    Crash,
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
        1 => prop_oneof![6 => Just(Step::Resume), 1 => Just(Step::Destroy), 1 => Just(Step::Crash)],
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
    /// letters, and nothing is left in hand. Only what a lost group had forgotten may be both.
    #[test]
    fn every_entry_ends_in_exactly_one_place(steps in steps()) {
        let mut test = Test::new();
        let mut lost_groups = 0;
        for step in steps {
            match step {
                Step::Add => test.add(),
                Step::Serve { nth, runs, answers } => test.serve(nth, runs, answers),
                Step::Answer(nth, choice) => test.answer(nth, outcome(choice)),
                Step::Wait(ms) => test.now += Duration::from_millis(ms),
                Step::Steal => test.steal(),
                Step::Pause => test.machine.pause(),
                Step::Resume => test.machine.resume(test.now),
                Step::Crash => test.crash(),
                Step::Destroy => {
                    lost_groups += 1;
                    test.destroy();
                }
            }
            test.look();
        }
        test.machine.resume(test.now);
        test.settle();
        let World { pending, fresh, acked, dead, added, .. } = &test.world;
        prop_assert!(fresh.is_empty() && pending.is_empty(), "left: {} new, {pending:?}, {} with {:?}, asked {:?}", fresh.len(), test.machine.state(), test.machine.book(), test.asked);
        prop_assert_eq!(acked.union(dead).count(), *added as usize);
        prop_assert!(lost_groups > 0 || acked.is_disjoint(dead));
        prop_assert_eq!(test.machine.book().len(), 0);
    }

    /// An entry that takes the process down whenever it is handled ends among the dead letters after as many
    /// processes as it may be delivered, and alone: however often they were read or taken over with it, the budget
    /// of its neighbours is their own.
    #[test]
    fn a_poisonous_entry_takes_no_neighbour_with_it(
        entries in 1..30u64, poison in 1..30u64, order in proptest::collection::vec(any::<usize>(), 50),
    ) {
        let poison = StreamId::new(poison.min(entries), 0);
        let mut test = Test::new();
        (0..entries).for_each(|_| test.add());
        let (mut deaths, mut order) = (0, order.into_iter().cycle());
        for _ in 0..5_000 {
            test.look();
            if test.running.iter().any(|(id, _)| *id == poison) {
                deaths += 1;
                test.crash();
                continue;
            }
            if test.world.acked.len() + test.world.dead.len() == entries as usize {
                break;
            }
            let nth = order.next().unwrap_or_default();
            test.serve(nth, true, true);
            if nth % 3 == 0 {
                test.answer(nth, Outcome::Ack);
            }
            test.now += Duration::from_millis(1);
        }
        prop_assert_eq!(&test.world.dead, &BTreeSet::from([poison]));
        prop_assert_eq!(test.world.acked.len() as u64, entries - 1);
        prop_assert_eq!(deaths, terms().max_deliveries);
    }
}

impl Test {
    /// The world is kind from now on.
    fn settle(&mut self) {
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

#[test]
fn who_bears_a_name_that_is_taken_reads_nothing_and_settles_nothing() {
    let mut test = Test::new();
    (0..4).for_each(|_| test.add());
    for _ in 0..40 {
        test.look();
        test.serve(0, true, true);
        test.now += Duration::from_millis(1);
    }
    assert_eq!(test.running.len(), 3, "{:?}", test.asked);
    test.machine.named(Ok(Holder::Somebody("other".to_owned())), test.now);
    let (id, run) = test.running[0];
    test.machine.handled(id, run, Handled::Done(Outcome::Reject("no".to_owned())), test.now);
    let mut asked = Vec::new();
    let mut told = 0;
    while let Some(action) = test.machine.next(test.now) {
        match action {
            Action::Tell(Told::NameTaken { .. }) => told += 1,
            Action::Tell(_) | Action::SignalLost { .. } | Action::Unblock { .. } => {}
            other => asked.push(other),
        }
    }
    assert_eq!(told, 1);
    assert!(asked.is_empty(), "{asked:?}");
    assert_eq!(test.machine.state(), "waiting for its name");
    assert_eq!(test.machine.book().len(), 2, "those with a handler");
}

#[test]
fn who_stood_still_asks_what_is_still_its_own() {
    let mut test = Test::new();
    for _ in 0..40 {
        test.look();
        if matches!(test.asked.as_slice(), [Action::Read { .. }]) {
            break;
        }
        test.serve(0, true, true);
        test.now += Duration::from_millis(1);
    }
    (0..2).for_each(|_| test.add());
    let Some(Action::Read { count }) = test.asked.pop() else { panic!("{:?}", test.asked) };
    // The server answers, and nobody is there to hear it until somebody else has taken the first one over.
    test.asked.push(Action::Read { count });
    test.now += Duration::from_secs(5);
    let (first, second) = (StreamId::new(1, 0), StreamId::new(2, 0));
    for id in [first, second] {
        test.world.pending.insert(id, Pending { ours: id == second, since: test.now, count: 1 });
    }
    test.world.fresh.clear();
    test.look();
    let read = test.asked.iter().position(|action| matches!(action, Action::Read { .. })).expect("under way");
    test.asked.remove(read);
    test.page(vec![Test::arrival(first, 1), Test::arrival(second, 1)]);
    test.look();
    assert!(test.running.is_empty(), "nothing before the server was asked");
    for _ in 0..20 {
        test.serve(0, true, true);
        test.look();
    }
    assert_eq!(test.running.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [second]);
}

/// Ablation: when a group that is gone starts the pauses anew, as many reads as there are turns.
#[test]
fn a_server_that_contradicts_itself_is_not_asked_without_a_pause() {
    let mut test = Test::new();
    let (mut reads, mut setups) = (0, 0);
    for _ in 0..10_000 {
        test.look();
        match test.asked.pop() {
            // There is a group for whoever creates one, and none for whoever reads.
            Some(Action::Read { .. }) => {
                reads += 1;
                test.machine.read_failed(no_group(), test.now);
            }
            Some(other) => {
                setups += u32::from(matches!(other, Action::EnsureGroup { .. }));
                test.asked.push(other);
                let last = test.asked.len() - 1;
                test.serve(last, true, true);
            }
            None => {}
        }
        test.now += Duration::from_millis(1);
    }
    assert!((3..60).contains(&reads) && (3..60).contains(&setups), "{reads} reads, {setups} setups in 10 s");
}

/// Ablation: swept at once, the first one of those who stood still together takes over what the others still work on.
#[test]
fn who_stood_still_lets_others_renew_before_it_sweeps() {
    let mut test = Test::new();
    sweeping(&mut test);
    test.machine.swept(Ok(Swept { clock: 0, claims: Some(Claims::default()) }), test.now);
    for _ in 0..2 {
        test.look();
        test.now += Duration::from_secs(5);
        let woke = test.now;
        sweeping(&mut test);
        assert!(test.now - woke >= terms().min_idle / 3, "{:?}", test.now - woke);
        // Who stands still all the time sweeps all the same.
        test.machine.swept(Ok(Swept { clock: 0, claims: Some(Claims::default()) }), test.now);
    }
    test.look();
    test.now += Duration::from_secs(5);
    test.look();
    test.now += Duration::from_secs(5);
    let woke = test.now;
    sweeping(&mut test);
    assert_eq!(test.now, woke);
}

/// Answers what is asked until it is a sweep, and returns that.
fn sweeping(test: &mut Test) -> Action<StreamId> {
    for _ in 0..1_000 {
        test.look();
        if let Some(nth) = test.asked.iter().position(|action| matches!(action, Action::Sweep { .. })) {
            return test.asked.remove(nth);
        }
        if let Some(nth) = test.asked.iter().position(|action| !matches!(action, Action::Read { .. })) {
            test.serve(nth, true, true);
        } else {
            test.now += Duration::from_millis(1);
        }
    }
    panic!("no sweep: {:?}", test.asked)
}
