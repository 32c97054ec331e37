//! Links to replicas, each with a driver of its own, for reads that may be answered by them.
//!
//! What a replica cannot answer comes back here, and whoever owns the links sends it to the primary. A read is at a
//! replica once at most.

mod reading;

use std::{
    sync::{Arc, mpsc::Sender},
    task::Context,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::client::gauges::Gauges;
use crate::client::submit_queue::Callers;
use crate::cluster::topology::NodeStatus;
use crate::config::{Address, HostPort};
use crate::connection::deadline_queue::Deadline;
use crate::connection::driver::{Driver, ShutdownReport};
use crate::connection::params::{ConnectParams, Replica};
use crate::connection::request::BoxedTicket;
use crate::connection::retry::ReconnectPolicy;
use crate::error::Fate;
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState, Fanout, Status};
use crate::replicas::verdict::{ReplicaHealth, RoundRobin};
pub(crate) use reading::ReturnedRead;
use reading::{ReplicaFeedback, ReplicaRead, ReturnQueue};

/// How long a server that is no replica of ours any more may take to answer what is in flight there.
const FAREWELL: Duration = Duration::from_millis(500);
/// No link of a primary has this number.
const NO_NUMBER: u32 = u32::MAX;

struct ReplicaLink {
    address: HostPort,
    driver: Driver,
    status: watch::Receiver<Status>,
    standing: ReplicaHealth,
    signal: Arc<ReplicaFeedback>,
    /// It is no replica any more: when it is parted with.
    leaving: Option<Instant>,
}

/// The replicas of one primary.
#[derive(Default)]
struct Group {
    members: Vec<HostPort>,
    /// Where the links to them are, for those that have one.
    links: Vec<usize>,
    /// Somebody has asked for one of them: they are connected.
    wanted: bool,
    turns: RoundRobin,
}

/// See the module.
pub(crate) struct Replicas {
    connect_params: Arc<ConnectParams>,
    kind: Replica,
    policy: ReconnectPolicy,
    node_events: Sender<ConnectionEvent>,
    links: Vec<ReplicaLink>,
    /// By the number that the owner has given to the primary.
    groups: Vec<Group>,
    return_queue: Arc<ReturnQueue>,
    /// There are other links than there were.
    changed: bool,
}

impl Replicas {
    pub(crate) fn new(
        connect_params: Arc<ConnectParams>,
        kind: Replica,
        policy: ReconnectPolicy,
        node_events: Sender<ConnectionEvent>,
    ) -> Self {
        let (links, groups, return_queue) = (Vec::new(), Vec::new(), Arc::default());
        Self { connect_params, kind, policy, node_events, links, groups, return_queue, changed: false }
    }

    /// Sends a read to a replica of this primary, those that are there in turn. Without one, or before anybody has asked
    /// for one, the ticket comes back.
    ///
    /// # Errors
    /// The ticket.
    pub(crate) fn read(&mut self, primary: usize, ticket: BoxedTicket, deadline: Deadline) -> Result<(), BoxedTicket> {
        let Some(group) = self.groups.get_mut(primary) else { return Err(ticket) };
        if !group.wanted {
            self.want(primary);
            return Err(ticket);
        }
        let (at, links) = (&group.links, &mut self.links);
        let mut link_at =
            |nth: usize| at.get(nth).copied().filter(|at| links.get_mut(*at).is_some_and(ReplicaLink::takes_reads));
        let next = group.turns.next(at.len(), |nth| link_at(nth).is_some());
        let link = next.and_then(|nth| self.links.get_mut(*group.links.get(nth)?));
        let Some(link) = link else { return Err(ticket) };
        let reading = ReplicaRead::new(ticket, deadline, link.signal.clone(), self.return_queue.clone());
        link.driver.submit_by(Box::new(reading), deadline);
        Ok(())
    }

    /// Connects to the replicas of this primary: somebody wants to read from them.
    pub(crate) fn want(&mut self, primary: usize) {
        if let Some(group) = self.groups.get_mut(primary)
            && !std::mem::replace(&mut group.wanted, true)
        {
            self.connect_wanted();
        }
    }

    /// These are the replicas now, of each primary.
    pub(crate) fn adopt(&mut self, primaries: impl IntoIterator<Item = (usize, Vec<HostPort>)>, now: Instant) {
        let mut before = std::mem::take(&mut self.groups);
        for (primary, members) in primaries {
            if self.groups.len() <= primary {
                self.groups.resize_with(primary + 1, Group::default);
            }
            let known = before.get_mut(primary).map(std::mem::take).unwrap_or_default();
            if let Some(group) = self.groups.get_mut(primary) {
                *group = Group { members, ..known };
            }
        }
        for link in &mut self.links {
            let stays = self.groups.iter().any(|group| group.members.contains(&link.address));
            link.leaving = if stays { None } else { link.leaving.or(Some(now + FAREWELL)) };
        }
        self.connect_wanted();
    }

    fn connect_wanted(&mut self) {
        let wanted = self.groups.iter().filter(|group| group.wanted).flat_map(|group| group.members.clone());
        for address in wanted.collect::<Vec<_>>() {
            if !self.links.iter().any(|link| link.address == address) {
                self.connect(address);
            }
        }
        self.find_links();
    }

    fn find_links(&mut self) {
        for group in &mut self.groups {
            let links = self.links.iter().enumerate().filter(|(_, link)| group.members.contains(&link.address));
            group.links = links.map(|(at, _)| at).collect();
        }
    }

    fn connect(&mut self, address: HostPort) {
        let connect_params = Arc::new(self.connect_params.for_replica(Address::Tcp(address.clone()), self.kind));
        let (sender, status) = watch::channel(Status::new(Instant::now()));
        let fanout = Fanout::relay(address.to_string().into(), self.node_events.clone(), sender);
        let mut driver = Driver::new(connect_params, self.policy.clone(), fanout, Arc::new(Gauges::new()));
        driver.connect();
        let (standing, signal) = (ReplicaHealth::default(), Arc::default());
        self.links.push(ReplicaLink { address, driver, status, standing, signal, leaving: None });
        self.changed = true;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, callers: Callers) {
        for link in &mut self.links {
            link.driver.poll(cx, callers);
            link.apply();
        }
    }

    /// What the primaries have to answer: what came back, and what waits for a link.
    pub(crate) fn take_back(&mut self) -> Vec<ReturnedRead> {
        let mut back = self.return_queue.take();
        for link in &mut self.links {
            if link.leaving.is_some() || link.driver.state() != ConnectionState::Ready {
                back.extend(link.driver.take_queued().into_iter().map(ReturnedRead::queued));
            }
        }
        back
    }

    /// Ends the links to those that left, as soon as they owe nothing or had time enough.
    pub(crate) fn evict_departed(&mut self, now: Instant) {
        for mut link in self.links.extract_if(.., |link| link.is_to_go(now)) {
            link.driver.abort(Cause::new(CauseKind::Shutdown, "it is no replica any more"));
            self.changed = true;
        }
        self.find_links();
    }

    /// When [`evict_departed`](Self::evict_departed) has something to do.
    pub(crate) fn next_grace_end(&self) -> Option<Instant> {
        self.links.iter().filter_map(|link| link.leaving).min()
    }

    /// Whether the links are others than when this was asked last.
    pub(crate) fn have_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn statuses(&self) -> Vec<NodeStatus> {
        self.links.iter().map(|link| (link.address.clone(), NO_NUMBER, link.status.clone())).collect()
    }

    pub(crate) fn each(&mut self, mut act: impl FnMut(&mut Driver)) {
        self.links.iter_mut().for_each(|link| act(&mut link.driver));
    }

    /// How many reads wait, and how many are in flight.
    pub(crate) fn load(&self) -> (usize, usize) {
        self.links
            .iter()
            .fold((0, 0), |(queued, flying), link| (queued + link.driver.queued(), flying + link.driver.in_flight()))
    }

    pub(crate) fn are_idle(&self) -> bool {
        self.links.iter().all(|link| link.driver.is_idle()) && self.return_queue.is_empty()
    }

    /// What became of the reads that replicas answered, or that ended there.
    pub(crate) fn report(&self) -> ShutdownReport {
        self.return_queue.report()
    }

    /// It is over, and there is no primary to ask: everybody who waits for a replica is told.
    pub(crate) fn abort(&mut self, cause: &Cause) {
        self.each(|driver| driver.abort(cause.clone()));
        let otherwise = cause.error(Fate::NotSent);
        for back in self.take_back() {
            self.return_queue.give_up(back, &otherwise);
        }
    }
}

impl ReplicaLink {
    fn takes_reads(&mut self) -> bool {
        if self.leaving.is_some() || self.driver.state() != ConnectionState::Ready {
            return false;
        }
        let (silent_for, now) = self.driver.silent_for();
        self.standing.may_be_asked(silent_for, now)
    }

    /// Takes note of what its answers have said.
    fn apply(&mut self) {
        if self.signal.take_rest() {
            self.standing.rest(Instant::now());
        }
    }

    fn is_to_go(&self, now: Instant) -> bool {
        self.leaving.is_some_and(|at| at <= now || self.driver.is_idle())
    }
}
