//! The engine behind a consumer: it carries out what the machine of [`crate::core::consumer`] decides, and
//! tells it what came of that.

mod figures;
mod handing;

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix::Recipient;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{sync::oneshot, time::Sleep};

use super::connection::{Introduce, Sever};
use super::consumer_errands::{Counted, Errands};
use super::consumer_meters::Meters;
use super::keeper::{self, Kept};
use super::stream_consumer::{DrainReport, Engine, Order};
use crate::core::FOREVER;
use crate::core::consumer::{
    Action, Burial, Buried, Consumer, Holder, LeaseTerm, Renewed, Swept, Terms,
    failure::Failure,
    ground::{Ensured, Ground},
    ids::IdMap,
    lease_book::Stage,
};
use crate::error::{Error, ErrorKind, Fate};
use crate::messages::{stream_id::StreamId, streams_replies::StreamEntry};
use crate::streams::delivery::{FromEntry, RawFields};
use crate::streams::events::{ConsumerName, StreamEvent, StreamEventKind};
use crate::streams::inbox::{Answer, sealed::Inbox};
use crate::streams::lease::Lease;
use handing::{Gathered, size_of_fields};

/// How long a consumer whose last handle is gone takes to finish.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long one wait for the reader's link may take before it is looked at anew.
const CONNECT: Duration = Duration::from_secs(10);
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
    payload: T,
}

/// What came of an errand.
enum Report {
    Connected(Result<(u64, Option<i64>), Failure>),
    Named(Result<Holder, Failure>),
    Reaped(Result<(), Failure>),
    Ensured(Result<Ensured, Failure>),
    Looked(Result<Option<Ground>, Failure>),
    Forgot(Result<Vec<String>, Failure>),
    Listed(Result<Vec<(StreamId, u64)>, Failure>),
    Took(Result<Vec<Counted>, Failure>),
    Read(Result<Vec<StreamEntry>, Failure>),
    Swept(Result<Swept, Failure>),
    Acked(u64, Result<(), Failure>),
    Leased(Result<Renewed, Failure>),
    Buried(Burial, Result<Buried, Failure>),
    Nothing,
}

type Errand = Pin<Box<dyn Future<Output = Report>>>;

/// What the keeper of leases looks at from its own thread while this one stands still. Locked for a turn.
struct Desk<T> {
    machine: Consumer<Parcel<T>>,
    leases: IdMap<Lease>,
    /// When this thread was last seen to work.
    turned: Instant,
}

type SharedDesk<T> = Arc<Mutex<Desk<T>>>;

fn open<T>(desk: &Mutex<Desk<T>>) -> MutexGuard<'_, Desk<T>> {
    // A turn that panicked is followed by a restart, which puts a new machine there.
    desk.lock().unwrap_or_else(PoisonError::into_inner)
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
    handlers: FuturesUnordered<Answer>,
    /// A page that came.
    undecoded: Vec<StreamEntry>,
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
        keeper::watch(Arc::downgrade(&desk), errands.clone(), terms.min_idle / 3);
        Self {
            desk,
            terms,
            stream: errands.name.stream.clone(),
            living: Some(Living { errands, name, shared }),
            generation: 0,
            client: None,
            errands: FuturesUnordered::new(),
            handlers: FuturesUnordered::new(),
            undecoded: Vec::new(),
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

    fn act(&mut self, desk: &mut Desk<T>, action: Action<Parcel<T>>, now: Instant) {
        let Some(living) = &mut self.living else { return };
        let errands = living.errands.clone();
        let errand: Errand = match action {
            Action::Connect => Box::pin(async move { Report::Connected(connect(errands).await) }),
            Action::Reap { client } => Box::pin(async move { Report::Reaped(errands.reap(client).await) }),
            Action::HoldName => Box::pin(async move { Report::Named(errands.hold_name().await) }),
            Action::EnsureGroup { known } => {
                Box::pin(async move { Report::Ensured(errands.ensure_group(known).await) })
            }
            Action::Look => Box::pin(async move { Report::Looked(errands.look().await) }),
            Action::Forget { idle } => Box::pin(async move { Report::Forgot(errands.forget(idle).await) }),
            Action::ListPending { after, count } => {
                Box::pin(async move { Report::Listed(errands.list_pending(after, count).await) })
            }
            Action::Take { entries } => Box::pin(async move { Report::Took(errands.take(entries).await) }),
            Action::Read { count } => {
                let (block, generation) = (self.terms.block, self.generation);
                Box::pin(async move { Report::Read(errands.read(count, block, generation).await) })
            }
            Action::Unblock { client } => Box::pin(async move {
                errands.unblock(client).await;
                Report::Nothing
            }),
            Action::Sweep { cursor, count, clock } => {
                let min_idle = self.terms.min_idle;
                Box::pin(async move { Report::Swept(errands.sweep(cursor, count, min_idle, clock).await) })
            }
            Action::Ack { flight, ids } => {
                self.acking.insert(flight, now);
                Box::pin(async move { Report::Acked(flight, errands.acknowledge(ids).await) })
            }
            Action::Lease { terms } => Box::pin(async move { Report::Leased(errands.lease(terms).await) }),
            Action::Bury(burial) => Box::pin(async move { Report::Buried(burial.clone(), errands.bury(burial).await) }),
            Action::Sever { why } => {
                errands.reader.actor().do_send(Sever(why));
                return;
            }
            Action::Run { id, run, attempt, payload } => return self.run(desk, id, run, attempt, payload, now),
            Action::CheckProgress { id, run } => {
                let progress = desk.leases.get(&id).and_then(Lease::last_progress);
                return desk.machine.overdue(id, run, progress, now);
            }
            Action::GiveUp { id } => {
                if let Some(lease) = desk.leases.remove(&id) {
                    lease.give_up();
                }
                return;
            }
            Action::SignalLost { id } => {
                if let Some(lease) = desk.leases.get(&id) {
                    lease.lose();
                }
                return;
            }
            Action::Tell(kind) => return living.tell(kind),
            Action::Finish => return self.finish(desk),
        };
        self.errands.push(errand);
    }

    fn reported(&mut self, desk: &mut Desk<T>, report: Report, now: Instant) {
        let machine = &mut desk.machine;
        match report {
            Report::Connected(answer) => {
                let answer = answer.map(|(generation, client)| {
                    (self.generation, self.client) = (generation, client);
                    client
                });
                machine.connected(answer, now);
            }
            Report::Named(answer) => machine.named(answer, now),
            Report::Reaped(answer) => machine.reaped(answer, now),
            Report::Ensured(answer) => machine.ensured(answer, now),
            Report::Looked(answer) => machine.looked(answer, now),
            Report::Forgot(answer) => machine.forgot(answer, now),
            Report::Listed(answer) => machine.listed(answer, now),
            Report::Took(answer) => {
                let taken = answer.map(|taken| taken.into_iter().map(|entry| self.taken(entry)).collect());
                machine.took(taken, now);
            }
            Report::Read(Ok(page)) => {
                let bytes = page.iter().map(|entry| size_of_fields(&entry.fields)).sum();
                let ahead = machine.page_came(page.len(), bytes, now);
                self.undecoded = page;
                if let Some(read) = ahead {
                    self.act(desk, read, now);
                }
            }
            Report::Read(Err(failure)) => machine.read_failed(failure, now),
            Report::Swept(answer) => machine.swept(answer, now),
            Report::Acked(flight, answer) => {
                let sent = self.acking.remove(&flight).filter(|_| answer.is_ok());
                let before = machine.tally().acked;
                machine.acked(flight, answer, now);
                if let Some(sent) = sent {
                    let entries = machine.tally().acked - before;
                    self.meters.acked(now.saturating_duration_since(sent), entries);
                }
            }
            Report::Leased(answer) => machine.leased(answer, now),
            Report::Buried(burial, answer) => machine.buried(burial, answer, now),
            Report::Nothing => {}
        }
        if let Some(living) = &mut self.living {
            for missing in living.errands.denials.news() {
                living.tell(StreamEventKind::Degraded { missing });
            }
        }
    }

    fn finish(&mut self, desk: &mut Desk<T>) {
        let Some(living) = self.living.take() else { return };
        let (book, tally) = (desk.machine.book(), desk.machine.tally());
        self.report = DrainReport {
            unfinished: book.running(),
            unacknowledged: desk.machine.unacknowledged(),
            handed_back: tally.handed_back,
            delayed: book.count(|stage| matches!(stage, Stage::Delayed { .. } | Stage::Taking)),
        };
        // A read that is under way makes the consumer anew when it is answered.
        let delete = !desk.machine.is_reading();
        self.errands.clear();
        self.handlers.clear();
        self.undecoded.clear();
        self.gathered.clear();
        desk.leases.clear();
        let errands = living.errands.clone();
        drop(living);
        let (drains, report) = (std::mem::take(&mut self.drains), self.report);
        actix::spawn(async move {
            // Nothing of use is under way on it.
            let reader = errands.reader.clone();
            let _ = reader.shutdown(Duration::ZERO).await;
            errands.farewell(delete).await;
            for done in drains {
                let _ = done.send(report);
            }
        });
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
        let desk = &mut *open(&desk);
        for _ in 0..ROUNDS {
            if self.living.is_none() {
                return;
            }
            let now = Instant::now();
            desk.turned = now;
            let tally = desk.machine.tally();
            self.meters.mark([tally.read, self.delivered, tally.acked], now);
            let mut busy = false;
            if !self.undecoded.is_empty() {
                let page = std::mem::take(&mut self.undecoded);
                let page = page.into_iter().map(|entry| self.arrival(entry, 1)).collect();
                desk.machine.page_read(page, now);
            }
            while let Poll::Ready(Some(answered)) = self.handlers.poll_next_unpin(cx) {
                busy = true;
                self.all_answered(desk, answered, now);
            }
            while let Poll::Ready(Some(report)) = self.errands.poll_next_unpin(cx) {
                busy = true;
                self.reported(desk, report, now);
            }
            busy |= self.act_all(desk, now);
            if !self.undecoded.is_empty() {
                // The reader gets its turn first, and sends the read that comes next.
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
                open(&self.desk).machine.pause();
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
        self.errands.clear();
        self.handlers.clear();
        self.undecoded.clear();
        self.gathered.clear();
        self.acking.clear();
        let mut desk = open(&self.desk);
        for (_, lease) in desk.leases.drain() {
            lease.lose();
        }
        let ground = desk.machine.ground();
        desk.machine = Consumer::new(self.terms.clone(), Instant::now(), fastrand::Rng::new());
        desk.machine.succeed(self.client, ground);
        // What was asked of the consumer holds for its successor.
        if self.paused {
            desk.machine.pause();
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

/// Waits for the reader's link, and finds out what the server calls it.
async fn connect(errands: Arc<Errands>) -> Result<(u64, Option<i64>), Failure> {
    errands.reader.ready(CONNECT).await?;
    let greeting = errands.reader.actor().send(Introduce).await;
    let greeting = greeting.map_err(|_| Error::new(ErrorKind::Closed, Fate::NotSent, "the reader has ended"))?;
    let generation = errands.reader.status().borrow().generation;
    Ok((generation, greeting.client_id))
}

/// While a handler keeps this thread from running, the keeper renews the leases on its behalf.
impl<T: FromEntry> Kept for Mutex<Desk<T>> {
    fn neglected(&self, min_idle: Duration, handler_deadline: Duration, now: Instant) -> Vec<LeaseTerm> {
        let Desk { machine, leases, turned } = &mut *open(self);
        // A thread that is hung for good must not hold entries for ever.
        if machine.is_closed() || now.saturating_duration_since(*turned) > handler_deadline {
            return Vec::new();
        }
        let Some(before) = now.checked_sub(min_idle / 2) else { return Vec::new() };
        let worked_on = |id: &StreamId| {
            let begun = leases.get(id).map(Lease::last_sign);
            begun.is_none_or(|begun| now.saturating_duration_since(begun) < handler_deadline)
        };
        let aging = machine.book_mut().aging(before, now);
        let terms = aging.into_iter().filter_map(|id| {
            let delayed = matches!(machine.book().stage(id), Some(Stage::Delayed { .. }));
            (!delayed && worked_on(&id)).then_some(LeaseTerm { id, idle: Duration::ZERO, count: None, release: false })
        });
        terms.collect()
    }
}
