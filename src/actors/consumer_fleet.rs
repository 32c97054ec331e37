//! Several streams in one consumer: an engine for each, and one set of handlers that they share.

use std::{cell::RefCell, rc::Rc, sync::Arc, task::Context};

use actix::Recipient;
use tokio::sync::oneshot;

use super::consumer_engine::{ConsumerEngine, LaneOf, Shared};
use super::consumer_errands::Errands;
use super::stream_consumer::{DrainReport, Engine, Order};
use crate::core::consumer::{Terms, turns::Turns};
use crate::streams::delivery::FromEntry;
use crate::streams::events::StreamEvent;
use crate::streams::inbox::sealed::Inbox;

/// So many rounds before other actors of this thread get their turn.
const ROUNDS: usize = 8;

/// Everything a consumer is made from.
pub(crate) struct Parts<T> {
    pub(crate) terms: Terms,
    /// Its streams, with their weights.
    pub(crate) streams: Vec<(Arc<Errands>, u32)>,
    pub(crate) inbox: Box<dyn Inbox<T>>,
    pub(crate) lane: Option<LaneOf<T>>,
    pub(crate) events: Vec<Recipient<StreamEvent>>,
}

impl<T: FromEntry> Parts<T> {
    pub(crate) fn into_engine(self) -> Box<dyn Engine> {
        let Self { terms, streams, inbox, lane, events } = self;
        let shared = Rc::new(Shared { inbox, lane, events: RefCell::new(events) });
        let turns = Turns::new(streams.iter().map(|(_, weight)| *weight));
        let max_in_flight = terms.max_in_flight;
        let engine = |(errands, _)| ConsumerEngine::new(terms.clone(), errands, shared.clone());
        let mut engines: Vec<_> = streams.into_iter().map(engine).collect();
        match engines.pop() {
            Some(only) if engines.is_empty() => Box::new(only),
            last => {
                engines.extend(last);
                Box::new(Fleet { engines, turns, max_in_flight })
            }
        }
    }
}

/// See the module.
struct Fleet<T: FromEntry> {
    engines: Vec<ConsumerEngine<T>>,
    turns: Turns,
    max_in_flight: usize,
}

impl<T: FromEntry> Fleet<T> {
    /// Shares out the handlers that are free. Returns how many found somebody with work for them.
    fn share_out(&mut self) -> usize {
        let ready: Vec<usize> = self.engines.iter().map(ConsumerEngine::ready).collect();
        let running: usize = self.engines.iter().map(ConsumerEngine::running).sum();
        let mut shares = vec![0; ready.len()];
        let free = self.max_in_flight.saturating_sub(running);
        let mut given = 0;
        while given < free {
            let has_more = |nth: usize| shares.get(nth).zip(ready.get(nth)).is_some_and(|(share, ready)| share < ready);
            let Some(share) = self.turns.next(has_more).and_then(|nth| shares.get_mut(nth)) else { break };
            *share += 1;
            given += 1;
        }
        for (engine, share) in self.engines.iter_mut().zip(shares) {
            engine.allow(share);
        }
        given
    }
}

impl<T: FromEntry> Engine for Fleet<T> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        // A page may have come while handlers are free.
        for _ in 0..ROUNDS {
            let given = self.share_out();
            for engine in &mut self.engines {
                engine.poll(cx);
            }
            let unused: usize = self.engines.iter().map(ConsumerEngine::allowance).sum();
            let more = self.engines.iter().any(|engine| engine.ready() > 0);
            let running: usize = self.engines.iter().map(ConsumerEngine::running).sum();
            let stuck = given > 0 && unused == given;
            if !more || stuck || running >= self.max_in_flight {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Pause => self.engines.iter_mut().for_each(|engine| engine.order(Order::Pause)),
            Order::Resume => self.engines.iter_mut().for_each(|engine| engine.order(Order::Resume)),
            Order::Drain { within, done } => {
                let mut reports = Vec::new();
                for engine in &mut self.engines {
                    let (done, report) = oneshot::channel();
                    engine.order(Order::Drain { within, done });
                    reports.push(report);
                }
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
                let _ = done.send(self.engines.iter_mut().map(ConsumerEngine::stats).collect());
            }
        }
    }

    fn abandoned(&mut self) {
        self.engines.iter_mut().for_each(Engine::abandoned);
    }

    fn restarted(&mut self, reason: String) {
        self.engines.iter_mut().for_each(|engine| engine.restarted(reason.clone()));
    }

    fn abort(&mut self) {
        self.engines.iter_mut().for_each(Engine::abort);
    }

    fn is_closed(&self) -> bool {
        self.engines.iter().all(Engine::is_closed)
    }
}
