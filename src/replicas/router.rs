//! The engine behind a connection to a master that sentinels name: one link to it, and links to its replicas as soon as
//! somebody wants to read from them.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    sync::{oneshot, watch},
    time::Sleep,
};

use super::pool::{Replicas, ReturnedRead};
use crate::client::gauges::Gauges;
use crate::client::submit_queue::Callers;
use crate::clock::FOREVER;
use crate::cluster::refresh::Refresh;
use crate::cluster::topology::NodeStatus;
use crate::config::HostPort;
use crate::connection::driver::{Driver, ShutdownReport};
use crate::connection::endpoint::{Locate, Master};
use crate::connection::request::BoxedTicket;
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState};

/// The number of the master among those that have replicas.
const MASTER: usize = 0;

/// So many rounds before other actors of this thread get their turn.
const ROUNDS_PER_TURN: u32 = 8;

type ReplicaQuery = Pin<Box<dyn Future<Output = Result<Vec<HostPort>, Cause>>>>;

/// What handles see of the links to replicas.
pub(crate) type ReplicaStatuses = Arc<[NodeStatus]>;

/// What it is made from, beside the link to the master.
pub(crate) struct ReplicatedParts {
    pub(crate) main: Driver,
    pub(crate) replicas: Replicas,
    /// What the replicas tell.
    pub(crate) node_events: Receiver<ConnectionEvent>,
    /// Who knows them.
    pub(crate) found: Arc<dyn Locate>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) announce: watch::Sender<ReplicaStatuses>,
}

/// See the module.
pub(crate) struct Replicated {
    main: Driver,
    replicas: Replicas,
    node_events: Receiver<ConnectionEvent>,
    found: Arc<dyn Locate>,
    gauges: Arc<Gauges>,
    announce: watch::Sender<ReplicaStatuses>,
    /// Somebody has wanted to read from a replica.
    wanted: bool,
    refresh: Refresh,
    looking: Option<ReplicaQuery>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    /// What the rate of errors knows already.
    measured: ShutdownReport,
    closing: Option<Closing>,
}

/// A shutdown. Reads at replicas end first, because the master may have to answer them.
struct Closing {
    deadline: Instant,
    waiting: Vec<oneshot::Sender<ShutdownReport>>,
    at_start: ShutdownReport,
    stage: ShutdownStage,
}

enum ShutdownStage {
    /// Reads end.
    Reads,
    /// The link to the master was asked to end, and will report.
    Master(oneshot::Receiver<ShutdownReport>),
    Over(ShutdownReport),
}

impl Replicated {
    pub(crate) fn new(parts: ReplicatedParts) -> Self {
        let ReplicatedParts { main, replicas, node_events, found, gauges, announce } = parts;
        Self {
            main,
            replicas,
            node_events,
            found,
            gauges,
            announce,
            wanted: false,
            refresh: Refresh::new(fastrand::Rng::new()),
            looking: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            measured: ShutdownReport::default(),
            closing: None,
        }
    }

    /// The two ends of what replicas tell, for [`ReplicatedParts`].
    pub(crate) fn channel() -> (std::sync::mpsc::Sender<ConnectionEvent>, Receiver<ConnectionEvent>) {
        channel()
    }

    pub(crate) fn main(&self) -> &Driver {
        &self.main
    }

    pub(crate) fn main_mut(&mut self) -> &mut Driver {
        &mut self.main
    }

    pub(crate) fn submit(&mut self, ticket: BoxedTicket, asked: Option<Instant>) {
        if self.closing.as_ref().is_some_and(|closing| matches!(closing.stage, ShutdownStage::Reads)) {
            let error = Error::new(ErrorKind::Closed, Fate::NotSent, "the connection is shutting down");
            return ticket.complete(Err(error));
        }
        if !ticket.frame().prefers_replica() || self.closing.is_some() {
            return self.main.submit(ticket, asked);
        }
        if !std::mem::replace(&mut self.wanted, true) {
            self.refresh.wanted(Instant::now());
        }
        let deadline = self.main.deadline(ticket.frame(), asked.unwrap_or_else(Instant::now));
        if let Err(ticket) = self.replicas.read(MASTER, ticket, deadline) {
            self.main.submit_by(ticket, deadline);
        }
    }

    /// See [`Driver::retarget`]. Whoever was promoted is no replica any more.
    pub(crate) fn retarget(&mut self, to: &Master) {
        self.main.retarget(to);
        if self.wanted {
            self.refresh.wanted(Instant::now());
        }
    }

    pub(crate) fn each_driver(&mut self, mut act: impl FnMut(&mut Driver)) {
        act(&mut self.main);
        self.replicas.each(act);
    }

    pub(crate) fn reconnect_now(&mut self) {
        self.main.reconnect_now();
        self.replicas.each(Driver::reconnect_now);
    }

    pub(crate) fn disconnect(&mut self, why: &'static str) {
        self.main.disconnect(why);
        self.replicas.each(|driver| driver.disconnect(why));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.main.is_idle() && self.replicas.are_idle()
    }

    /// The supervisor restarts the actor: its futures are gone.
    pub(crate) fn restarted(&mut self, restarts: u64, cause: Cause) {
        self.armed = None;
        if self.looking.take().is_some() {
            self.refresh.dropped(Instant::now());
        }
        self.replicas.each(|driver| driver.restarted(restarts, cause.clone()));
        self.main.restarted(restarts, cause);
    }

    /// It is over, and everybody who waits is told.
    pub(crate) fn abort(&mut self, cause: Cause) {
        self.looking = None;
        self.replicas.abort(&cause);
        self.main.abort(cause);
        match self.closing.as_mut().map(|closing| &mut closing.stage) {
            Some(ShutdownStage::Master(main)) => {
                let report = main.try_recv().unwrap_or_default();
                self.finish(report);
            }
            Some(ShutdownStage::Reads) => self.finish(ShutdownReport::default()),
            Some(ShutdownStage::Over(_)) | None => {}
        }
    }

    /// Admits nothing more, and tells `done` what became of the rest, at the deadline at the latest.
    pub(crate) fn shut_down(&mut self, within: Duration, done: oneshot::Sender<ShutdownReport>) {
        let deadline = Instant::now() + within.min(FOREVER);
        let at_start = self.replicas.report();
        let new = || Closing { deadline, waiting: Vec::new(), at_start, stage: ShutdownStage::Reads };
        let closing = self.closing.get_or_insert_with(new);
        if let ShutdownStage::Over(report) = closing.stage {
            let _ = done.send(report);
            return;
        }
        closing.deadline = closing.deadline.min(deadline);
        closing.waiting.push(done);
        if matches!(closing.stage, ShutdownStage::Master(_)) {
            // It takes the earlier of the two deadlines, and tells whoever asked first.
            self.main.shut_down(within, oneshot::channel().0);
        }
    }

    /// One turn: bounded work, then `Pending` with wakers set for the sockets, the sentinels and the clock.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, callers: Callers) {
        for round in 1.. {
            self.poll_replica_query(cx);
            self.replicas.poll(cx, callers);
            let back = self.replicas.take_back();
            if !back.is_empty() {
                self.refresh.wanted(Instant::now());
            }
            back.into_iter().for_each(|back| self.ask_master(back));
            self.main.poll(cx, callers);
            self.apply_replicas();
            if !(self.poll_timer(cx) | self.poll_closing(cx)) {
                break;
            }
            if round >= ROUNDS_PER_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.wanted {
            self.measure();
        }
    }

    fn ask_master(&mut self, back: ReturnedRead) {
        let ReturnedRead { mut ticket, deadline, may_have_run, .. } = back;
        if may_have_run {
            ticket.note_may_have_run();
        }
        self.main.submit_by(ticket, deadline);
    }

    /// Takes note of what the replicas have told.
    fn apply_replicas(&mut self) {
        while let Ok(event) = self.node_events.try_recv() {
            if let ConnectionEvent::Node { event, .. } = event
                && matches!(*event, ConnectionEvent::Disconnected { .. } | ConnectionEvent::Retrying { .. })
            {
                self.refresh.wanted(Instant::now());
            }
        }
        if self.replicas.have_changed() {
            self.announce.send_replace(self.replicas.statuses().into());
        }
    }

    /// Whether the sentinels are to be asked when it is time to.
    fn attempts(&self) -> bool {
        let is_over = self.closing.is_some() || self.main.state() == ConnectionState::Closed;
        self.looking.is_none() && self.wanted && !is_over
    }

    fn poll_replica_query(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        if self.attempts() && self.refresh.starts(now) {
            let found = self.found.clone();
            self.looking = Some(Box::pin(async move { found.replicas().await }));
        }
        let Some(looking) = &mut self.looking else { return };
        let Poll::Ready(seen) = looking.as_mut().poll(cx) else { return };
        self.looking = None;
        let now = Instant::now();
        if let Ok(replicas) = &seen {
            self.replicas.adopt([(MASTER, replicas.clone())], now);
            self.replicas.want(MASTER);
        }
        // One that is missing comes back, and nobody says so.
        self.refresh.ended(seen.is_ok_and(|replicas| !replicas.is_empty()), now);
    }

    /// Arms the one timer for whatever comes first. Returns whether it has fired.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let refresh = self.refresh.due().filter(|_| self.attempts());
        let reads_end = |closing: &&Closing| matches!(closing.stage, ShutdownStage::Reads);
        let closing = self.closing.as_ref().filter(reads_end).map(|closing| closing.deadline);
        let Some(next) = [refresh, closing, self.replicas.next_grace_end()].into_iter().flatten().min() else {
            return false;
        };
        if self.armed.is_none_or(|armed| next < armed) {
            self.timer.as_mut().reset(next.into());
            self.armed = Some(next);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.armed = None;
        self.replicas.evict_departed(Instant::now());
        true
    }

    /// Returns whether there is more to do.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(closing) = &mut self.closing else { return false };
        let deadline = closing.deadline;
        match &mut closing.stage {
            ShutdownStage::Over(_) => return false,
            ShutdownStage::Master(main) => {
                if let Poll::Ready(report) = Pin::new(main).poll(cx) {
                    self.finish(report.unwrap_or_default());
                }
                return false;
            }
            ShutdownStage::Reads => {}
        }
        let late = deadline <= Instant::now();
        if !late && !self.replicas.are_idle() {
            return false;
        }
        let words = if late { "the deadline of the shutdown passed" } else { "shut down" };
        self.replicas.abort(&Cause::new(CauseKind::Shutdown, words));
        let (done, report) = oneshot::channel();
        self.main.shut_down(deadline.saturating_duration_since(Instant::now()), done);
        if let Some(closing) = &mut self.closing {
            closing.stage = ShutdownStage::Master(report);
        }
        true
    }

    /// Tells what all of it left behind.
    fn finish(&mut self, main: ShutdownReport) {
        let ended = self.replicas.report();
        let Some(closing) = &mut self.closing else { return };
        let mut whole = ended.since(closing.at_start);
        whole.add(main);
        closing.stage = ShutdownStage::Over(whole);
        for waiting in closing.waiting.drain(..) {
            let _ = waiting.send(whole);
        }
    }

    /// Adds the replicas to what the link to the master has measured.
    fn measure(&mut self) {
        let (queued, in_flight) = self.replicas.load();
        self.gauges.set(self.main.queued() + queued, self.main.in_flight() + in_flight);
        let report = self.replicas.report();
        let ended = report.since(self.measured);
        if ended != ShutdownReport::default() {
            self.measured = report;
            self.gauges.record(ended.into(), Instant::now());
        }
    }
}
