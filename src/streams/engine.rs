//! The engine behind a consumer: it carries out what the machine of [`crate::streams::machine`] decides, and
//! tells it what came of that.

mod delivery;
mod dispatch;
mod process_spans;
mod shared_state;
mod stats;

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix::Recipient;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use tokio::sync::oneshot;

use super::consumer_commands::ConsumerCommands;
use super::lease_renewer;
use super::meters::Meters;
use crate::actors::connection::Disconnect;
use crate::actors::stream_consumer::{DrainReport, Engine, Order};
use crate::clock::FOREVER;
use crate::connection::deadline_timer::DeadlineTimer;
use crate::messages::stream_id::StreamId;
use crate::messages::streams_replies::StreamEntry;
use crate::streams::delivery::{FromEntry, RawFields};
use crate::streams::events::{ConsumerName, StreamEvent, StreamEventKind};
use crate::streams::fence::fence;
use crate::streams::inbox::{Answer, Answered, sealed::Inbox};
use crate::streams::machine::failure::Failure;
use crate::streams::machine::ids::IdMap;
use crate::streams::machine::lease_book::EntryStage;
use crate::streams::machine::{Arrival, Consumer, OrderPosition, TakeReply, Terms};
use delivery::CommandsQueued;
use dispatch::{CommandFuture, Report};
use process_spans::ProcessSpans;
use shared_state::{EngineState, SharedEngineState, open};

/// How long a consumer whose last handle is gone takes to finish.
const FAREWELL: Duration = Duration::from_secs(10);
/// So many rounds before other actors of this thread get their turn.
const ROUNDS: usize = 32;

/// Which lane an entry belongs to.
pub(crate) type OrderingKeyFn<T> = Box<dyn Fn(&T) -> u64 + Send>;

/// What the streams of one consumer have in common.
pub(crate) struct Shared<T> {
    pub(crate) inbox: Box<dyn Inbox<T>>,
    pub(crate) order_key: Option<OrderingKeyFn<T>>,
    pub(crate) events: RefCell<Vec<Recipient<StreamEvent>>>,
}

/// A decoded entry that waits for its handler.
struct DecodedEntry<T> {
    fields: RawFields,
    /// Gone when a handler has it.
    payload: Option<T>,
}

impl<T> Drop for DecodedEntry<T> {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.take() {
            fence(|| drop(payload));
        }
    }
}

/// What has come, with payloads decoded.
enum DecodedReport<T> {
    Page(Vec<Arrival<DecodedEntry<T>>>),
    Answer(Answered),
    Took(Result<Vec<TakeReply<DecodedEntry<T>>>, Failure>),
    OrderPosition(Result<Vec<(StreamId, OrderPosition)>, Failure>),
    Report(Report),
}

/// See the module.
pub(crate) struct ConsumerEngine<T: FromEntry> {
    terms: Terms,
    /// Gone when it is over: it holds connections and somebody else's actor.
    owned_state: Option<OwnedEngineState<T>>,
    engine_state: SharedEngineState<T>,
    /// The link that the machine believes the reader to have.
    generation: u64,
    stream: Arc<str>,
    client: Option<i64>,
    commands: FuturesUnordered<CommandFuture>,
    /// Pages are taken in the order in which they were asked for.
    reads: FuturesOrdered<CommandFuture>,
    handlers: FuturesUnordered<Answer>,
    /// What came, a page or two.
    undecoded: Vec<StreamEntry>,
    /// Pages that came while the next read was sent.
    early: Vec<Report>,
    /// When the handler's actor last answered, and the last of all runs that it has answered.
    heard: (Instant, u64),
    /// Entries for one batch, until all is gathered that can be.
    gathered: Vec<CommandsQueued<T>>,
    /// When each XACK that is under way was sent.
    acking: HashMap<u64, Instant>,
    meters: Meters,
    process_spans: ProcessSpans,
    delivered: u64,
    timer: DeadlineTimer,
    drains: Vec<oneshot::Sender<DrainReport>>,
    drain_until: Option<Instant>,
    paused: bool,
    report: DrainReport,
}

struct OwnedEngineState<T> {
    commands: Arc<ConsumerCommands>,
    name: Arc<ConsumerName>,
    shared: Rc<Shared<T>>,
}

impl<T: FromEntry> ConsumerEngine<T> {
    pub(crate) fn new(terms: Terms, commands: Arc<ConsumerCommands>, shared: Rc<Shared<T>>) -> Self {
        let name = Arc::new(commands.name.clone());
        let now = Instant::now();
        let machine = Consumer::new(terms.clone(), now, fastrand::Rng::new());
        let engine_state = Arc::new(Mutex::new(EngineState { machine, leases: IdMap::default(), turned: now }));
        lease_renewer::watch(Arc::downgrade(&engine_state), commands.clone(), terms.min_idle / 3);
        Self {
            engine_state,
            terms,
            stream: commands.name.stream.clone(),
            owned_state: Some(OwnedEngineState { commands, name, shared }),
            generation: 0,
            client: None,
            commands: FuturesUnordered::new(),
            reads: FuturesOrdered::new(),
            handlers: FuturesUnordered::new(),
            undecoded: Vec::new(),
            early: Vec::new(),
            heard: (now, 0),
            gathered: Vec::new(),
            acking: HashMap::new(),
            meters: Meters::new(now),
            process_spans: ProcessSpans::default(),
            delivered: 0,
            timer: DeadlineTimer::new(),
            drains: Vec::new(),
            drain_until: None,
            paused: false,
            report: DrainReport::default(),
        }
    }

    fn finish(&mut self, engine_state: &mut EngineState<T>) {
        let Some(owned_state) = self.owned_state.take() else { return };
        let (book, tally) = (engine_state.machine.book(), engine_state.machine.tally());
        let unheard = book.count(|stage| matches!(stage, EntryStage::Leaving(_)));
        self.report = DrainReport {
            unfinished: book.running() + unheard + engine_state.machine.unwritten(),
            unacknowledged: engine_state.machine.unacknowledged(),
            handed_back: tally.handed_back,
            delayed: book.count(|stage| matches!(stage, EntryStage::Delayed { .. } | EntryStage::Taking))
                + usize::try_from(tally.handed_over).unwrap_or(usize::MAX),
        };
        // A read that is under way makes the consumer anew when it is answered.
        let delete = !engine_state.machine.is_reading();
        self.release_all();
        engine_state.leases.clear();
        let commands = owned_state.commands.clone();
        // The ordering key's function is dropped with it.
        fence(|| drop(owned_state));
        let (drains, report) = (std::mem::take(&mut self.drains), self.report);
        let left = self.drain_until.map_or(FAREWELL, |until| until.saturating_duration_since(Instant::now()));
        actix::spawn(async move {
            let leaving = async {
                // Nothing of use is under way on it.
                let reader = commands.reader.clone();
                let _ = reader.shutdown(Duration::ZERO).await;
                commands.remove_consumer(delete).await;
            };
            let mut leaving = std::pin::pin!(leaving);
            // Whoever drains may shut the connection down after that; but a server that is gone must not make them wait.
            let over = tokio::time::timeout(left, &mut leaving).await.is_ok();
            for done in drains {
                let _ = done.send(report);
            }
            if !over {
                leaving.await;
            }
        });
    }

    /// Lets go of everything under way. Answers of handlers may be among it, whose drop is the user's code.
    fn release_all(&mut self) {
        self.commands.clear();
        self.reads.clear();
        let handlers = std::mem::take(&mut self.handlers);
        fence(|| drop(handlers));
        self.undecoded.clear();
        self.early.clear();
        self.gathered.clear();
    }

    /// What has come since the last look. All code of the user's that this takes runs here, outside the lock: the lease
    /// renewer has to look in whatever a payload takes to decode.
    fn gather(&mut self, cx: &mut Context<'_>) -> Vec<DecodedReport<T>> {
        let mut arrived = Vec::new();
        if !self.undecoded.is_empty() {
            let page = std::mem::take(&mut self.undecoded);
            arrived.push(DecodedReport::Page(page.into_iter().map(|entry| self.arrival(entry)).collect()));
        }
        while let Poll::Ready(Some(answered)) = self.handlers.poll_next_unpin(cx) {
            arrived.push(DecodedReport::Answer(answered));
        }
        for report in std::mem::take(&mut self.early) {
            arrived.push(self.digest(report));
        }
        while let Poll::Ready(Some(report)) = self.reads.poll_next_unpin(cx) {
            arrived.push(self.digest(report));
        }
        while let Poll::Ready(Some(report)) = self.commands.poll_next_unpin(cx) {
            arrived.push(self.digest(report));
        }
        arrived
    }

    fn take_in(&mut self, engine_state: &mut EngineState<T>, arrived: DecodedReport<T>, now: Instant) {
        match arrived {
            DecodedReport::Page(page) => engine_state.machine.page_read(page, now),
            DecodedReport::Answer(answered) => self.all_answered(engine_state, answered, now),
            DecodedReport::Took(taken) => engine_state.machine.took(taken, now),
            DecodedReport::OrderPosition(peeked) => engine_state.machine.peeked(peeked, now),
            DecodedReport::Report(report) => self.reported(engine_state, report, now),
        }
    }

    /// Carries out all there is to do. Returns whether there was something.
    fn act_all(&mut self, engine_state: &mut EngineState<T>, now: Instant) -> bool {
        let mut acted = false;
        while let Some(action) = engine_state.machine.next(now) {
            acted = true;
            self.act(engine_state, action, now);
        }
        self.deliver_ready(engine_state, now);
        acted
    }

    /// Arms the one timer. Returns whether it has fired.
    fn poll_timer(&mut self, engine_state: &EngineState<T>, cx: &mut Context<'_>) -> bool {
        let Some(next) = engine_state.machine.wake_at() else { return false };
        self.timer.poll(next, cx)
    }
}

impl<T: FromEntry> Engine for ConsumerEngine<T> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        let engine_state = self.engine_state.clone();
        for _ in 0..ROUNDS {
            if self.owned_state.is_none() {
                return;
            }
            let arrived = self.gather(cx);
            let mut busy = !arrived.is_empty();
            let now = Instant::now();
            let engine_state = &mut *open(&engine_state);
            engine_state.turned = now;
            let tally = engine_state.machine.tally();
            self.meters.mark([tally.read, self.delivered, tally.acked], now);
            for arrived in arrived {
                self.take_in(engine_state, arrived, now);
            }
            busy |= self.act_all(engine_state, now);
            if !self.undecoded.is_empty() {
                // The reader gets its turn first, and sends the read that comes next.
                while let Poll::Ready(Some(report)) = self.reads.poll_next_unpin(cx) {
                    self.early.push(report);
                }
                break;
            }
            if !busy && !self.poll_timer(engine_state, cx) {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn order(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Pause => {
                self.paused = true;
                open(&self.engine_state).machine.pause(now);
            }
            Order::Resume => {
                self.paused = false;
                open(&self.engine_state).machine.resume(now);
            }
            Order::Drain { done, .. } if self.owned_state.is_none() => {
                let _ = done.send(self.report);
            }
            Order::Drain { within, done } => {
                self.drains.push(done);
                let until = now + within.min(FOREVER);
                self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
                open(&self.engine_state).machine.drain(until);
            }
            Order::Stats(done) => {
                let _ = done.send(vec![self.stats()]);
            }
        }
    }

    fn abandoned(&mut self) {
        let mut engine_state = open(&self.engine_state);
        if !engine_state.machine.is_draining() {
            engine_state.machine.drain(Instant::now() + FAREWELL);
        }
    }

    /// What was half done is suspect: everything in hand is pending on the server, and begins anew.
    fn restarted(&mut self, reason: String) {
        self.release_all();
        self.acking.clear();
        let mut engine_state = open(&self.engine_state);
        for (_, lease) in engine_state.leases.drain() {
            lease.lose();
        }
        let (group_position, tally) = (engine_state.machine.group_position(), *engine_state.machine.tally());
        engine_state.machine = Consumer::new(self.terms.clone(), Instant::now(), fastrand::Rng::new());
        engine_state.machine.succeed(self.client, group_position, tally);
        // What was asked of the consumer holds for its successor.
        if self.paused {
            engine_state.machine.pause(Instant::now());
        }
        if let Some(until) = self.drain_until {
            engine_state.machine.drain(until);
        }
        drop(engine_state);
        if let Some(owned_state) = &mut self.owned_state {
            owned_state.commands.reader.actor().do_send(Disconnect("the consumer was restarted"));
            owned_state.publish(StreamEventKind::Restarted { reason });
        }
    }

    fn abort(&mut self) {
        if let Some(owned_state) = &mut self.owned_state {
            owned_state.publish(StreamEventKind::Closed);
        }
        let engine_state = self.engine_state.clone();
        self.finish(&mut open(&engine_state));
    }

    fn is_closed(&self) -> bool {
        self.owned_state.is_none()
    }
}

impl<T> OwnedEngineState<T> {
    fn publish(&self, kind: StreamEventKind) {
        let event = StreamEvent { consumer: self.commands.name.clone(), kind };
        event.log();
        // A recipient is a strong address: one whose actor is gone would be kept for ever.
        self.shared.events.borrow_mut().retain(|recipient| {
            recipient.do_send(event.clone());
            recipient.connected()
        });
    }
}
