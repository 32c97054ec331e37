//! The engine of a connection to a master behind sentinels: one link to the master, and links to its replicas after
//! the first read that allows replicas.

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

use tokio::sync::{oneshot, watch};

use super::pool::{Replicas, ReturnedRead};
use crate::client::gauges::Gauges;
use crate::client::submit_queue::Callers;
use crate::clock::FOREVER;
use crate::cluster::refresh::Refresh;
use crate::cluster::topology::NodeStatus;
use crate::config::HostPort;
use crate::connection::deadline_timer::DeadlineTimer;
use crate::connection::driver::{Driver, ShutdownReport};
use crate::connection::endpoint::{Locate, Master};
use crate::connection::request::BoxedTicket;
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState};

/// The index of the master among the primaries.
const MASTER: usize = 0;

/// The maximum number of rounds per poll, so that other actors of this thread can run.
const ROUNDS_PER_POLL: u32 = 8;

type ReplicaQuery = Pin<Box<dyn Future<Output = Result<Vec<HostPort>, Cause>>>>;

/// The state of the links to replicas, for handles.
pub(crate) type ReplicaStatuses = Arc<[NodeStatus]>;

/// The parts of the engine in addition to the link to the master.
pub(crate) struct ReplicatedParts {
    pub(crate) main: Driver,
    pub(crate) replicas: Replicas,
    /// Events of the replicas.
    pub(crate) node_events: Receiver<ConnectionEvent>,
    /// Locates the replicas.
    pub(crate) found: Arc<dyn Locate>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) announce: watch::Sender<ReplicaStatuses>,
}

/// See the module documentation.
pub(crate) struct Replicated {
    main: Driver,
    replicas: Replicas,
    node_events: Receiver<ConnectionEvent>,
    found: Arc<dyn Locate>,
    gauges: Arc<Gauges>,
    announce: watch::Sender<ReplicaStatuses>,
    /// Whether a read from a replica was requested.
    wanted: bool,
    refresh: Refresh,
    looking: Option<ReplicaQuery>,
    timer: DeadlineTimer,
    /// The outcomes that the error rate already includes.
    measured: ShutdownReport,
    closing: Option<Closing>,
}

/// A shutdown. Reads at replicas complete first, because the master may have to reply to them.
struct Closing {
    deadline: Instant,
    waiting: Vec<oneshot::Sender<ShutdownReport>>,
    at_start: ShutdownReport,
    stage: ShutdownStage,
}

enum ShutdownStage {
    /// Waits for the reads at replicas.
    Reads,
    /// The link to the master is shutting down, and will report.
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
            timer: DeadlineTimer::new(),
            measured: ShutdownReport::default(),
            closing: None,
        }
    }

    /// The channel for events of replicas, for [`ReplicatedParts`].
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

    /// See [`Driver::retarget`]. A promoted server is no longer a replica.
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

    /// The supervisor restarts the actor: its futures were dropped.
    pub(crate) fn restarted(&mut self, restarts: u64, cause: Cause) {
        self.timer.disarm();
        if self.looking.take().is_some() {
            self.refresh.dropped(Instant::now());
        }
        self.replicas.each(|driver| driver.restarted(restarts, cause.clone()));
        self.main.restarted(restarts, cause);
    }

    /// Ends the engine, and fails all waiting commands.
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
        // The actor may not be polled again.
        self.measure();
    }

    /// Accepts no more commands, and reports the outcome of the others to `done`, no later than the deadline.
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
            // The driver uses the earlier of the two deadlines, and reports to the first caller.
            self.main.shut_down(within, oneshot::channel().0);
        }
    }

    /// One poll: bounded work, then `Pending` with wakers for the sockets, the sentinels and the timer.
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
            if round >= ROUNDS_PER_POLL {
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

    /// Applies the events of the replicas.
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

    /// Whether the sentinels are asked for replicas when that is due.
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
        // A missing replica can return without any notification.
        self.refresh.ended(seen.is_ok_and(|replicas| !replicas.is_empty()), now);
    }

    /// Sets the one timer to the earliest deadline. Returns whether it has fired.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let refresh = self.refresh.due().filter(|_| self.attempts());
        let reads_end = |closing: &&Closing| matches!(closing.stage, ShutdownStage::Reads);
        let closing = self.closing.as_ref().filter(reads_end).map(|closing| closing.deadline);
        let Some(next) = [refresh, closing, self.replicas.next_grace_end()].into_iter().flatten().min() else {
            return false;
        };
        if !self.timer.poll(next, cx) {
            return false;
        }
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

    /// Reports the outcomes of all links.
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

    /// Adds the outcomes at the replicas to those of the link to the master.
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
