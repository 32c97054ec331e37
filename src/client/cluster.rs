//! Information about the nodes of a cluster.

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

/// One node of a cluster, or a replica behind sentinels; see [`ConnectionInfo::nodes`](crate::ConnectionInfo::nodes).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The address as `host:port`.
    pub address: String,
    /// `primary` or `replica`.
    pub role: &'static str,
    /// Its slots in ranges; for a replica those of its primary; empty without a cluster.
    pub slots: Vec<RangeInclusive<u16>>,
    /// The state of its link; `None` without a link. A replica has a link after the first read that allows replicas.
    pub state: Option<ConnectionState>,
    /// The round-trip time of PING, measured by [`Redis::health`].
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
    /// The known nodes of the cluster.
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

    /// The replicas reported by sentinels, after the first read that allows replicas.
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

    /// The same with the round-trip time of PING of each primary.
    pub(super) async fn nodes_with_round_trips(&self) -> Vec<NodeInfo> {
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

    /// The topology, as soon as it is known.
    ///
    /// # Errors
    /// If it is not known within the command timeout.
    pub(crate) async fn snapshot(&self) -> Result<Arc<TopologySnapshot>> {
        self.addr.do_send(Connect);
        match &self.shared.topology {
            Some(topology) => topology.seen(self.config().command_timeout()).await,
            None => Ok(Arc::default()),
        }
    }

    /// The slot of a key; `None` for a single server.
    pub(crate) fn slot_of(&self, key: impl AsRef<[u8]>) -> Option<u16> {
        self.shared.topology.as_ref().map(|topology| topology.slots().of(key.as_ref()))
    }

    /// Whether a node replied that the command belongs to another node, which is then located.
    pub(crate) fn is_redirect(&self, error: &Error) -> bool {
        let Some(topology) = self.shared.topology.as_ref().filter(|_| error.code().is_some_and(is_one)) else {
            return false;
        };
        topology.refresh_topology();
        true
    }
}
