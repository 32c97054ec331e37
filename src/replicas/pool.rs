//! Links to replicas, each with its own driver, for reads that replicas may reply to.
//!
//! A read that a replica cannot reply to is returned, and the owner of this pool sends it to the primary. Each read
//! is sent to a replica no more than once.

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

/// The grace period in which a former replica may reply to in-flight reads.
const GRACE_PERIOD: Duration = Duration::from_millis(500);
/// Not the number of any primary's link.
const NO_NUMBER: u32 = u32::MAX;

struct ReplicaLink {
    address: HostPort,
    driver: Driver,
    status: watch::Receiver<Status>,
    standing: ReplicaHealth,
    signal: Arc<ReplicaFeedback>,
    /// Set if it is no longer a replica: the end of its grace period.
    leaving: Option<Instant>,
}

/// The replicas of one primary.
#[derive(Default)]
struct Group {
    members: Vec<HostPort>,
    /// The indices of the links to them, for replicas with a link.
    links: Vec<usize>,
    /// A read was requested, so the replicas are connected.
    wanted: bool,
    turns: RoundRobin,
}

/// See the module documentation.
pub(crate) struct Replicas {
    connect_params: Arc<ConnectParams>,
    kind: Replica,
    policy: ReconnectPolicy,
    node_events: Sender<ConnectionEvent>,
    links: Vec<ReplicaLink>,
    /// Indexed by the number that the owner assigned to the primary.
    groups: Vec<Group>,
    return_queue: Arc<ReturnQueue>,
    /// Whether the set of links changed.
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

    /// Sends a read to a replica of this primary, round-robin over the available ones. Without an available replica,
    /// or before [`want`](Self::want), the ticket is returned.
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

    /// Connects to the replicas of this primary, after the first read that allows replicas.
    pub(crate) fn want(&mut self, primary: usize) {
        if let Some(group) = self.groups.get_mut(primary)
            && !std::mem::replace(&mut group.wanted, true)
        {
            self.connect_wanted();
        }
    }

    /// Sets the current replicas of each primary.
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
            link.leaving = if stays { None } else { link.leaving.or(Some(now + GRACE_PERIOD)) };
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

    /// Takes the reads that the primaries have to reply to: returned ones, and those that wait for a link.
    pub(crate) fn take_back(&mut self) -> Vec<ReturnedRead> {
        let mut back = self.return_queue.take();
        for link in &mut self.links {
            if link.leaving.is_some() || link.driver.state() != ConnectionState::Ready {
                back.extend(link.driver.take_queued().into_iter().map(ReturnedRead::queued));
            }
        }
        back
    }

    /// Closes the links to former replicas after their in-flight reads completed, or after the grace period.
    pub(crate) fn evict_departed(&mut self, now: Instant) {
        for mut link in self.links.extract_if(.., |link| link.is_to_go(now)) {
            link.driver.abort(Cause::new(CauseKind::Shutdown, "the server is no longer a replica"));
            self.changed = true;
        }
        self.find_links();
    }

    /// The time at which [`evict_departed`](Self::evict_departed) must be called.
    pub(crate) fn next_grace_end(&self) -> Option<Instant> {
        self.links.iter().filter_map(|link| link.leaving).min()
    }

    /// Whether the set of links changed since the last call.
    pub(crate) fn have_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn statuses(&self) -> Vec<NodeStatus> {
        self.links.iter().map(|link| (link.address.clone(), NO_NUMBER, link.status.clone())).collect()
    }

    pub(crate) fn each(&mut self, mut act: impl FnMut(&mut Driver)) {
        self.links.iter_mut().for_each(|link| act(&mut link.driver));
    }

    /// The number of queued reads, and of reads in flight.
    pub(crate) fn load(&self) -> (usize, usize) {
        self.links
            .iter()
            .fold((0, 0), |(queued, flying), link| (queued + link.driver.queued(), flying + link.driver.in_flight()))
    }

    pub(crate) fn are_idle(&self) -> bool {
        self.links.iter().all(|link| link.driver.is_idle()) && self.return_queue.is_empty()
    }

    /// The outcomes of the reads that completed at replicas.
    pub(crate) fn report(&self) -> ShutdownReport {
        self.return_queue.report()
    }

    /// Fails all waiting reads, because no primary is available either.
    pub(crate) fn abort(&mut self, cause: &Cause) {
        self.each(|driver| driver.abort(cause.clone()));
        let otherwise = cause.error(Fate::NotSent);
        for back in self.take_back() {
            self.return_queue.fail(back, &otherwise);
        }
    }
}

impl ReplicaLink {
    fn takes_reads(&mut self) -> bool {
        if self.leaving.is_some() || self.driver.state() != ConnectionState::Ready {
            return false;
        }
        let (silent_for, now) = self.driver.silent_for();
        self.standing.is_available(silent_for, now)
    }

    /// Applies the feedback of its replies.
    fn apply(&mut self) {
        if self.signal.take_rest() {
            self.standing.rest(Instant::now());
        }
    }

    fn is_to_go(&self, now: Instant) -> bool {
        self.leaving.is_some_and(|at| at <= now || self.driver.is_idle())
    }
}
