//! The nodes that commands are sent to, each with its own link, queue and bounds.

use std::{
    sync::{Arc, mpsc::Sender},
    task::Context,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::client::gauges::Gauges;
use crate::client::submit_queue::Callers;
use crate::cluster::slot::SLOTS;
use crate::cluster::slot_map::Map;
use crate::cluster::topology::{NodeStatus, link_id};
use crate::config::{Address, HostPort};
use crate::connection::deadline_queue::Deadline;
use crate::connection::driver::Driver;
use crate::connection::params::ConnectParams;
use crate::connection::request::BoxedTicket;
use crate::connection::retry::ReconnectPolicy;
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState, Fanout, Status};
use crate::replicas::verdict::{RoundRobin, SILENCE};

/// The grace period in which a node without slots may answer the commands in flight there. A frozen node that was replaced never
/// will.
const GRACE_PERIOD: Duration = Duration::from_millis(500);
/// How long a node that no slot belongs to is kept after the last redirect to it. While a slot moves there, commands are sent
/// to it one by one, for as long as the operator takes.
const REDIRECTED: Duration = Duration::from_secs(10);
const NO_OWNER: usize = usize::MAX;

/// Tickets that have to go elsewhere, with their deadlines and whether they may have run.
pub(super) type Displaced = Vec<(BoxedTicket, Deadline, bool)>;

/// One node.
pub(super) struct Node {
    pub(super) address: HostPort,
    pub(super) driver: Driver,
    status: watch::Receiver<Status>,
    /// No other node of this router gets it.
    number: u32,
    stay: KeepReason,
}

/// Why there is a link to a node, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeepReason {
    /// It has slots.
    Owner,
    /// Redirects name it, the last one so long before this time.
    Redirected(Instant),
    /// It has lost its slots, and may answer the commands in flight there.
    Displaced(Instant),
}

impl KeepReason {
    fn until(self) -> Option<Instant> {
        match self {
            Self::Owner => None,
            Self::Redirected(until) | Self::Displaced(until) => Some(until),
        }
    }
}

impl Node {
    /// Whether it can be expected to answer: one that is silent may be frozen.
    fn is_well(&mut self) -> bool {
        self.stay == KeepReason::Owner
            && self.driver.state() == ConnectionState::Ready
            && self.driver.silent_for().0 < SILENCE
    }

    /// Whether its link is to be ended.
    fn is_to_go(&mut self, now: Instant) -> bool {
        let Some(until) = self.stay.until() else { return false };
        if until > now {
            return false;
        }
        let is_idle = self.driver.is_idle();
        let is_ready = self.driver.state() == ConnectionState::Ready;
        match &mut self.stay {
            // Commands in flight have an answer to come.
            KeepReason::Redirected(until) if !is_idle => *until = now + GRACE_PERIOD,
            // One that was replaced because it is frozen must not run, when it wakes, what the cluster will not keep.
            KeepReason::Displaced(until) if !is_idle && is_ready && self.driver.silent_for().0 < GRACE_PERIOD => {
                *until = now + GRACE_PERIOD
            }
            _ => return true,
        }
        false
    }
}

/// See the module. A node keeps its number for as long as it is there.
pub(super) struct Nodes {
    connect_params: Arc<ConnectParams>,
    policy: ReconnectPolicy,
    node_events: Sender<ConnectionEvent>,
    nodes: Vec<Option<Node>>,
    numbers: u32,
    owners: Box<[usize]>,
    /// One slot of each primary; `None` when the owners have changed.
    first_slots: Option<Arc<[u16]>>,
    /// Whose turn it is for what any node can do.
    turns: RoundRobin,
}

impl Nodes {
    pub(super) fn new(
        connect_params: Arc<ConnectParams>,
        policy: ReconnectPolicy,
        node_events: Sender<ConnectionEvent>,
    ) -> Self {
        let owners = vec![NO_OWNER; usize::from(SLOTS)].into();
        let (nodes, numbers, first_slots, turns) = (Vec::new(), 0, None, RoundRobin::beginning_at(fastrand::u16(..)));
        Self { connect_params, policy, node_events, nodes, numbers, owners, first_slots, turns }
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    pub(super) fn primaries(&self) -> impl Iterator<Item = &Node> {
        self.all().filter(|node| node.stay == KeepReason::Owner)
    }

    pub(super) fn each(&mut self, mut act: impl FnMut(&mut Driver)) {
        self.nodes.iter_mut().flatten().for_each(|node| act(&mut node.driver));
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, callers: Callers) {
        self.each(|driver| driver.poll(cx, callers));
    }

    /// How many commands wait, and how many are in flight.
    pub(super) fn load(&self) -> (usize, usize) {
        self.all()
            .fold((0, 0), |(queued, flying), node| (queued + node.driver.queued(), flying + node.driver.in_flight()))
    }

    pub(super) fn address(&self, node: usize) -> Option<&HostPort> {
        self.nodes.get(node)?.as_ref().map(|node| &node.address)
    }

    pub(super) fn statuses(&self) -> Vec<NodeStatus> {
        self.primaries().map(|node| (node.address.clone(), node.number, node.status.clone())).collect()
    }

    /// The node that has this slot.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        self.owners.get(usize::from(slot)).copied().filter(|node| *node != NO_OWNER)
    }

    /// The number of a node, which no other one gets; 0 where there is none.
    pub(super) fn number(&self, node: usize) -> u32 {
        self.nodes.get(node).and_then(Option::as_ref).map_or(0, |node| node.number)
    }

    pub(super) fn is_primary(&self, node: usize) -> bool {
        self.nodes.get(node).and_then(Option::as_ref).is_some_and(|node| node.stay == KeepReason::Owner)
    }

    /// A primary for commands that any of them can run: those that are well in turn, so that no node has all of the load and a
    /// frozen one delays nothing. If none is well, one that has a link, or else any.
    pub(super) fn any(&mut self) -> Option<usize> {
        let (nodes, turns) = (&mut self.nodes, &mut self.turns);
        let mut next = |can: fn(&mut Node) -> bool| {
            turns.next(nodes.len(), |at| nodes.get_mut(at).and_then(Option::as_mut).is_some_and(can))
        };
        next(Node::is_well)
            .or_else(|| next(|node| node.stay == KeepReason::Owner && node.driver.state() == ConnectionState::Ready))
            .or_else(|| next(|node| node.stay == KeepReason::Owner))
    }

    /// As [`any`](Self::any), but the owner of this slot where it is well.
    pub(super) fn prefer(&mut self, slot: u16) -> Option<usize> {
        let owner = self.owner(slot);
        let node = owner.and_then(|owner| self.nodes.get_mut(owner)?.as_mut());
        if node.is_some_and(Node::is_well) { owner } else { self.any() }
    }

    /// One slot of each primary, by which a command for all of them finds its way, also when they change meanwhile.
    pub(super) fn first_slots(&mut self) -> Arc<[u16]> {
        let (nodes, owners) = (self.nodes.len(), &self.owners);
        let slots = self.first_slots.get_or_insert_with(|| {
            let mut seen = vec![false; nodes];
            let slots = (0..SLOTS).zip(owners).filter_map(|(slot, owner)| {
                let seen = seen.get_mut(*owner)?;
                (!std::mem::replace(seen, true)).then_some(slot)
            });
            slots.collect()
        });
        slots.clone()
    }

    /// Sends a command on this very link to the owner of a slot, or not at all.
    pub(super) fn submit_on(&mut self, slot: Option<u16>, link: u64, ticket: BoxedTicket, asked: Option<Instant>) {
        let node = slot.and_then(|slot| self.owner(slot)).and_then(|node| self.nodes.get_mut(node)?.as_mut());
        match node.filter(|node| link_id(node.number, node.driver.generation()) == link) {
            Some(node) => node.driver.submit_on(node.driver.generation(), ticket, asked),
            None => {
                let words = "the connection that this command depends on is gone";
                ticket.complete(Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, words)));
            }
        }
    }

    /// Hands a command to a node. It comes back if the node is not there any more.
    pub(super) fn submit(&mut self, node: usize, ticket: BoxedTicket, deadline: Deadline) -> Option<BoxedTicket> {
        match self.nodes.get_mut(node) {
            Some(Some(node)) => {
                node.driver.submit_by(ticket, deadline);
                None
            }
            _ => Some(ticket),
        }
    }

    /// Replaces the link to a node as soon as the commands in flight there are answered.
    pub(super) fn replace_link(&mut self, node: usize, cause: Cause) {
        if let Some(Some(node)) = self.nodes.get_mut(node) {
            node.driver.replace_link(cause);
        }
    }

    /// The number of the node at `address`, which is dialled if it is new.
    pub(super) fn ensure(&mut self, address: &HostPort) -> usize {
        let known = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.address == *address);
        if let Some(at) = self.nodes.iter().position(known) {
            return at;
        }
        let connect_params = Arc::new(self.connect_params.for_server(Address::Tcp(address.clone())));
        let (sender, status) = watch::channel(Status::new(Instant::now()));
        let fanout = Fanout::relay(address.to_string().into(), self.node_events.clone(), sender);
        let mut driver = Driver::new(connect_params, self.policy.clone(), fanout, Arc::new(Gauges::new()));
        driver.connect();
        // Until the map says that it has slots.
        let stay = KeepReason::Redirected(Instant::now() + REDIRECTED);
        self.numbers = self.numbers.wrapping_add(1);
        let number = self.numbers;
        let node = Some(Node { address: address.clone(), driver, status, number, stay });
        let free = self.nodes.iter().position(Option::is_none);
        match free.and_then(|at| Some((at, self.nodes.get_mut(at)?))) {
            Some((at, place)) => {
                *place = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    /// As [`ensure`](Self::ensure), for a node that a redirect names.
    pub(super) fn ensure_redirected(&mut self, address: &HostPort, now: Instant) -> usize {
        let at = self.ensure(address);
        if let Some(Some(node)) = self.nodes.get_mut(at)
            && node.stay != KeepReason::Owner
        {
            node.stay = KeepReason::Redirected(now + REDIRECTED);
        }
        at
    }

    /// A node said that the slot is at `to`.
    pub(super) fn moved(&mut self, slot: u16, to: &HostPort) {
        let node = self.ensure(to);
        self.first_slots = None;
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = node;
        }
        if let Some(Some(node)) = self.nodes.get_mut(node) {
            node.stay = KeepReason::Owner;
        }
    }

    /// The cluster looks like this now. Returns what waits at a node that has lost slots, in order, and the slots that have
    /// another owner.
    pub(super) fn adopt(&mut self, map: &Map, now: Instant) -> (Displaced, Vec<u16>) {
        let before = std::mem::replace(&mut self.owners, vec![NO_OWNER; usize::from(SLOTS)].into());
        self.first_slots = None;
        let mut staying = vec![false; self.nodes.len()];
        for primary in map.shards().map(|shard| shard.primary.clone()).collect::<Vec<_>>() {
            let node = self.ensure(&primary);
            staying.resize(self.nodes.len().max(staying.len()), false);
            if let Some(staying) = staying.get_mut(node) {
                *staying = true;
            }
            for slots in map.slots_of(&primary) {
                let slots = usize::from(*slots.start())..=usize::from(*slots.end());
                if let Some(owners) = self.owners.get_mut(slots) {
                    owners.fill(node);
                }
            }
        }
        let owners = before.iter().zip(&self.owners);
        let changed = (0..SLOTS).zip(owners).filter(|(_, (before, owner))| before != owner).map(|(slot, _)| slot);
        let changed: Vec<_> = changed.collect();
        let mut lost = vec![false; self.nodes.len()];
        for slot in &changed {
            if let Some(lost) = before.get(usize::from(*slot)).and_then(|before| lost.get_mut(*before)) {
                *lost = true;
            }
        }
        let mut displaced = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            let stays = staying.get(at).copied().unwrap_or_default();
            node.stay = match node.stay {
                _ if stays => KeepReason::Owner,
                KeepReason::Owner => KeepReason::Displaced(now + GRACE_PERIOD),
                stay => stay,
            };
            if lost.get(at).copied().unwrap_or_default() || matches!(node.stay, KeepReason::Displaced(_)) {
                displaced.extend(node.driver.take_queued());
            }
        }
        (displaced, changed)
    }

    /// When [`evict_departed`](Self::evict_departed) has something to do.
    pub(super) fn next_grace_end(&self) -> Option<Instant> {
        self.all().filter_map(|node| node.stay.until()).min()
    }

    /// Ends the links to nodes that had time enough. Returns what can be sent to others.
    pub(super) fn evict_departed(&mut self, now: Instant) -> Displaced {
        let mut displaced = Vec::new();
        for place in &mut self.nodes {
            let Some(node) = place.as_mut() else { continue };
            if node.is_to_go(now) {
                node.driver.disconnect("the node has no slots of the cluster any more");
                displaced.extend(node.driver.take_queued());
                node.driver.abort(cause_of_leaving());
                *place = None;
            }
        }
        displaced
    }

    /// Whether every primary can be expected to answer.
    pub(super) fn are_well(&self) -> bool {
        let sick = |node: &Node| matches!(node.driver.state(), ConnectionState::Backoff | ConnectionState::Parked);
        !self.primaries().any(sick)
    }

    /// Some that may know how the cluster looks, those first that are there.
    pub(super) fn worth_asking(&self, map: &Map, most: usize) -> Vec<HostPort> {
        let (mut ready, mut others): (Vec<_>, Vec<_>) = self
            .primaries()
            .map(|node| (node.driver.state() == ConnectionState::Ready, node.address.clone()))
            .partition(|(ready, _)| *ready);
        let replicas: Vec<_> = map.shards().flat_map(|shard| shard.replicas.clone()).collect();
        others.extend(replicas.into_iter().map(|replica| (false, replica)));
        fastrand::shuffle(&mut ready);
        fastrand::shuffle(&mut others);
        ready.into_iter().chain(others).map(|(_, address)| address).take(most).collect()
    }
}

pub(super) fn cause_of_leaving() -> Cause {
    Cause::new(CauseKind::Shutdown, "the node has no slots of the cluster any more")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::RedisConfig;
    use crate::transport::dial::Target;

    fn at(port: u16) -> HostPort {
        HostPort { host: "127.0.0.1".to_owned(), port }
    }

    /// Of a server that is not there.
    pub(in crate::cluster::router) fn connect_params() -> ConnectParams {
        let target = Target { address: Address::Tcp(at(1)), tls: None, user_timeout: None };
        ConnectParams { in_cluster: true, ..ConnectParams::new(RedisConfig::builder().build().expect("valid"), target) }
    }

    fn nodes() -> Nodes {
        Nodes::new(Arc::new(connect_params()), ReconnectPolicy::default(), std::sync::mpsc::channel().0)
    }

    /// Ablation: `ensure_redirected` that sets no new time fails behind the second redirect.
    #[tokio::test]
    async fn a_node_that_redirects_name_is_kept_until_ten_seconds_behind_the_last_one() {
        let (mut nodes, start) = (nodes(), Instant::now());
        let seconds = |seconds: u64| start + Duration::from_secs(seconds);
        let node = nodes.ensure_redirected(&at(2), start);
        nodes.ensure_redirected(&at(2), seconds(8));
        nodes.evict_departed(seconds(17));
        assert_eq!(nodes.address(node), Some(&at(2)), "nine seconds behind the second one");
        assert!(nodes.next_grace_end().is_some_and(|end| end == seconds(18)));
        nodes.evict_departed(seconds(19));
        assert_eq!((nodes.address(node), nodes.next_grace_end()), (None, None));
    }

    #[tokio::test]
    async fn a_node_at_the_index_of_one_that_has_left_has_another_number() {
        let (mut nodes, now) = (nodes(), Instant::now());
        let first = nodes.ensure_redirected(&at(2), now);
        let number = nodes.number(first);
        nodes.evict_departed(now + REDIRECTED * 2);
        assert_eq!(nodes.number(first), 0);
        assert_eq!(nodes.ensure(&at(3)), first);
        assert!(nodes.number(first) > number && number > 0);
    }

    #[tokio::test]
    async fn a_node_that_gets_slots_stays() {
        let (mut nodes, now) = (nodes(), Instant::now());
        let node = nodes.ensure_redirected(&at(2), now);
        nodes.moved(7, &at(2));
        nodes.evict_departed(now + REDIRECTED * 2);
        assert_eq!((nodes.address(node), nodes.owner(7)), (Some(&at(2)), Some(node)));
        nodes.ensure_redirected(&at(2), now);
        assert_eq!(nodes.next_grace_end(), None, "redirects do not limit the time of an owner");
    }
}
