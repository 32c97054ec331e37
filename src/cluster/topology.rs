//! What handles know of their cluster, and where in it a connection to one node leads.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Message, WeakRecipient};
use tokio::sync::watch;

use crate::cluster::route::{Route, route};
use crate::cluster::slot::Slots;
use crate::cluster::slot_map::Map;
use crate::config::{Address, HostPort};
use crate::connection::endpoint::{AddressChange, AddressLookup, Locate};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{Cause, CauseKind, ConnectionState, Status};
use crate::frame::Frame;

/// Topologies come out of order while nodes disagree. A node that owns a slot in none of them for this time has lost it.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a node that is cut off from the others is avoided where any will do.
const AVOIDED: Duration = Duration::from_secs(30);

/// Requests a refresh of the topology, which was found wrong.
pub(crate) struct RefreshTopology;

impl Message for RefreshTopology {
    type Result = ();
}

/// A node, which of the links of its router it has, and what that is doing.
pub(crate) type NodeStatus = (HostPort, u32, watch::Receiver<Status>);

/// The last topology of a cluster.
#[derive(Debug, Default)]
pub(crate) struct TopologySnapshot {
    /// Counts the topologies.
    pub(crate) version: u64,
    pub(crate) map: Map,
    nodes: Vec<NodeStatus>,
}

impl TopologySnapshot {
    #[cfg(test)]
    pub(crate) fn of(version: u64, map: Map) -> Self {
        Self { version, map, nodes: Vec::new() }
    }

    pub(crate) fn status_of(&self, node: &HostPort) -> Option<Status> {
        let (_, _, status) = self.nodes.iter().find(|(address, ..)| address == node)?;
        Some(status.borrow().clone())
    }

    /// The link that the router has to the owner of a slot now, if it has one: a number that no other link of it gets.
    pub(crate) fn link_of(&self, slot: u16) -> Option<u64> {
        let owner = self.map.owner(slot)?;
        let (_, node, status) = self.nodes.iter().find(|(address, ..)| address == owner)?;
        let status = status.borrow();
        (status.state == ConnectionState::Ready).then(|| link_id(*node, status.generation))
    }
}

/// The number of a link among those of a router.
pub(crate) fn link_id(node: u32, generation: u64) -> u64 {
    u64::from(node) << 32 | (generation & u64::from(u32::MAX))
}

/// The actor's end.
pub(crate) struct TopologyPublisher(watch::Sender<Arc<TopologySnapshot>>);

impl TopologyPublisher {
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<TopologySnapshot>>) {
        let (sender, receiver) = watch::channel(Arc::default());
        (Self(sender), receiver)
    }

    pub(crate) fn emit(&self, map: &Map, nodes: Vec<NodeStatus>) {
        self.0.send_modify(|snapshot| {
            *snapshot = Arc::new(TopologySnapshot { version: snapshot.version + 1, map: map.clone(), nodes });
        });
    }
}

/// The handles' end.
pub(crate) struct Topology {
    snapshot: watch::Receiver<Arc<TopologySnapshot>>,
    slots: Slots,
    cluster: WeakRecipient<RefreshTopology>,
    /// A node that was found to be cut off from the others, and when.
    avoided: Mutex<Option<(HostPort, Instant)>>,
}

impl Topology {
    pub(crate) fn new(
        snapshot: watch::Receiver<Arc<TopologySnapshot>>,
        slots: Slots,
        cluster: WeakRecipient<RefreshTopology>,
    ) -> Arc<Self> {
        Arc::new(Self { snapshot, slots, cluster, avoided: Mutex::default() })
    }

    pub(crate) fn slots(&self) -> Slots {
        self.slots
    }

    /// The topology, now and whenever it changes.
    pub(crate) fn topology_changes(&self) -> watch::Receiver<Arc<TopologySnapshot>> {
        self.snapshot.clone()
    }

    pub(crate) fn snapshot(&self) -> Arc<TopologySnapshot> {
        self.snapshot.borrow().clone()
    }

    /// As [`snapshot`](Self::snapshot), as soon as there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] when there is none within `time_limit`.
    pub(crate) async fn seen(&self, time_limit: Duration) -> Result<Arc<TopologySnapshot>> {
        let mut snapshot = self.snapshot.clone();
        let seen = tokio::time::timeout(time_limit, snapshot.wait_for(|snapshot| snapshot.version > 0)).await;
        match seen {
            Ok(Ok(snapshot)) => Ok(snapshot.clone()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::Closed, Fate::NotSent, "the connection was shut down")),
            Err(_) => {
                let words = "no node of the cluster has said in time how it looks";
                Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, words))
            }
        }
    }

    /// The slot whose owner alone can run a command.
    ///
    /// # Errors
    /// When no node could run it.
    pub(crate) fn slot_of(&self, frame: &Frame) -> Result<Option<u16>> {
        if frame.unit().is_some_and(|unit| !unit.is_atomic()) {
            // In one piece, as it is sent on a link of its own.
            let slots = (0..frame.unit().map_or(0, |unit| unit.len())).filter_map(|at| frame.unit()?.command(at));
            let mut whole = None;
            for part in slots {
                match (self.slot_of(&part)?, whole) {
                    (Some(slot), Some(other)) if slot != other => return Err(needs_one_node(frame)),
                    (Some(slot), _) => whole = Some(slot),
                    (None, _) => {}
                }
            }
            return Ok(whole);
        }
        match route(frame, &self.slots)? {
            Route::Slot(slot) => Ok(Some(slot)),
            Route::Any | Route::Prefer(_) => Ok(None),
            Route::Scattered(..) | Route::Each | Route::Primaries(_) => Err(needs_one_node(frame)),
        }
    }

    /// Asks the cluster's actor to refresh the topology soon.
    pub(crate) fn refresh_topology(&self) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.do_send(RefreshTopology);
        }
    }

    /// The topology. A link was lost or has to be made, so a refresh is requested as well.
    async fn refresh_unless(&self) -> std::result::Result<Arc<TopologySnapshot>, Cause> {
        self.refresh_topology();
        let mut snapshot = self.snapshot.clone();
        let seen = snapshot.wait_for(|snapshot| snapshot.version > 0).await;
        seen.map(|snapshot| snapshot.clone())
            .map_err(|_| Cause::new(CauseKind::Shutdown, "the connection to the cluster was shut down"))
    }

    /// A connection that any node will do for does not go to this one for a while: it is cut off from the others.
    pub(crate) fn avoid(&self, node: &HostPort) {
        *self.avoided.lock().unwrap_or_else(PoisonError::into_inner) = Some((node.clone(), Instant::now()));
    }

    fn avoided(&self) -> Option<HostPort> {
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner).clone();
        avoided.filter(|(_, since)| since.elapsed() < AVOIDED).map(|(node, _)| node)
    }

    /// Waits until the topology is another one than `seen`, and had time to be corrected.
    async fn changed(&self, seen: u64) -> u64 {
        let mut snapshot = self.snapshot.clone();
        if snapshot.wait_for(|snapshot| snapshot.version != seen).await.is_err() {
            // The cluster's actor has ended, and so does everything beside it.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(SETTLE).await;
        self.snapshot.borrow().version
    }

    /// Where the owner of a slot is, whichever node that is.
    pub(crate) fn owner(self: &Arc<Self>, slot: u16) -> Arc<Owner> {
        Arc::new(Owner { slot: AtomicU16::new(slot), topology: self.clone() })
    }

    /// Where any node is.
    pub(crate) fn anywhere(self: &Arc<Self>) -> Arc<dyn Locate> {
        Arc::new(Anywhere(self.clone()))
    }
}

fn needs_one_node(frame: &Frame) -> Error {
    let words = "it needs a connection to one node of the cluster: give its keys one hash tag, as in `{user:1}:name`";
    Error::invalid_command(words).of_command(frame.name())
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology").field("picture", &self.snapshot()).finish_non_exhaustive()
    }
}

/// Where the owner of a slot is. While the connection is unused the slot may change to another one of the same node.
pub(crate) struct Owner {
    slot: AtomicU16,
    topology: Arc<Topology>,
}

impl Owner {
    pub(crate) fn slot(&self) -> u16 {
        self.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn retarget(&self, slot: u16) {
        self.slot.store(slot, Ordering::Relaxed);
    }
}

impl Locate for Owner {
    fn locate(&self) -> AddressLookup<'_> {
        Box::pin(async move {
            let owner = self.topology.refresh_unless().await?.map.owner(self.slot()).cloned();
            let no_node_error = || Cause::new(CauseKind::NotReady, "no node of the cluster owns the slot");
            owner.map(Address::Tcp).ok_or_else(no_node_error)
        })
    }

    fn is_master(&self) -> bool {
        false
    }

    fn leads_to(&self, address: &Address, _: Option<SocketAddr>) -> bool {
        let snapshot = self.topology.snapshot();
        let owner = snapshot.map.owner(self.slot());
        owner.is_none_or(|owner| matches!(address, Address::Tcp(node) if node == owner))
    }

    fn changed(&self, seen: u64) -> AddressChange<'_> {
        Box::pin(self.topology.changed(seen))
    }
}

struct Anywhere(Arc<Topology>);

impl Locate for Anywhere {
    fn locate(&self) -> AddressLookup<'_> {
        Box::pin(async move {
            let snapshot = self.0.refresh_unless().await?;
            let (mut ready, mut all) = (Vec::new(), Vec::new());
            for shard in snapshot.map.shards() {
                let is_ready = |status: Status| status.state == ConnectionState::Ready;
                let list = if snapshot.status_of(&shard.primary).is_some_and(is_ready) { &mut ready } else { &mut all };
                list.push(shard.primary.clone());
            }
            let avoided = self.0.avoided();
            for list in [&mut ready, &mut all] {
                list.retain(|node| Some(node) != avoided.as_ref());
            }
            let nodes = [ready, all]
                .into_iter()
                .find(|nodes| !nodes.is_empty())
                .unwrap_or_else(|| avoided.into_iter().collect());
            let no_node_error = || Cause::new(CauseKind::NotReady, "no node of the cluster is known");
            fastrand::choice(nodes).map(Address::Tcp).ok_or_else(no_node_error)
        })
    }

    fn is_master(&self) -> bool {
        false
    }

    /// Any node will do that belongs to the cluster.
    fn leads_to(&self, address: &Address, _: Option<SocketAddr>) -> bool {
        let snapshot = self.0.snapshot();
        let Address::Tcp(node) = address else { return true };
        let mut shards = snapshot.map.shards().peekable();
        shards.peek().is_none() || shards.any(|shard| shard.primary == *node || shard.replicas.contains(node))
    }

    fn changed(&self, seen: u64) -> AddressChange<'_> {
        Box::pin(self.0.changed(seen))
    }
}
