//! The nodes that commands are sent to, each with its own link, queue and bounds.

use std::{
    sync::{Arc, mpsc::Sender},
    task::Context,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::actors::driver::Driver;
use crate::actors::ticket::BoxedTicket;
use crate::config::{Address, HostPort};
use crate::core::cluster::{map::Map, slot::SLOTS};
use crate::core::{lane::Deadline, retry::ReconnectPolicy};
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState, Fanout, Status};
use crate::gauges::Gauges;
use crate::intake::Callers;
use crate::topology::{NodeStatus, link_number};
use crate::wire::recipe::Recipe;

/// How long a node that has no slots any more may take to answer what is in flight there. One that was replaced because
/// it is frozen never will.
const FAREWELL: Duration = Duration::from_millis(500);
const NOBODY: usize = usize::MAX;

/// Tickets that have to go elsewhere, with their deadlines and whether they may have run.
pub(super) type Homeless = Vec<(BoxedTicket, Deadline, bool)>;

/// One node.
pub(super) struct Node {
    pub(super) address: HostPort,
    pub(super) driver: Driver,
    status: watch::Receiver<Status>,
    /// No other node of this router gets it.
    number: u32,
    /// It has no slots any more: when it is parted with.
    leaving: Option<Instant>,
}

/// See the module. A node keeps its number for as long as it is there.
pub(super) struct Nodes {
    recipe: Arc<Recipe>,
    policy: ReconnectPolicy,
    told: Sender<ConnectionEvent>,
    nodes: Vec<Option<Node>>,
    numbers: u32,
    owners: Box<[usize]>,
}

impl Nodes {
    pub(super) fn new(recipe: Arc<Recipe>, policy: ReconnectPolicy, told: Sender<ConnectionEvent>) -> Self {
        Self { recipe, policy, told, nodes: Vec::new(), numbers: 0, owners: vec![NOBODY; usize::from(SLOTS)].into() }
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    pub(super) fn primaries(&self) -> impl Iterator<Item = &Node> {
        self.all().filter(|node| node.leaving.is_none())
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
        self.owners.get(usize::from(slot)).copied().filter(|node| *node != NOBODY)
    }

    /// One that can be expected to answer.
    pub(super) fn any(&self) -> Option<usize> {
        let mut primaries = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let node = node.as_ref().filter(|node| node.leaving.is_none())?;
            Some((at, node.driver.state()))
        });
        let first = primaries.next()?;
        let ready = |(_, state): &(usize, ConnectionState)| *state == ConnectionState::Ready;
        Some(if ready(&first) { first.0 } else { primaries.find(ready).unwrap_or(first).0 })
    }

    pub(super) fn first_slot(&self, node: usize) -> Option<u16> {
        (0..SLOTS).zip(&self.owners).find_map(|(slot, owner)| (*owner == node).then_some(slot))
    }

    /// One slot of each primary, by which a command for all of them finds its way, also when they change meanwhile.
    pub(super) fn first_slots(&self) -> Vec<u16> {
        let mut seen = vec![false; self.nodes.len()];
        let slots = (0..SLOTS).zip(&self.owners);
        slots
            .filter_map(|(slot, owner)| {
                let seen = seen.get_mut(*owner)?;
                (!std::mem::replace(seen, true)).then_some(slot)
            })
            .collect()
    }

    /// Sends a command on this very link to the owner of a slot, or not at all.
    pub(super) fn submit_on(&mut self, slot: Option<u16>, link: u64, ticket: BoxedTicket, asked: Option<Instant>) {
        let node = slot.and_then(|slot| self.owner(slot)).and_then(|node| self.nodes.get_mut(node)?.as_mut());
        match node.filter(|node| link_number(node.number, node.driver.generation()) == link) {
            Some(node) => node.driver.submit_on(node.driver.generation(), ticket, asked),
            None => {
                let words = "the connection that this command depends on is gone";
                ticket.complete(Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, words)));
            }
        }
    }

    pub(super) fn submit(&mut self, node: usize, ticket: BoxedTicket, deadline: Deadline) {
        match self.nodes.get_mut(node) {
            Some(Some(node)) => node.driver.submit_by(ticket, deadline),
            // It was parted with, and its number is not given to another before nobody knows it.
            _ => ticket.complete(Err(cause_of_leaving().error(crate::error::Fate::NotSent))),
        }
    }

    /// The number of the node at `address`, which is dialled if it is new.
    pub(super) fn ensure(&mut self, address: &HostPort) -> usize {
        let known = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.address == *address);
        if let Some(at) = self.nodes.iter().position(known) {
            return at;
        }
        let recipe = Arc::new(self.recipe.for_server(Address::Tcp(address.clone())));
        let (sender, status) = watch::channel(Status::new(Instant::now()));
        let fanout = Fanout::relay(address.to_string().into(), self.told.clone(), sender);
        let mut driver = Driver::new(recipe, self.policy.clone(), fanout, Arc::new(Gauges::new()));
        driver.connect();
        // Until a look at the cluster says that it has slots.
        let leaving = Some(Instant::now() + FAREWELL * 20);
        self.numbers = self.numbers.wrapping_add(1);
        let number = self.numbers;
        let node = Some(Node { address: address.clone(), driver, status, number, leaving });
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

    /// A node said that the slot is at `to`.
    pub(super) fn moved(&mut self, slot: u16, to: &HostPort) {
        let node = self.ensure(to);
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = node;
        }
        if let Some(Some(node)) = self.nodes.get_mut(node) {
            node.leaving = None;
        }
    }

    /// The cluster looks like this now. Returns what waits at a node that has lost slots, in order.
    pub(super) fn adopt(&mut self, map: &Map, now: Instant) -> Homeless {
        let before = self.owners.clone();
        let mut owners = vec![NOBODY; usize::from(SLOTS)];
        let mut staying = vec![false; self.nodes.len()];
        let primaries: Vec<HostPort> = map.shards().map(|shard| shard.primary.clone()).collect();
        for primary in &primaries {
            let node = self.ensure(primary);
            staying.resize(self.nodes.len().max(staying.len()), false);
            if let Some(staying) = staying.get_mut(node) {
                *staying = true;
            }
            for slots in map.slots_of(primary) {
                let slots = usize::from(*slots.start())..=usize::from(*slots.end());
                if let Some(owners) = owners.get_mut(slots) {
                    owners.fill(node);
                }
            }
        }
        self.owners = owners.into();
        let mut lost = vec![false; self.nodes.len()];
        for (before, owner) in before.iter().zip(&self.owners) {
            if before != owner
                && let Some(lost) = lost.get_mut(*before)
            {
                *lost = true;
            }
        }
        let mut homeless = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            let staying = staying.get(at).copied().unwrap_or_default();
            if staying {
                node.leaving = None;
            } else if node.leaving.is_none() {
                node.leaving = Some(now + FAREWELL);
            }
            if lost.get(at).copied().unwrap_or_default() || !staying {
                homeless.extend(node.driver.take_queued());
            }
        }
        homeless
    }

    /// When [`part_with_those_who_left`](Self::part_with_those_who_left) has something to do.
    pub(super) fn next_farewell(&self) -> Option<Instant> {
        self.all().filter_map(|node| node.leaving).min()
    }

    /// Ends the links to nodes that had time enough. Returns what can be sent to others.
    pub(super) fn part_with_those_who_left(&mut self, now: Instant) -> Homeless {
        let mut homeless = Vec::new();
        for place in &mut self.nodes {
            let Some(node) = place.as_mut().filter(|node| node.leaving.is_some_and(|at| at <= now)) else { continue };
            node.driver.sever("the node has no slots of the cluster any more");
            homeless.extend(node.driver.take_queued());
            node.driver.abort(cause_of_leaving());
            *place = None;
        }
        homeless
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

fn cause_of_leaving() -> Cause {
    Cause::new(CauseKind::Shutdown, "the node has no slots of the cluster any more")
}
