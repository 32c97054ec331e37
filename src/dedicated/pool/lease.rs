//! A connection in the hands of one user.

use std::{pin::pin, sync::Arc};

use futures_util::future::select;

use super::{Links, process::ProcessId};
use crate::actors::connection::GetServerInfo;
use crate::client::Redis;
use crate::client::in_flight_limit::Permit;
use crate::cluster::redirect;
use crate::cluster::redirect::Redirect;
use crate::config::{Address, HostPort};
use crate::error::Error;
use crate::protocol::server_info::ServerInfo;

/// A connection that one user has to itself until it is dropped.
pub(crate) struct LeasedConnection {
    pub(super) links: Arc<Links>,
    pub(super) id: u64,
    pub(super) redis: Redis,
    pub(super) _pass: Permit,
}

impl LeasedConnection {
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Whether the credentials have changed since it was made.
    pub(crate) fn is_outdated(&self) -> bool {
        self.links.state().open.iter().any(|link| link.id == self.id && link.outdated)
    }

    /// Whether its link leads to the right server, so far as is known.
    pub(crate) fn leads_right(&self, server_info: &ServerInfo) -> bool {
        let address = server_info.address.as_ref();
        address.is_none_or(|address| {
            self.redis.shared.connect_params.leads_right(address, server_info.peer, server_info.demotions)
        })
    }

    /// The node that an error in answer to ASK names, if it is one.
    pub(crate) async fn asked(&self, error: &Error) -> Option<HostPort> {
        let server_info = self.redis.address().send(GetServerInfo).await.ok()?;
        let here = match server_info.address? {
            Address::Tcp(here) => here,
            Address::Unix(_) => return None,
        };
        match redirect::of_error(error, &here)?.into_reachable(self.redis.config()) {
            Redirect::Ask { to } => Some(to),
            _ => None,
        }
    }

    /// Waits until that is not so, or the credentials have changed.
    pub(crate) async fn is_to_leave(&self, server_info: &ServerInfo) {
        let connect_params = &self.redis.shared.connect_params;
        let (mut seen, mut outdated) = (connect_params.seen(), self.links.outdated.subscribe());
        while self.leads_right(server_info) && !self.is_outdated() {
            // The sender outlives this.
            select(pin!(connect_params.changed(&mut seen)), pin!(outdated.changed())).await;
        }
    }

    /// The server process behind its link of this generation, if it was asked for.
    pub(crate) fn process(&self, generation: u64) -> Option<ProcessId> {
        let state = self.links.state();
        let known = state.open.iter().find(|link| link.id == self.id)?.process.clone();
        known.filter(|(of, _)| *of == generation).map(|(_, process)| process)
    }

    pub(crate) fn note_process(&self, generation: u64, process: ProcessId) {
        let mut state = self.links.state();
        if let Some(link) = state.open.iter_mut().find(|link| link.id == self.id) {
            link.process = Some((generation, process));
        }
    }

    /// Closes it instead of returning it to the pool: the next user would wait for a command that it still runs.
    pub(crate) fn discard(self) {
        self.links.give_back(self.id, false);
    }
}

impl Drop for LeasedConnection {
    fn drop(&mut self) {
        self.links.give_back(self.id, true);
    }
}
