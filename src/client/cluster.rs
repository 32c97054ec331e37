//! What a handle knows of the nodes of its cluster.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Redis, is_answer};
use crate::actors::connection::Connect;
use crate::cluster::redirect::is_one;
use crate::cluster::topology::{NodeStatus, TopologySnapshot};
use crate::error::{Error, Result};
use crate::events::ConnectionState;
use crate::frame::{Frame, WhenDown};
use crate::messages::Command;

/// One node of a cluster, or a replica that sentinels name; see [`ConnectionInfo::nodes`](crate::ConnectionInfo::nodes).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Where it is, as `host:port`.
    pub address: String,
    /// `primary` or `replica`.
    pub role: &'static str,
    /// The slots that it serves, in ranges; those of its primary for a replica; none outside of a cluster.
    pub slots: Vec<RangeInclusive<u16>>,
    /// What the link to it is doing. `None` where there is none: a replica has one when somebody wants to read from it.
    pub state: Option<ConnectionState>,
    /// How long PING took from here and back, as [`Redis::health`] has measured it.
    pub round_trip: Option<Duration>,
}

/// PING to one node.
pub(super) struct PingNode(u16);

impl actix::Message for PingNode {
    type Result = Result<()>;
}

impl Command for PingNode {
    type Reply = ();

    fn frame(&self) -> Frame {
        Frame::known("PING").read_only().when_down(WhenDown::FailFast).on_slot(self.0)
    }

    fn reply(_: redis::Value) -> Result<()> {
        Ok(())
    }
}

impl Redis {
    /// The nodes of the cluster, as far as they are known.
    pub(super) fn nodes(&self) -> Vec<NodeInfo> {
        let Some(topology) = &self.shared.topology else { return self.replicas() };
        let snapshot = topology.snapshot();
        let mut nodes = Vec::new();
        for shard in snapshot.map.shards() {
            let slots = snapshot.map.slots_of(&shard.primary);
            let roles = [(&shard.primary, "primary")].into_iter();
            for (node, role) in roles.chain(shard.replicas.iter().map(|replica| (replica, "replica"))) {
                let state = snapshot.status_of(node).map(|status| status.state);
                let (address, slots) = (node.to_string(), slots.clone());
                nodes.push(NodeInfo { address, role, slots, state, round_trip: None });
            }
        }
        nodes
    }

    /// Those that sentinels have named, as soon as somebody has wanted to read from them.
    fn replicas(&self) -> Vec<NodeInfo> {
        let replicas = self.shared.replicas.as_ref().map(|replicas| replicas.borrow().clone()).unwrap_or_default();
        let info = |(address, _, status): &NodeStatus| NodeInfo {
            address: address.to_string(),
            role: "replica",
            slots: Vec::new(),
            state: Some(status.borrow().state),
            round_trip: None,
        };
        replicas.iter().map(info).collect()
    }

    /// The same, with the time that each primary took to answer PING.
    pub(super) async fn nodes_that_answer(&self) -> Vec<NodeInfo> {
        let mut nodes = self.nodes();
        let pings: Vec<_> = nodes
            .iter()
            .map(|node| {
                let slot = node.slots.first().filter(|_| node.role == "primary").map(|slots| *slots.start());
                slot.map(|slot| (Instant::now(), self.send(PingNode(slot))))
            })
            .collect();
        for (node, ping) in nodes.iter_mut().zip(pings) {
            if let Some((asked, ping)) = ping {
                node.round_trip = is_answer(ping.await).is_ok().then(|| asked.elapsed());
            }
        }
        nodes
    }

    /// How the cluster looks, as soon as that is known.
    ///
    /// # Errors
    /// When it is not known within the command timeout.
    pub(crate) async fn snapshot(&self) -> Result<Arc<TopologySnapshot>> {
        self.addr.do_send(Connect);
        match &self.shared.topology {
            Some(topology) => topology.seen(self.config().command_timeout()).await,
            None => Ok(Arc::default()),
        }
    }

    /// The slot of a key; `None` where there is one server.
    pub(crate) fn slot_of(&self, key: impl AsRef<[u8]>) -> Option<u16> {
        self.shared.topology.as_ref().map(|topology| topology.slots().of(key.as_ref()))
    }

    /// Whether a node said that the command belongs elsewhere. Then it is looked up where.
    pub(crate) fn is_redirect(&self, error: &Error) -> bool {
        let Some(topology) = self.shared.topology.as_ref().filter(|_| error.code().is_some_and(is_one)) else {
            return false;
        };
        topology.refresh_topology();
        true
    }
}
