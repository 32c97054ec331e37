//! Where a server is, for those that are not always at the same place.

use std::{
    future::{Future, pending},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
};

use tokio::sync::watch;

use crate::config::{Address, HostPort};
use crate::events::Cause;

/// An address that is being looked up.
pub(crate) type AddressLookup<'a> = Pin<Box<dyn Future<Output = Result<Address, Cause>> + Send + 'a>>;

/// The same for several.
pub(crate) type ReplicaLookup<'a> = Pin<Box<dyn Future<Output = Result<Vec<HostPort>, Cause>> + Send + 'a>>;

/// The master that sentinels name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Master {
    /// Counts the changes: it grows only when the master is another server.
    pub(crate) version: u64,
    pub(crate) address: Address,
    /// The addresses behind the name.
    pub(crate) resolved: Vec<SocketAddr>,
}

impl Master {
    /// Whether a link to `address`, with this server at its other end, leads to it.
    pub(crate) fn is_at(&self, address: &Address, peer: Option<SocketAddr>) -> bool {
        self.address == *address || peer.is_some_and(|peer| self.resolved.contains(&peer))
    }
}

/// Waits for a change of the server's address; the outcome is the version of the new state.
pub(crate) type AddressChange<'a> = Pin<Box<dyn Future<Output = u64> + Send + 'a>>;

/// Kept by each link that is up; see [`Locate::link_token`].
pub(crate) type LinkToken = Arc<()>;

/// Knows where to dial, and is asked before every dial.
pub(crate) trait Locate: Send + Sync {
    fn locate(&self) -> AddressLookup<'_>;

    /// Whether the server found there must report the role of a master.
    fn is_master(&self) -> bool;

    /// A dial to `address` has ended. It has `failed` where no server of the right kind was ready there; one that refuses the
    /// login is there.
    fn dialled(&self, _address: &Address, _failed: bool) {}

    /// What a link to `address` keeps while it is up. While one is kept, failed dials to that address are no evidence that the
    /// server is lost.
    fn link_token(&self, _address: &Address) -> Option<LinkToken> {
        None
    }

    /// The master and its changes; `None` before it is known for the first time, and where there is no such thing.
    fn master(&self) -> Option<watch::Receiver<Option<Master>>> {
        None
    }

    /// The known addresses of the replicas of the server found there.
    fn replicas(&self) -> ReplicaLookup<'_> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Whether a link to `address`, with `peer` at its other end, leads to the right server, so far as is known without
    /// asking.
    fn leads_to(&self, address: &Address, peer: Option<SocketAddr>) -> bool {
        let master = self.master().and_then(|master| master.borrow().clone());
        master.is_none_or(|master| master.is_at(address, peer))
    }

    /// Waits until [`leads_to`](Self::leads_to) may say something else than at the version `seen`; 0 is before the first.
    fn changed(&self, seen: u64) -> AddressChange<'_> {
        let Some(mut master) = self.master() else { return Box::pin(pending()) };
        Box::pin(async move {
            let version = |master: &Option<Master>| master.as_ref().map_or(0, |master| master.version);
            let known = master.wait_for(|master| version(master) != seen).await.ok().map(|master| version(&master));
            match known {
                Some(version) => version,
                // The sentinels are no longer asked: the connection has ended, and so do its auxiliary connections.
                None => pending().await,
            }
        })
    }
}

/// The endpoint of `ConnectParams`.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// Where the target says.
    Fixed,
    /// The same, and it is a sentinel: it has users of its own and no databases.
    Sentinel,
    /// Where it is found.
    Found(Arc<dyn Locate>),
}

impl Endpoint {
    /// Whether the next dial may lead elsewhere.
    pub(crate) fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }

    pub(crate) fn is_master(&self) -> bool {
        matches!(self, Self::Found(found) if found.is_master())
    }
}
