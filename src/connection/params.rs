//! What links are made from, and where they lead.

use std::{io, net::SocketAddr, pin::pin, sync::Arc};

use futures_util::future::{Either, select};

use super::demotion::Demotions;
use super::endpoint::{Endpoint, LinkToken, Master};
use crate::cache::ClientCache;
use crate::client::gauges::Losses;
use crate::config::credentials::Provider;
use crate::config::{Address, RedisConfig, Secret};
use crate::connection::admission::RefusalPolicy;
use crate::events::{Cause, CauseKind};
use crate::protocol::optional_steps::OptionalSteps;
use crate::single_flight::SingleFlight;
use crate::transport::dial::Target;

/// What a link is made from; the same for every dial.
#[derive(Clone)]
pub(crate) struct ConnectParams {
    pub(crate) config: RedisConfig,
    pub(crate) target: Target,
    /// What the server sees in CLIENT LIST.
    pub(crate) client_name: Option<String>,
    pub(crate) credentials: Option<Provider>,
    /// A node of a cluster, whose slots may move to others.
    pub(crate) in_cluster: bool,
    pub(crate) place: Endpoint,
    /// Shared by all connections of one handle; `None` where a replica is expected or named by others.
    pub(crate) demotions: Option<Demotions>,
    /// The links that were lost, of all connections of one handle.
    pub(crate) losses: Arc<Losses>,
    /// The link is for reads, and leads to a replica.
    pub(crate) replica: Option<Replica>,
    /// The read of the password file under way.
    pub(crate) password_reads: Arc<SingleFlight<Result<Option<Secret>, io::ErrorKind>>>,
    /// Of the handle that all these connections belong to.
    pub(crate) cache: Option<Arc<ClientCache>>,
    /// Reads on this connection fill the cache.
    pub(crate) tracks: bool,
    /// Which steps of the handshake its servers hang up on.
    pub(crate) optional: Arc<OptionalSteps>,
}

/// What a link to a replica needs before it is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replica {
    /// A node of a cluster: it sends reads to its primary until it receives READONLY.
    InCluster,
    /// One that sentinels name: it has to be one by its own word, and follow its master.
    Named,
}

/// The changes of the server's address that an observer has seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeenChanges {
    demotions: u64,
    place: u64,
}

impl ConnectParams {
    /// For one server at a fixed address; nothing is shared with other connections.
    pub(crate) fn new(config: RedisConfig, target: Target) -> Self {
        Self {
            config,
            target,
            client_name: None,
            credentials: None,
            in_cluster: false,
            place: Endpoint::Fixed,
            demotions: None,
            losses: Arc::default(),
            replica: None,
            password_reads: Arc::default(),
            optional: Arc::default(),
            cache: None,
            tracks: false,
        }
    }

    /// The same for reads at a replica.
    pub(crate) fn for_replica(&self, address: Address, replica: Replica) -> Self {
        Self { replica: Some(replica), tracks: false, ..self.for_server(address) }
    }

    /// Which refusals a link waits out by itself.
    pub(crate) fn time_limit(&self) -> RefusalPolicy {
        match self.replica {
            Some(_) => RefusalPolicy::None,
            None if self.in_cluster => RefusalPolicy::ButSlots,
            None => RefusalPolicy::All,
        }
    }

    /// The same for another server.
    pub(crate) fn for_server(&self, address: Address) -> Self {
        let target = Target { address, ..self.target.clone() };
        Self {
            config: self.config.clone(),
            target,
            client_name: self.client_name.clone(),
            credentials: self.credentials.clone(),
            in_cluster: self.in_cluster,
            place: Endpoint::Fixed,
            demotions: None,
            losses: self.losses.clone(),
            replica: None,
            password_reads: self.password_reads.clone(),
            optional: self.optional.clone(),
            cache: self.cache.clone(),
            tracks: self.tracks,
        }
    }

    /// How many demotions were seen so far, to be noted when a dial begins.
    pub(crate) fn demotions_seen(&self) -> u64 {
        self.demotions.as_ref().map_or(0, Demotions::count)
    }

    /// A link that was dialled when there were `at_dial` demotions leads to a server that was a master, and is none.
    pub(crate) fn report_demotion(&self, at_dial: u64) {
        if let Some(demotions) = &self.demotions {
            demotions.report(at_dial);
        }
    }

    /// Whether a link to `address` that was dialled when there were `at_dial` demotions leads to the right server, so far as
    /// is known.
    pub(crate) fn leads_right(&self, address: &Address, peer: Option<SocketAddr>, at_dial: u64) -> bool {
        self.is_place(address, peer) && self.demotions_seen() == at_dial
    }

    /// Whether `address` is the place to dial, so far as is known.
    pub(crate) fn is_place(&self, address: &Address, peer: Option<SocketAddr>) -> bool {
        match &self.place {
            Endpoint::Found(found) => found.leads_to(address, peer),
            Endpoint::Fixed | Endpoint::Sentinel => true,
        }
    }

    /// The master that sentinels name, if this is one of them and it is known.
    pub(crate) fn master(&self) -> Option<Master> {
        match &self.place {
            Endpoint::Found(found) => found.master()?.borrow().clone(),
            Endpoint::Fixed | Endpoint::Sentinel => None,
        }
    }

    /// Waits until [`leads_right`](Self::leads_right) may say something else.
    pub(crate) async fn changed(&self, seen: &mut SeenChanges) {
        let before = *seen;
        let demoted = pin!(async {
            match &self.demotions {
                Some(demotions) => demotions.changed(before.demotions).await,
                None => std::future::pending().await,
            }
        });
        let moved = pin!(async {
            match &self.place {
                Endpoint::Found(found) => found.changed(before.place).await,
                Endpoint::Fixed | Endpoint::Sentinel => std::future::pending().await,
            }
        });
        match select(demoted, moved).await {
            Either::Left((demotions, _)) => seen.demotions = demotions,
            Either::Right((place, _)) => seen.place = place,
        }
    }

    /// The current state, for [`changed`](Self::changed).
    pub(crate) fn seen(&self) -> SeenChanges {
        SeenChanges { demotions: self.demotions_seen(), place: 0 }
    }

    /// A dial to `address` has ended.
    pub(crate) fn dialled(&self, address: &Address, failure: Option<CauseKind>) {
        if let Endpoint::Found(found) = &self.place {
            let not_there = [CauseKind::Unreachable, CauseKind::Broken, CauseKind::Stalled, CauseKind::NotReady];
            found.dialled(address, failure.is_some_and(|kind| not_there.contains(&kind)));
        }
    }

    /// What a link to `address` keeps while it is up.
    pub(crate) fn link_token(&self, address: &Address) -> Option<LinkToken> {
        match &self.place {
            Endpoint::Found(found) => found.link_token(address),
            Endpoint::Fixed | Endpoint::Sentinel => None,
        }
    }

    /// What to dial now.
    pub(crate) async fn locate(&self) -> Result<Target, Cause> {
        match &self.place {
            Endpoint::Fixed | Endpoint::Sentinel => Ok(self.target.clone()),
            Endpoint::Found(found) => Ok(Target { address: found.locate().await?, ..self.target.clone() }),
        }
    }
}
