//! The engine behind a consumer: it carries out what the machine of [`crate::streams::machine`] decides, and
//! tells it what came of that.

mod delivery;
mod dispatch;
mod shared_state;
mod stats;

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix::Recipient;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use tokio::{sync::oneshot, time::Sleep};

use super::consumer_commands::Errands;
use super::lease_renewer;
use super::meters::Meters;
use crate::actors::connection::Sever;
use crate::actors::stream_consumer::{DrainReport, Engine, Order};
use crate::clock::FOREVER;
use crate::messages::stream_id::StreamId;
use crate::messages::streams_replies::StreamEntry;
use crate::streams::delivery::{FromEntry, RawFields};
use crate::streams::events::{ConsumerName, StreamEvent, StreamEventKind};
use crate::streams::fence::fence;
use crate::streams::inbox::{Answer, Answered, sealed::Inbox};
use crate::streams::machine::failure::Failure;
use crate::streams::machine::ids::IdMap;
use crate::streams::machine::lease_book::Stage;
use crate::streams::machine::{Arrival, Consumer, Peeked, Taken, Terms};
use delivery::Gathered;
use dispatch::{Errand, Report};
use shared_state::{Desk, SharedDesk, open};

/// How long a consumer whose last handle is gone takes to finish.
const FAREWELL: Duration = Duration::from_secs(10);
/// So many rounds before other actors of this thread get their turn.
const ROUNDS: usize = 32;

/// Which lane an entry belongs to.
pub(crate) type LaneOf<T> = Box<dyn Fn(&T) -> u64 + Send>;

/// What the streams of one consumer have in common.
pub(crate) struct Shared<T> {
    pub(crate) inbox: Box<dyn Inbox<T>>,
    pub(crate) lane: Option<LaneOf<T>>,
    pub(crate) events: RefCell<Vec<Recipient<StreamEvent>>>,
}

/// A decoded entry that waits for its handler.
struct Parcel<T> {
    fields: RawFields,
    /// Gone when a handler has it.
    payload: Option<T>,
}

impl<T> Drop for Parcel<T> {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.take() {
            fence(|| drop(payload));
        }
    }
}

/// What has come, with payloads decoded.
enum Arrived<T> {
    Page(Vec<Arrival<Parcel<T>>>),
    Answer(Answered),
    Took(Result<Vec<Taken<Parcel<T>>>, Failure>),
    Peeked(Result<Vec<(StreamId, Peeked)>, Failure>),
    Report(Report),
}

/// See the module.
pub(crate) struct ConsumerEngine<T: FromEntry> {
    terms: Terms,
    /// Gone when it is over: it holds connections and somebody else's actor.
    living: Option<Living<T>>,
    desk: SharedDesk<T>,
    /// The link that the machine believes the reader to have.
    generation: u64,
    stream: Arc<str>,
    client: Option<i64>,
    errands: FuturesUnordered<Errand>,
    /// Pages are taken in the order in which they were asked for.
    reads: FuturesOrdered<Errand>,
    handlers: FuturesUnordered<Answer>,
    /// What came, a page or two.
    undecoded: Vec<StreamEntry>,
    /// Pages that came while the next read was sent.
    early: Vec<Report>,
    /// When the handler's actor last answered, and the last of all runs that it has answered.
    heard: (Instant, u64),
    /// Entries for one batch, until all is gathered that can be.
    gathered: Vec<Gathered<T>>,
    /// When each XACK that is under way was sent.
    acking: HashMap<u64, Instant>,
    meters: Meters,
    delivered: u64,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    drains: Vec<oneshot::Sender<DrainReport>>,
    drain_until: Option<Instant>,
    paused: bool,
    report: DrainReport,
}

struct Living<T> {
    errands: Arc<Errands>,
    name: Arc<ConsumerName>,
    shared: Rc<Shared<T>>,
}

impl<T: FromEntry> ConsumerEngine<T> {
    pub(crate) fn new(terms: Terms, errands: Arc<Errands>, shared: Rc<Shared<T>>) -> Self {
        let name = Arc::new(errands.name.clone());
        let now = Instant::now();
        let machine = Consumer::new(terms.clone(), now, fastrand::Rng::new());
        let desk = Arc::new(Mutex::new(Desk { machine, leases: IdMap::default(), turned: now }));
        lease_renewer::watch(Arc::downgrade(&desk), errands.clone(), terms.min_idle / 3);
        Self {
            desk,
            terms,
            stream: errands.name.stream.clone(),
            living: Some(Living { errands, name, shared }),
            generation: 0,
            client: None,
            errands: FuturesUnordered::new(),
            reads: FuturesOrdered::new(),
            handlers: FuturesUnordered::new(),
            undecoded: Vec::new(),
            early: Vec::new(),
            heard: (now, 0),
            gathered: Vec::new(),
            acking: HashMap::new(),
            meters: Meters::new(now),
            delivered: 0,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            drains: Vec::new(),
            drain_until: None,
            paused: false,
            report: DrainReport::default(),
        }
    }

    fn finish(&mut self, desk: &mut Desk<T>) {
        let Some(living) = self.living.take() else { return };
        let (book, tally) = (desk.machine.book(), desk.machine.tally());
        let unheard = book.count(|stage| matches!(stage, Stage::Leaving(_)));
        self.report = DrainReport {
            unfinished: book.running() + unheard + desk.machine.unwritten(),
            unacknowledged: desk.machine.unacknowledged(),
            handed_back: tally.handed_back,
            delayed: book.count(|stage| matches!(stage, Stage::Delayed { .. } | Stage::Taking))
                + usize::try_from(tally.handed_over).unwrap_or(usize::MAX),
        };
        // A read that is under way makes the consumer anew when it is answered.
        let delete = !desk.machine.is_reading();
        self.let_go();
        desk.leases.clear();
        let errands = living.errands.clone();
        // The ordering key's function is dropped with it.
        fence(|| drop(living));
        let (drains, report) = (std::mem::take(&mut self.drains), self.report);
        let left = self.drain_until.map_or(FAREWELL, |until| until.saturating_duration_since(Instant::now()));
        actix::spawn(async move {
            let leaving = async {
                // Nothing of use is under way on it.
                let reader = errands.reader.clone();
                let _ = reader.shutdown(Duration::ZERO).await;
                errands.farewell(delete).await;
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
    fn let_go(&mut self) {
        self.errands.clear();
        self.reads.clear();
        let handlers = std::mem::take(&mut self.handlers);
        fence(|| drop(handlers));
        self.undecoded.clear();
        self.early.clear();
        self.gathered.clear();
    }

    /// What has come since the last look. All code of the user's that this takes runs here, outside the lock: the lease
    /// renewer has to look in whatever a payload takes to decode.
    fn gather(&mut self, cx: &mut Context<'_>) -> Vec<Arrived<T>> {
        let mut arrived = Vec::new();
        if !self.undecoded.is_empty() {
            let page = std::mem::take(&mut self.undecoded);
            arrived.push(Arrived::Page(page.into_iter().map(|entry| self.arrival(entry)).collect()));
        }
        while let Poll::Ready(Some(answered)) = self.handlers.poll_next_unpin(cx) {
            arrived.push(Arrived::Answer(answered));
        }
        for report in std::mem::take(&mut self.early) {
            arrived.push(self.digest(report));
        }
        while let Poll::Ready(Some(report)) = self.reads.poll_next_unpin(cx) {
            arrived.push(self.digest(report));
        }
        while let Poll::Ready(Some(report)) = self.errands.poll_next_unpin(cx) {
            arrived.push(self.digest(report));
        }
        arrived
    }

    fn take_in(&mut self, desk: &mut Desk<T>, arrived: Arrived<T>, now: Instant) {
        match arrived {
            Arrived::Page(page) => desk.machine.page_read(page, now),
            Arrived::Answer(answered) => self.all_answered(desk, answered, now),
            Arrived::Took(taken) => desk.machine.took(taken, now),
            Arrived::Peeked(peeked) => desk.machine.peeked(peeked, now),
            Arrived::Report(report) => self.reported(desk, report, now),
        }
    }

    /// Carries out all there is to do. Returns whether there was something.
    fn act_all(&mut self, desk: &mut Desk<T>, now: Instant) -> bool {
        let mut acted = false;
        while let Some(action) = desk.machine.next(now) {
            acted = true;
            self.act(desk, action, now);
        }
        self.hand_over(desk, now);
        acted
    }

    /// Arms the one timer. Returns whether it has fired.
    fn poll_timer(&mut self, desk: &Desk<T>, cx: &mut Context<'_>) -> bool {
        let Some(next) = desk.machine.wake_at() else { return false };
        if self.armed != Some(next) {
            self.timer.as_mut().reset(next.into());
            self.armed = Some(next);
        }
        let fired = self.timer.as_mut().poll(cx).is_ready();
        if fired {
            self.armed = None;
        }
        fired
    }
}

impl<T: FromEntry> Engine for ConsumerEngine<T> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        let desk = self.desk.clone();
        for _ in 0..ROUNDS {
            if self.living.is_none() {
                return;
            }
            let arrived = self.gather(cx);
            let mut busy = !arrived.is_empty();
            let now = Instant::now();
            let desk = &mut *open(&desk);
            desk.turned = now;
            let tally = desk.machine.tally();
            self.meters.mark([tally.read, self.delivered, tally.acked], now);
            for arrived in arrived {
                self.take_in(desk, arrived, now);
            }
            busy |= self.act_all(desk, now);
            if !self.undecoded.is_empty() {
                // The reader gets its turn first, and sends the read that comes next.
                while let Poll::Ready(Some(report)) = self.reads.poll_next_unpin(cx) {
                    self.early.push(report);
                }
                break;
            }
            if !busy && !self.poll_timer(desk, cx) {
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
                open(&self.desk).machine.pause(now);
            }
            Order::Resume => {
                self.paused = false;
                open(&self.desk).machine.resume(now);
            }
            Order::Drain { done, .. } if self.living.is_none() => {
                let _ = done.send(self.report);
            }
            Order::Drain { within, done } => {
                self.drains.push(done);
                let until = now + within.min(FOREVER);
                self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
                open(&self.desk).machine.drain(until);
            }
            Order::Stats(done) => {
                let _ = done.send(vec![self.stats()]);
            }
        }
    }

    fn abandoned(&mut self) {
        let mut desk = open(&self.desk);
        if !desk.machine.is_draining() {
            desk.machine.drain(Instant::now() + FAREWELL);
        }
    }

    /// What was half done is suspect: everything in hand is pending on the server, and begins anew.
    fn restarted(&mut self, reason: String) {
        self.let_go();
        self.acking.clear();
        let mut desk = open(&self.desk);
        for (_, lease) in desk.leases.drain() {
            lease.lose();
        }
        let (ground, tally) = (desk.machine.ground(), *desk.machine.tally());
        desk.machine = Consumer::new(self.terms.clone(), Instant::now(), fastrand::Rng::new());
        desk.machine.succeed(self.client, ground, tally);
        // What was asked of the consumer holds for its successor.
        if self.paused {
            desk.machine.pause(Instant::now());
        }
        if let Some(until) = self.drain_until {
            desk.machine.drain(until);
        }
        drop(desk);
        if let Some(living) = &mut self.living {
            living.errands.reader.actor().do_send(Sever("the consumer was restarted"));
            living.tell(StreamEventKind::Restarted { reason });
        }
    }

    fn abort(&mut self) {
        if let Some(living) = &mut self.living {
            living.tell(StreamEventKind::Closed);
        }
        let desk = self.desk.clone();
        self.finish(&mut open(&desk));
    }

    fn is_closed(&self) -> bool {
        self.living.is_none()
    }
}

impl<T> Living<T> {
    fn tell(&self, kind: StreamEventKind) {
        let event = StreamEvent { consumer: self.errands.name.clone(), kind };
        event.log();
        // A recipient is a strong address: one whose actor is gone would be kept for ever.
        self.shared.events.borrow_mut().retain(|recipient| {
            recipient.do_send(event.clone());
            recipient.connected()
        });
    }
}
