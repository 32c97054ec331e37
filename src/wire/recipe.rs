//! What links are made from, and where they lead.

use std::{io, sync::Arc};

use super::dial::Target;
use super::optional::OptionalSteps;
use super::place::Place;
use crate::config::{Address, RedisConfig, Secret};
use crate::core::admission::Patience;
use crate::credentials::Provider;
use crate::events::Cause;
use crate::single_flight::SingleFlight;

/// What a link is made from; the same for every dial.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) config: RedisConfig,
    pub(crate) target: Target,
    /// What the server sees in CLIENT LIST.
    pub(crate) client_name: Option<String>,
    pub(crate) credentials: Option<Provider>,
    /// A node of a cluster, whose slots may move to others.
    pub(crate) in_cluster: bool,
    pub(crate) place: Place,
    /// The link is for reads, and leads to a replica.
    pub(crate) replica: Option<Replica>,
    /// The read of the password file under way.
    pub(crate) password_reads: Arc<SingleFlight<Result<Option<Secret>, io::ErrorKind>>>,
    /// Which steps of the handshake its servers hang up on.
    pub(crate) optional: Arc<OptionalSteps>,
}

/// What a link to a replica needs before it is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replica {
    /// A node of a cluster: it sends reads to its primary until it is told that READONLY is meant.
    InCluster,
    /// One that sentinels name: it has to be one by its own word, and follow its master.
    Named,
}

impl Recipe {
    /// The same for reads at a replica.
    pub(crate) fn for_replica(&self, address: Address, replica: Replica) -> Self {
        Self { replica: Some(replica), ..self.for_server(address) }
    }

    /// Which refusals a link waits out by itself.
    pub(crate) fn patience(&self) -> Patience {
        match self.replica {
            Some(_) => Patience::None,
            None if self.in_cluster => Patience::ButSlots,
            None => Patience::All,
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
            place: Place::Fixed,
            replica: None,
            password_reads: self.password_reads.clone(),
            optional: self.optional.clone(),
        }
    }

    /// What to dial now.
    pub(super) async fn locate(&self) -> Result<Target, Cause> {
        match &self.place {
            Place::Fixed | Place::Sentinel => Ok(self.target.clone()),
            Place::Found(found) => Ok(Target { address: found.locate().await?, ..self.target.clone() }),
        }
    }
}
