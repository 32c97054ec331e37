//! The engine behind the actor of a cluster: one supervised link to each primary, each with a driver of its own, and
//! between them whatever [`crate::cluster`] decides.
//!
//! Every link keeps the delivery contract by itself. What a node did not run, by its own word, comes back here and is
//! sent where it belongs.

mod backlog;
mod gather;
mod nodes;
mod redirects;
mod refusal_check;
mod replica_reads;
mod routed_request;
mod scatter;
mod status;
mod topology_query;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, channel},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::cache::stats::Flush;
use crate::client::gauges::Gauges;
use crate::client::submit_queue::Callers;
use crate::cluster::refresh::Refresh;
use crate::cluster::route::{Route, SlotList, of_pipeline, route, slots_of_pipeline};
use crate::cluster::slot::Slots;
use crate::cluster::slot_map::Map;
use crate::cluster::slot_queue::{SendOrder, SlotQueues};
use crate::cluster::topology::TopologyPublisher;
use crate::cluster::topology_vote::TopologyVote;
use crate::config::HostPort;
use crate::connection::admission::{Admission, Limits, RefusalPolicy, waiting_phase};
use crate::connection::deadline_queue::Deadline;
use crate::connection::deadline_timer::DeadlineTimer;
use crate::connection::driver::{Driver, ShutdownReport};
use crate::connection::params::{ConnectParams, Replica};
use crate::connection::request::BoxedTicket;
use crate::connection::retry::ReconnectPolicy;
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState, Fanout};
use crate::frame::WhenDown;
use crate::protocol::server_info::ServerInfo;
use crate::replicas::pool::Replicas;
use backlog::Backlog;
use nodes::Nodes;
use redirects::DelayedRequest;
use refusal_check::OpenQuestion;
pub(crate) use routed_request::Routed;
use routed_request::{Destination, RouteState, RoutedRequests};
use status::PublishedStatus;
use topology_query::refresh_topology;

/// The maximum number of rounds per poll, so that other actors of this thread can run.
const ROUNDS: usize = 4;
/// How many nodes are asked for the topology, in addition to those of the configuration.
const ASKED: usize = 4;
/// How many of them are asked without waiting for one another when the topology is in doubt: two have to agree, and one may not
/// answer.
const ASKED_IN_DOUBT: u32 = 3;

type TopologyQuery = Pin<Box<dyn Future<Output = std::result::Result<Map, Cause>>>>;

/// What a router is made from.
pub(crate) struct RouterParts {
    pub(crate) connect_params: Arc<ConnectParams>,
    pub(crate) policy: ReconnectPolicy,
    pub(crate) seeds: Vec<HostPort>,
    pub(crate) fanout: Fanout,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) announce: TopologyPublisher,
}

/// See the module.
pub(crate) struct Router {
    connect_params: Arc<ConnectParams>,
    seeds: Vec<HostPort>,
    slots: Slots,
    map: Map,
    nodes: Nodes,
    replicas: Replicas,
    /// Commands that wait for the first topology.
    pending: Admission<BoxedTicket>,
    /// Commands that wait while their slot is redirected.
    queues: SlotQueues<DelayedRequest>,
    /// Those that wait by themselves: when they are sent again, and a number.
    delayed: BTreeMap<(Instant, u64), DelayedRequest>,
    delays: u64,
    /// Refusals of commands that must not run twice, about which a node is asked.
    questions: Vec<OpenQuestion>,
    /// New commands behind one that is being taken apart.
    backlog: Backlog,
    /// How many commands came so far.
    orders: u64,
    /// A redirect has changed the map, and that was not published.
    has_moved: bool,
    book: Arc<RoutedRequests>,
    refresh: Refresh,
    looking: Option<TopologyQuery>,
    /// Why the last refresh failed, if it did.
    trouble: Option<Cause>,
    demanded: bool,
    present: PublishedStatus,
    fanout: Fanout,
    gauges: Arc<Gauges>,
    announce: TopologyPublisher,
    /// Events of the nodes that were not published yet.
    node_events: Receiver<ConnectionEvent>,
    timer: DeadlineTimer,
    draining: Option<Instant>,
    closed: Option<Cause>,
    at_start: ShutdownReport,
    /// What a shutdown has left behind. A router that ends by itself was not shut down.
    report: ShutdownReport,
    /// What the rate of errors knows already.
    measured: ShutdownReport,
    waiting: Vec<oneshot::Sender<ShutdownReport>>,
}

impl Router {
    pub(crate) fn new(parts: RouterParts) -> Self {
        let RouterParts { connect_params, policy, seeds, fanout, gauges, announce } = parts;
        let config = &connect_params.config;
        let limits = Limits {
            in_flight: config.max_in_flight(),
            in_flight_bytes: config.max_in_flight_bytes(),
            queued: config.max_queued(),
            queued_bytes: config.max_queued_bytes(),
            lost_links: config.max_retries(),
            timeout: config.command_timeout(),
            queued_time: config.max_queued_time(),
            time_limit: RefusalPolicy::ButSlots,
        };
        let slots = Slots::new(config.key_prefix().as_str().as_bytes());
        let (teller, node_events) = channel();
        Self {
            slots,
            replicas: Replicas::new(connect_params.clone(), Replica::InCluster, policy.clone(), teller.clone()),
            nodes: Nodes::new(connect_params.clone(), policy, teller),
            seeds,
            map: Map::default(),
            pending: Admission::new(limits),
            queues: SlotQueues::new(),
            delayed: BTreeMap::new(),
            delays: 0,
            questions: Vec::new(),
            backlog: Backlog::default(),
            orders: 0,
            has_moved: false,
            book: Arc::new(RoutedRequests::new(slots)),
            refresh: Refresh::new(fastrand::Rng::new()),
            looking: None,
            trouble: None,
            demanded: false,
            present: PublishedStatus::default(),
            fanout,
            gauges,
            announce,
            node_events,
            timer: DeadlineTimer::new(),
            draining: None,
            closed: None,
            at_start: ShutdownReport::default(),
            report: ShutdownReport::default(),
            measured: ShutdownReport::default(),
            waiting: Vec::new(),
            connect_params,
        }
    }

    /// What the first node that is there said of itself.
    pub(crate) fn server_info(&self) -> ServerInfo {
        let ready = self.nodes.primaries().find(|node| node.driver.state() == ConnectionState::Ready);
        ready.map(|node| node.driver.server_info().clone()).unwrap_or_default()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.book.open() == 0
    }

    pub(crate) fn subscribe(&mut self, recipient: actix::Recipient<ConnectionEvent>) {
        self.fanout.subscribe(recipient);
    }

    /// Requests the first topology, if that was not done.
    pub(crate) fn connect(&mut self) {
        if !std::mem::replace(&mut self.demanded, true) {
            self.refresh.wanted(Instant::now());
        }
    }

    /// Requests a refresh of the topology.
    pub(crate) fn refresh_topology(&mut self) {
        self.demanded = true;
        self.refresh.wanted(Instant::now());
    }

    pub(crate) fn each_driver(&mut self, mut act: impl FnMut(&mut Driver)) {
        self.nodes.each(&mut act);
        self.replicas.each(act);
    }

    /// Makes every attempt that waits for its delay now.
    pub(crate) fn reconnect_now(&mut self) {
        self.connect();
        self.refresh.wanted(Instant::now());
        self.nodes.each(Driver::reconnect_now);
        self.replicas.each(Driver::reconnect_now);
    }

    pub(crate) fn disconnect(&mut self, why: &'static str) {
        self.nodes.each(|driver| driver.disconnect(why));
        self.replicas.each(|driver| driver.disconnect(why));
    }

    pub(crate) fn submit(&mut self, ticket: BoxedTicket, asked: Option<Instant>) {
        let asked = asked.unwrap_or_else(Instant::now);
        let deadline = self.pending.deadline(ticket.frame(), asked);
        let state = self.present.state;
        let refused = match state {
            _ if self.closed.is_some() => self.closed.as_ref().map(|cause| cause.error(Fate::NotSent)),
            _ if self.draining.is_some() => {
                Some(Error::new(ErrorKind::Closed, Fate::NotSent, "the connection is shutting down"))
            }
            _ if !self.map.is_empty() => None,
            ConnectionState::Parked => self.trouble.as_ref().map(|cause| cause.error(Fate::NotSent)),
            _ => {
                let policy = ticket.frame().own_when_down().unwrap_or(self.connect_params.config.when_down());
                // Until the first answer of a node it is not known whether there is a cluster.
                let failed = self.trouble.as_ref().filter(|_| policy == WhenDown::FailFast);
                failed.map(|cause| cause.error(Fate::NotSent))
            }
        };
        self.connect();
        if let Some(error) = refused {
            return ticket.complete(Err(error.in_phase(waiting_phase(state), state.as_str())));
        }
        if let Err(error) = ticket.frame().check() {
            return ticket.complete(Err(error));
        }
        self.orders += 1;
        let ticket = Routed::whole(ticket, RouteState::new(deadline, SendOrder::new(self.orders)), &self.book);
        if self.map.is_empty() {
            self.pending.enqueue(ticket, deadline, state);
        } else {
            self.enter(ticket);
        }
    }

    /// As [`Driver::submit_on`], for the link of this number to the node that has the slot of the frame.
    pub(crate) fn submit_on(&mut self, link: u64, ticket: BoxedTicket, asked: Option<Instant>) {
        let slot = ticket.frame().own_slot();
        self.nodes.submit_on(slot, link, ticket, asked);
    }

    /// Sends a command where it belongs.
    fn dispatch(&mut self, ticket: Box<Routed>) {
        use crate::connection::request::Pending as _;
        if let Some(Destination { node, slot }) = ticket.route_state.destination {
            let node = Some(node).filter(|node| self.nodes.is_primary(*node)).or_else(|| self.nodes.owner(slot));
            let slots = slots_of_pipeline(ticket.frame(), &self.slots);
            return match node {
                Some(node) => self.send(ticket, node, slots),
                None => self.no_node_error(ticket),
            };
        }
        if let Some(slot) = ticket.route_state.slot {
            return self.send_to_slot(ticket, slot);
        }
        match route(ticket.frame(), &self.slots) {
            Ok(Route::Slot(slot)) => self.send_to_slot(ticket, slot),
            Ok(Route::Any) => match self.nodes.any() {
                Some(node) => self.send(ticket, node, SlotList::new()),
                None => self.no_node_error(ticket),
            },
            Ok(Route::Prefer(slot)) => match self.nodes.prefer(slot) {
                Some(node) => self.send(ticket, node, SlotList::new()),
                None => self.no_node_error(ticket),
            },
            Ok(Route::Primaries(merge)) => self.send_to_primaries(ticket, merge),
            Ok(Route::Scattered(parts, merge)) => self.scatter(ticket, parts, merge),
            Ok(Route::Each) => {
                let (nodes, queues) = (&self.nodes, &self.queues);
                let whole =
                    of_pipeline(ticket.frame(), &self.slots, |one, other| nodes.owner(one) == nodes.owner(other));
                let whole = whole.filter(|slots| !slots.iter().any(|slot| queues.is_closed(*slot)));
                match whole.and_then(|slots| Some((nodes.owner(*slots.first()?)?, slots))) {
                    Some((node, slots)) => self.send(ticket, node, slots),
                    None => self.scatter_pipeline(ticket),
                }
            }
            Err(error) => ticket.finish(Err(error)),
        }
    }

    /// Sends a command to the owner of its slot, behind those that wait for it.
    fn send_to_slot(&mut self, mut ticket: Box<Routed>, slot: u16) {
        ticket.route_state.slot = Some(slot);
        if !self.queues.is_closed(slot) {
            return self.send_to_owner(ticket, slot);
        }
        // A read at a replica may be stale, in whatever order it is sent.
        let (owner, deadline) = (self.nodes.owner(slot), ticket.route_state.deadline);
        let waits = match owner {
            Some(node) => self.try_replica(ticket, node, deadline),
            None => Some(ticket),
        };
        if let Some(ticket) = waits {
            self.wait_for_slot(ticket, slot, None);
        }
    }

    fn send_to_owner(&mut self, mut ticket: Box<Routed>, slot: u16) {
        ticket.route_state.slot = Some(slot);
        match self.nodes.owner(slot) {
            Some(node) => self.send(ticket, node, std::iter::once(slot).collect()),
            None => self.no_node_error(ticket),
        }
    }

    fn send(&mut self, mut ticket: Box<Routed>, node: usize, slots: SlotList) {
        if ticket.route_state.redirected_by.has(self.nodes.number(node)) {
            return ticket.finish(Err(redirects::redirected_back()));
        }
        ticket.route_state.node = node;
        // Where it waits, deadlines that are common are in order; this one may come from another place.
        let deadline = match ticket.route_state.deadline {
            Deadline::Common(at) if ticket.route_state.is_first() => Deadline::Common(at),
            deadline => Deadline::Own(deadline.at()),
        };
        if let Some(mut ticket) = self.try_replica(ticket, node, deadline) {
            ticket.enter(slots);
            if let Some(ticket) = self.nodes.submit(node, ticket, deadline) {
                // The link to the node was given up a moment ago.
                ticket.complete(Err(nodes::cause_of_leaving().error(Fate::NotSent)));
            }
        }
    }

    /// The supervisor restarts the actor: its futures are gone.
    pub(crate) fn restarted(&mut self, restarts: u64, cause: Cause) {
        self.timer.disarm();
        if self.looking.take().is_some() {
            self.refresh.dropped(Instant::now());
        }
        self.nodes.each(|driver| driver.restarted(restarts, cause.clone()));
        self.replicas.each(|driver| driver.restarted(restarts, cause.clone()));
        self.fanout.update(|status| status.restarts = restarts);
        self.emit(ConnectionEvent::Restarted { restarts, cause });
    }

    /// Ends the engine, and completes all waiting commands.
    pub(crate) fn abort(&mut self, cause: Cause) {
        if self.closed.is_some() {
            return;
        }
        self.looking = None;
        self.replicas.abort(&cause);
        self.nodes.each(|driver| driver.abort(cause.clone()));
        self.take_returned();
        self.pending.fail_queued(&cause, ConnectionState::Closed);
        self.end_backlog(&cause.error(Fate::NotSent));
        let delayed = std::mem::take(&mut self.delayed).into_values();
        for DelayedRequest { ticket, .. } in delayed.chain(self.queues.take_all()) {
            ticket.finish(Err(cause.error(Fate::NotSent)));
        }
        self.closed = Some(cause);
        self.publish_now();
        self.present();
        if self.draining.is_some() {
            self.report = self.book.report().since(self.at_start);
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(self.report);
        }
        self.fanout.release();
        // The actor may not be polled again.
        self.measure();
    }

    /// Admits no more commands, and reports the outcome of the others to `done`, no later than the deadline.
    pub(crate) fn shut_down(&mut self, within: Duration, done: oneshot::Sender<ShutdownReport>) {
        if self.closed.is_some() {
            let _ = done.send(self.report);
            return;
        }
        self.waiting.push(done);
        let deadline = Instant::now() + within.min(crate::clock::FOREVER);
        if self.draining.is_none() {
            self.at_start = self.book.report();
        }
        self.draining = Some(self.draining.map_or(deadline, |earlier| earlier.min(deadline)));
        self.present();
    }

    /// One turn: bounded work, then `Pending` with wakers set for the sockets, the looks and the clock.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, callers: Callers) {
        if self.closed.is_none() {
            self.poll_backlog();
        }
        for round in 0.. {
            if self.closed.is_some() {
                break;
            }
            self.poll_topology_query(cx);
            self.nodes.poll(cx, callers);
            self.replicas.poll(cx, callers);
            let again = self.take_back_reads() | self.take_returned();
            if self.book.silence.swap(false, Ordering::Relaxed) {
                self.refresh.wanted(Instant::now());
            }
            self.publish_now();
            self.present();
            if self.draining.is_some() && self.book.open() == 0 {
                self.abort(Cause::new(CauseKind::Shutdown, "shut down"));
                break;
            }
            if !(self.poll_timer(cx) || again) {
                break;
            }
            if round >= ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if !self.backlog.is_empty() {
            // Behind a plain wake-up the runtime looks at its timers and sockets only after 61 turns like this.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        self.measure();
    }

    /// Updates the gauges.
    fn measure(&mut self) {
        let ((queued, in_flight), (reads, reading)) = (self.nodes.load(), self.replicas.load());
        let waiting = self.pending.queued() + self.delayed.len() + self.queues.len() + self.backlog.len();
        self.gauges.set(queued + reads + waiting, in_flight + reading);
        let now = Instant::now();
        let report = self.book.report();
        let ended = report.since(self.measured);
        self.measured = report;
        if ended != ShutdownReport::default() {
            self.gauges.record(ended.into(), now);
        }
    }

    fn poll_topology_query(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        if self.looking.is_none() && self.demanded && self.refresh.starts(now) {
            let mut nodes = self.nodes.worth_asking(&self.map, ASKED);
            for seed in &self.seeds {
                if !nodes.contains(seed) {
                    nodes.push(seed.clone());
                }
            }
            let is_doubted = self.refresh.take_doubt() || self.map.is_empty();
            let vote = TopologyVote::new(self.map.clone(), is_doubted, nodes.len());
            let at_once = if is_doubted { ASKED_IN_DOUBT } else { 1 };
            self.looking = Some(Box::pin(refresh_topology(self.connect_params.clone(), nodes, at_once, vote)));
        }
        let Some(looking) = &mut self.looking else { return };
        let Poll::Ready(seen) = looking.as_mut().poll(cx) else { return };
        self.looking = None;
        let now = Instant::now();
        match seen {
            Ok(map) => {
                let well = map.is_whole();
                self.trouble = None;
                self.adopt(map, now);
                self.refresh.ended(well && self.nodes.are_well(), now);
            }
            Err(cause) => {
                if self.map.is_empty() && cause.is_refusal() {
                    self.pending.fail_queued(&cause, ConnectionState::Parked);
                }
                self.pending.fail_fast(&cause, self.present.state, self.connect_params.config.when_down());
                self.present.failed(&cause);
                self.pending.explain(Some(cause.clone()));
                self.trouble = Some(cause);
                self.refresh.ended(false, now);
            }
        }
    }

    /// The cluster looks like this now.
    fn adopt(&mut self, map: Map, now: Instant) {
        let known = !self.map.is_empty();
        if map != self.map {
            self.map = map;
            let (displaced, changed) = self.nodes.adopt(&self.map, now);
            if let Some(cache) = self.connect_params.cache.as_ref().filter(|_| known && !changed.is_empty()) {
                // The former owner may not report changes of these keys any more.
                cache.flush(Flush::Topology);
            }
            self.adopt_replicas(now);
            self.resend(displaced, &changed);
            self.announce();
        }
        if !known {
            self.pending.explain(None);
            for (ticket, _, _) in self.pending.take_queued() {
                if let Ok(ticket) = Routed::of(ticket) {
                    self.enter(ticket);
                }
            }
        }
    }

    /// Arms the one timer for whatever comes first. Returns whether it has fired.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let delayed =
            self.delayed.first_key_value().map(|((at, _), _)| *at).into_iter().chain(self.queues.next()).min();
        let refresh = self.refresh.due().filter(|_| self.looking.is_none() && self.demanded);
        let grace_end = self.nodes.next_grace_end().into_iter().chain(self.replicas.next_grace_end()).min();
        let all = [delayed, refresh, self.pending.next_deadline(), self.draining, grace_end, self.present.due()];
        let Some(next) = all.into_iter().flatten().min() else { return false };
        if !self.timer.poll(next, cx) {
            return false;
        }
        let now = Instant::now();
        self.pending.expire(now, self.present.state);
        self.wake_delayed(now);
        let displaced = self.nodes.evict_departed(now);
        self.resend(displaced, &[]);
        self.replicas.evict_departed(now);
        if self.draining.is_some_and(|deadline| deadline <= now) {
            self.abort(Cause::new(CauseKind::Shutdown, "the deadline of the shutdown passed"));
        }
        true
    }
}

/// An arbiter that ends drops the actor. The commands, the status and the gauges are completed nevertheless.
impl Drop for Router {
    fn drop(&mut self) {
        self.abort(Cause::new(CauseKind::Shutdown, "the thread of the connection has ended"));
    }
}
