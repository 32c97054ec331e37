//! Several streams in one consumer: an engine for each, and one set of handlers that they share.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Instant,
};

use actix::Recipient;
use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use super::consumer_commands::ConsumerCommands;
use super::engine::{ConsumerEngine, OrderingKeyFn, Shared};
use crate::actors::stream_consumer::{DrainReport, Engine, Order};
use crate::streams::delivery::FromEntry;
use crate::streams::events::StreamEvent;
use crate::streams::inbox::sealed::Inbox;
use crate::streams::machine::Terms;
use crate::streams::machine::fair_turns::WeightedTurns;

/// So many rounds before other actors of this thread get their turn.
const ROUNDS: usize = 8;

/// Everything a consumer is made from.
pub(crate) struct ConsumerParts<T> {
    pub(crate) terms: Terms,
    /// Its streams, with their weights.
    pub(crate) streams: Vec<(Arc<ConsumerCommands>, u32)>,
    pub(crate) inbox: Box<dyn Inbox<T>>,
    pub(crate) order_key: Option<OrderingKeyFn<T>>,
    pub(crate) events: Vec<Recipient<StreamEvent>>,
}

impl<T: FromEntry> ConsumerParts<T> {
    pub(crate) fn into_engine(self) -> Box<dyn Engine> {
        let Self { terms, streams, inbox, order_key, events } = self;
        let shared = Rc::new(Shared { inbox, order_key, events: RefCell::new(events) });
        let turns = WeightedTurns::new(streams.iter().map(|(_, weight)| *weight));
        let max_in_flight = terms.max_in_flight;
        let engine = |(commands, _)| ConsumerEngine::new(terms.clone(), commands, shared.clone());
        let mut engines: Vec<_> = streams.into_iter().map(engine).collect();
        match engines.pop() {
            Some(only) if engines.is_empty() => Box::new(only),
            last => {
                engines.extend(last);
                Box::new(MultiStreamEngine::new(engines, turns, max_in_flight))
            }
        }
    }
}

/// See the module. Only those of its engines are polled that were woken: with a thousand streams a wake-up of one must
/// not cost a thousand polls.
struct MultiStreamEngine<T: FromEntry> {
    engines: Vec<Member<T>>,
    turns: WeightedTurns,
    max_in_flight: usize,
    /// Handlers that work, of all engines.
    running: usize,
    /// The engines that have something for a handler.
    ready: BTreeSet<usize>,
    woken: Arc<Woken>,
    paused_until: Option<Instant>,
    is_abandoned: bool,
}

struct Member<T: FromEntry> {
    engine: ConsumerEngine<T>,
    flag: Arc<MemberWaker>,
    waker: Waker,
    running: usize,
}

/// The engines that were woken since they were last polled, and who is to poll them.
#[derive(Default)]
struct Woken {
    engines: Mutex<Vec<usize>>,
    task: AtomicWaker,
}

struct MemberWaker {
    nth: usize,
    /// It is among the woken ones.
    is_woken: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for MemberWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.woken.engines.lock().unwrap_or_else(PoisonError::into_inner).push(self.nth);
            self.woken.task.wake();
        }
    }
}

impl<T: FromEntry> MultiStreamEngine<T> {
    fn new(engines: Vec<ConsumerEngine<T>>, turns: WeightedTurns, max_in_flight: usize) -> Self {
        let woken = Arc::new(Woken::default());
        let member = |(nth, mut engine): (usize, ConsumerEngine<T>)| {
            engine.allow(0);
            let waker = Arc::new(MemberWaker { nth, is_woken: AtomicBool::new(false), woken: woken.clone() });
            waker.wake_by_ref();
            Member { engine, waker: Waker::from(waker.clone()), flag: waker, running: 0 }
        };
        let engines = engines.into_iter().enumerate().map(member).collect();
        Self {
            engines,
            turns,
            max_in_flight,
            running: 0,
            ready: BTreeSet::new(),
            woken,
            paused_until: None,
            is_abandoned: false,
        }
    }

    /// Shares out the handlers that are free. Returns how many found somebody with work for them, and adds those.
    fn share_out(&mut self, due: &mut BTreeSet<usize>) -> usize {
        let free = self.max_in_flight.saturating_sub(self.running);
        if free == 0 || self.ready.is_empty() {
            return 0;
        }
        let mut left: BTreeMap<usize, usize> = BTreeMap::new();
        for nth in &self.ready {
            let ready = self.engines.get(*nth).map_or(0, |member| member.engine.ready());
            if ready > 0 {
                left.insert(*nth, ready);
            }
        }
        let mut shares: BTreeMap<usize, usize> = BTreeMap::new();
        let mut given = 0;
        while given < free {
            let Some(nth) = self.turns.next_of(left.keys().copied()) else { break };
            *shares.entry(nth).or_default() += 1;
            given += 1;
            if let Some(ready) = left.get_mut(&nth) {
                *ready -= 1;
                if *ready == 0 {
                    left.remove(&nth);
                }
            }
        }
        for (nth, share) in shares {
            if let Some(member) = self.engines.get_mut(nth) {
                member.engine.allow(share);
                due.insert(nth);
            }
        }
        given
    }

    /// Polls one engine. Returns how many handlers it was given and did not use.
    fn poll_one(&mut self, nth: usize) -> usize {
        let Some(member) = self.engines.get_mut(nth) else { return 0 };
        // From here on a wake-up is a new one.
        member.flag.is_woken.store(false, Ordering::Release);
        member.engine.poll(&mut Context::from_waker(&member.waker));
        let unused = member.engine.allowance();
        member.engine.allow(0);
        let running = member.engine.running();
        self.running = self.running + running - std::mem::replace(&mut member.running, running);
        if member.engine.ready() > 0 {
            self.ready.insert(nth);
        } else {
            self.ready.remove(&nth);
        }
        // What the handler depends on is down for all streams.
        let paused = member.engine.paused_until();
        if paused > self.paused_until {
            self.paused_until = paused;
            if let Some(until) = paused {
                let now = Instant::now();
                self.engines.iter_mut().for_each(|member| member.engine.pause_until(until, now));
                self.wake_all();
            }
        }
        unused
    }

    fn wake_all(&self) {
        self.engines.iter().for_each(|member| member.waker.wake_by_ref());
    }

    fn each(&mut self, act: impl FnMut(&mut ConsumerEngine<T>)) {
        self.engines.iter_mut().map(|member| &mut member.engine).for_each(act);
        self.wake_all();
    }
}

impl<T: FromEntry> Engine for MultiStreamEngine<T> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        self.woken.task.register(cx.waker());
        // A page may have come while handlers are free.
        for _ in 0..ROUNDS {
            let woken = std::mem::take(&mut *self.woken.engines.lock().unwrap_or_else(PoisonError::into_inner));
            let mut due: BTreeSet<usize> = woken.into_iter().collect();
            let given = self.share_out(&mut due);
            if due.is_empty() {
                return;
            }
            let mut unused = 0;
            for nth in &due {
                unused += self.poll_one(*nth);
            }
            if given > 0 && unused == given {
                // Those that have something may not hand it out.
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Pause => self.each(|engine| engine.order(Order::Pause)),
            Order::Resume => {
                self.paused_until = None;
                self.each(|engine| engine.order(Order::Resume));
            }
            Order::Drain { within, done } => {
                let mut reports = Vec::new();
                self.each(|engine| {
                    let (done, report) = oneshot::channel();
                    engine.order(Order::Drain { within, done });
                    reports.push(report);
                });
                actix::spawn(async move {
                    let mut whole = DrainReport::default();
                    for report in reports {
                        match report.await {
                            Ok(report) => whole.add(report),
                            Err(_) => return,
                        }
                    }
                    let _ = done.send(whole);
                });
            }
            Order::Stats(done) => {
                let _ = done.send(self.engines.iter_mut().map(|member| member.engine.stats()).collect());
            }
        }
    }

    fn abandoned(&mut self) {
        // This is said at every turn from then on, and whoever is woken makes another turn.
        if !std::mem::replace(&mut self.is_abandoned, true) {
            self.each(Engine::abandoned);
        }
    }

    fn restarted(&mut self, reason: String) {
        self.each(|engine| engine.restarted(reason.clone()));
    }

    fn abort(&mut self) {
        self.each(Engine::abort);
    }

    fn is_closed(&self) -> bool {
        self.engines.iter().all(|member| member.engine.is_closed())
    }
}
