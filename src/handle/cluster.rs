//! What a handle knows of the nodes of its cluster.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::WeakAddr;
use tokio::sync::watch;

use super::Redis;
use crate::actors::connection::{Connect, Look, RedisActor};
use crate::config::Address;
use crate::core::cluster::{
    redirect::is_one,
    route::{Route, route},
};
use crate::error::{Error, Result};
use crate::events::{Cause, CauseKind, ConnectionState};
use crate::frame::{Frame, WhenDown};
use crate::links::Links;
use crate::messages::Command;
use crate::topology::Picture;
use crate::wire::place::{Locate, Looking};

/// One node of a cluster; see [`ConnectionInfo::nodes`](crate::ConnectionInfo::nodes).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Where it is, as `host:port`.
    pub address: String,
    /// `primary` or `replica`.
    pub role: &'static str,
    /// The slots that it serves, in ranges; those of its primary for a replica.
    pub slots: Vec<RangeInclusive<u16>>,
    /// What the link to it is doing. `None` where there is none.
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
        let Some(topology) = &self.shared.topology else { return Vec::new() };
        let picture = topology.picture();
        let mut nodes = Vec::new();
        for shard in picture.map.shards() {
            let slots = picture.map.slots_of(&shard.primary);
            let roles = [(&shard.primary, "primary")].into_iter();
            for (node, role) in roles.chain(shard.replicas.iter().map(|replica| (replica, "replica"))) {
                let state = picture.status_of(node).map(|status| status.state);
                let (address, slots) = (node.to_string(), slots.clone());
                nodes.push(NodeInfo { address, role, slots, state, round_trip: None });
            }
        }
        nodes
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
                node.round_trip = ping.await.is_ok().then(|| asked.elapsed());
            }
        }
        nodes
    }

    /// How the cluster looks, as soon as that is known.
    ///
    /// # Errors
    /// When it is not known within the command timeout.
    pub(crate) async fn picture(&self) -> Result<Arc<Picture>> {
        self.addr.do_send(Connect);
        match &self.shared.topology {
            Some(topology) => topology.seen(self.config().command_timeout()).await,
            None => Ok(Arc::default()),
        }
    }

    /// Where the node is that owns a key; `None` where there is one server.
    pub(crate) fn beside(&self, key: impl AsRef<[u8]>) -> Option<Arc<dyn Locate>> {
        let topology = self.shared.topology.as_ref()?;
        let slot = topology.slots().of(key.as_ref());
        let look = self.addr.downgrade();
        Some(Arc::new(Owner { slot, picture: topology.watch(), cluster: look }))
    }

    /// The slot of a key; `None` where there is one server.
    pub(crate) fn slot_of(&self, key: impl AsRef<[u8]>) -> Option<u16> {
        self.shared.topology.as_ref().map(|topology| topology.slots().of(key.as_ref()))
    }

    /// Further connections to where this command has to go.
    ///
    /// # Errors
    /// When there is no such place, or it is not known in time.
    pub(crate) async fn links_for(&self, frame: &Frame) -> Result<Arc<Links>> {
        let Some(topology) = &self.shared.topology else { return self.links().cloned() };
        self.addr.do_send(Connect);
        let slot = match route(frame, &topology.slots())? {
            Route::Slot(slot) => slot,
            Route::Parts(..) | Route::Each | Route::Primaries(_) => {
                let words = "it needs a connection to one node of the cluster: give its keys one hash tag";
                return Err(Error::invalid_command(words).of_command(frame.name()));
            }
            Route::Any => 0,
        };
        topology.links_of(slot, self.config().command_timeout()).await
    }

    /// Whether a node said that the command belongs elsewhere. Then it is looked up where.
    pub(crate) fn is_redirect(&self, error: &Error) -> bool {
        let redirect = self.shared.topology.is_some() && error.code().is_some_and(is_one);
        if redirect {
            self.addr.do_send(Look);
        }
        redirect
    }
}

/// The owner of a slot, whichever node that is.
struct Owner {
    slot: u16,
    picture: watch::Receiver<Arc<Picture>>,
    cluster: WeakAddr<RedisActor>,
}

impl Locate for Owner {
    fn locate(&self) -> Looking<'_> {
        // A link to it was lost, or there was none: the picture may be as old.
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.do_send(Look);
        }
        let mut picture = self.picture.clone();
        Box::pin(async move {
            let gone = |_| Cause::new(CauseKind::Shutdown, "the connection to the cluster was shut down");
            let picture = picture.wait_for(|picture| picture.version > 0).await.map_err(gone)?.clone();
            let owner = picture.map.owner(self.slot).cloned();
            owner
                .map(Address::Tcp)
                .ok_or_else(|| Cause::new(CauseKind::NotReady, "no node of the cluster owns the slot"))
        })
    }

    fn is_master(&self) -> bool {
        false
    }
}
