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
use crate::events::{Cause, CauseKind, ConnectionState, Status};
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
    pub(crate) fn is_cluster(&self) -> bool {
        self.shared.topology.is_some()
    }

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
        let cluster = Cluster { picture: topology.watch(), addr: self.addr.downgrade() };
        Some(Arc::new(Owner { slot, cluster }))
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
    cluster: Cluster,
}

/// Any node.
struct Anywhere(Cluster);

struct Cluster {
    picture: watch::Receiver<Arc<Picture>>,
    addr: WeakAddr<RedisActor>,
}

/// Where any node of a cluster is.
pub(crate) fn anywhere(picture: watch::Receiver<Arc<Picture>>, addr: WeakAddr<RedisActor>) -> Arc<dyn Locate> {
    Arc::new(Anywhere(Cluster { picture, addr }))
}

impl Cluster {
    /// How it looks. Somebody asks because a link was lost, or there was none, so it is looked at anew as well.
    async fn look(&self) -> Result<Arc<Picture>, Cause> {
        if let Some(addr) = self.addr.upgrade() {
            addr.do_send(Look);
        }
        let mut picture = self.picture.clone();
        let seen = picture.wait_for(|picture| picture.version > 0).await;
        seen.map(|picture| picture.clone())
            .map_err(|_| Cause::new(CauseKind::Shutdown, "the connection to the cluster was shut down"))
    }
}

impl Locate for Owner {
    fn locate(&self) -> Looking<'_> {
        Box::pin(async move {
            let owner = self.cluster.look().await?.map.owner(self.slot).cloned();
            let nobody = || Cause::new(CauseKind::NotReady, "no node of the cluster owns the slot");
            owner.map(Address::Tcp).ok_or_else(nobody)
        })
    }

    fn is_master(&self) -> bool {
        false
    }
}

impl Locate for Anywhere {
    fn locate(&self) -> Looking<'_> {
        Box::pin(async move {
            let picture = self.0.look().await?;
            let (mut ready, mut all) = (Vec::new(), Vec::new());
            for shard in picture.map.shards() {
                let is_ready = |status: Status| status.state == ConnectionState::Ready;
                let list = if picture.status_of(&shard.primary).is_some_and(is_ready) { &mut ready } else { &mut all };
                list.push(shard.primary.clone());
            }
            let nodes = if ready.is_empty() { all } else { ready };
            let nobody = || Cause::new(CauseKind::NotReady, "no node of the cluster is known");
            fastrand::choice(nodes).map(Address::Tcp).ok_or_else(nobody)
        })
    }

    fn is_master(&self) -> bool {
        false
    }
}
