//! What the handles of a cluster know of it, and their way to connections to one node alone.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use crate::actors::driver::ShutdownReport;
use crate::builder::Plan;
use crate::config::{Address, HostPort};
use crate::core::cluster::{map::Map, slot::Slots};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::Status;
use crate::links::{LinkLimit, Links};

/// How a cluster looked last.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// Counts the pictures.
    pub(crate) version: u64,
    pub(crate) map: Map,
    nodes: Vec<(HostPort, watch::Receiver<Status>)>,
}

impl Picture {
    #[cfg(test)]
    pub(crate) fn of(version: u64, map: Map) -> Self {
        Self { version, map, nodes: Vec::new() }
    }

    pub(crate) fn status_of(&self, node: &HostPort) -> Option<Status> {
        let (_, status) = self.nodes.iter().find(|(address, _)| address == node)?;
        Some(status.borrow().clone())
    }
}

/// The actor's end.
pub(crate) struct Announce(watch::Sender<Arc<Picture>>);

impl Announce {
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<Picture>>) {
        let (sender, receiver) = watch::channel(Arc::default());
        (Self(sender), receiver)
    }

    pub(crate) fn tell(&self, map: &Map, nodes: Vec<(HostPort, watch::Receiver<Status>)>) {
        self.0.send_modify(|picture| {
            *picture = Arc::new(Picture { version: picture.version + 1, map: map.clone(), nodes });
        });
    }
}

/// The handles' end.
pub(crate) struct Topology {
    picture: watch::Receiver<Arc<Picture>>,
    slots: Slots,
    plan: Plan,
    limit: LinkLimit,
    links: Mutex<Option<HashMap<HostPort, Arc<Links>>>>,
}

impl Topology {
    pub(crate) fn new(picture: watch::Receiver<Arc<Picture>>, slots: Slots, plan: Plan, limit: LinkLimit) -> Self {
        Self { picture, slots, plan, limit, links: Mutex::new(Some(HashMap::new())) }
    }

    pub(crate) fn slots(&self) -> Slots {
        self.slots
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Picture>> {
        self.picture.clone()
    }

    pub(crate) fn picture(&self) -> Arc<Picture> {
        self.picture.borrow().clone()
    }

    /// As [`picture`](Self::picture), as soon as there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] when there is none within `patience`.
    pub(crate) async fn seen(&self, patience: Duration) -> Result<Arc<Picture>> {
        let mut picture = self.picture.clone();
        let seen = tokio::time::timeout(patience, picture.wait_for(|picture| picture.version > 0)).await;
        match seen {
            Ok(Ok(picture)) => Ok(picture.clone()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::Closed, Fate::NotSent, "the connection was shut down")),
            Err(_) => {
                let words = "no node of the cluster has said in time how it looks";
                Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, words))
            }
        }
    }

    /// Connections to the owner of a slot alone.
    ///
    /// # Errors
    /// When nobody owns it, or after a shutdown.
    pub(crate) async fn links_of(&self, slot: u16, patience: Duration) -> Result<Arc<Links>> {
        let picture = self.seen(patience).await?;
        let owner = picture.map.owner(slot).ok_or_else(|| {
            Error::new(ErrorKind::Disconnected, Fate::NotSent, "no node of the cluster owns the slot of the key")
        })?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(links) = &mut *links else {
            return Err(Error::new(ErrorKind::Closed, Fate::NotSent, "the connection was shut down"));
        };
        // Those to nodes that are gone end by themselves when they are idle.
        let statuses = &picture.nodes;
        links.retain(|node, _| node == owner || statuses.iter().any(|(known, _)| known == node));
        let made = || Links::new(self.plan.for_server(Address::Tcp(owner.clone())), self.limit);
        Ok(links.entry(owner.clone()).or_insert_with(made).clone())
    }

    /// Ends all of these connections.
    pub(crate) fn close(&self, within: Duration) -> Vec<oneshot::Receiver<ShutdownReport>> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner).take();
        links.into_iter().flatten().flat_map(|(_, links)| links.close(within)).collect()
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology").field("picture", &self.picture()).finish_non_exhaustive()
    }
}
