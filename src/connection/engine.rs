//! What a connection actor drives: one link, those to a master and its replicas, or those to the nodes of a cluster.

use std::{
    task::Context,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::driver::{Driver, ShutdownReport};
use super::request::BoxedTicket;
use crate::client::submit_queue::Callers;
use crate::cluster::router::Router;
use crate::connection::endpoint::Master;
use crate::events::{Cause, ConnectionEvent};
use crate::protocol::server_info::ServerInfo;
use crate::replicas::router::Replicated;

/// See the module.
pub(crate) enum Engine {
    One(Box<Driver>),
    Replicated(Box<Replicated>),
    Cluster(Box<Router>),
}

/// Passes a call on to whichever it is.
macro_rules! pass_on {
    ($self:ident, $engine:ident => $call:expr) => {
        match $self {
            Self::One($engine) => $call,
            Self::Replicated($engine) => $call,
            Self::Cluster($engine) => $call,
        }
    };
}

/// As [`pass_on`], for events of the link to the master.
macro_rules! pass_to_main {
    ($self:ident, $engine:ident => $call:expr) => {
        match $self {
            Self::One($engine) => $call,
            Self::Replicated(replicated) => {
                let $engine = replicated.main_mut();
                $call
            }
            Self::Cluster($engine) => $call,
        }
    };
}

impl Engine {
    pub(crate) fn submit(&mut self, ticket: BoxedTicket, asked: Option<Instant>) {
        pass_on!(self, engine => engine.submit(ticket, asked));
    }

    pub(crate) fn submit_on(&mut self, generation: u64, ticket: BoxedTicket, asked: Option<Instant>) {
        pass_to_main!(self, engine => engine.submit_on(generation, ticket, asked));
    }

    pub(crate) fn connect(&mut self) {
        pass_to_main!(self, engine => engine.connect());
    }

    pub(crate) fn reconnect_now(&mut self) {
        pass_on!(self, engine => engine.reconnect_now());
    }

    pub(crate) fn disconnect(&mut self, why: &'static str) {
        pass_on!(self, engine => engine.disconnect(why));
    }

    /// Every link: to the server, to its replicas, or to the nodes of a cluster.
    pub(crate) fn each_driver(&mut self, mut act: impl FnMut(&mut Driver)) {
        match self {
            Self::One(driver) => act(driver),
            Self::Replicated(replicated) => replicated.each_driver(act),
            Self::Cluster(router) => router.each_driver(act),
        }
    }

    pub(crate) fn recheck(&mut self) {
        match self {
            Self::One(driver) => driver.recheck(),
            Self::Replicated(replicated) => replicated.main_mut().recheck(),
            // A router follows the topology of its cluster by itself.
            Self::Cluster(_) => {}
        }
    }

    pub(crate) fn refresh_topology(&mut self) {
        if let Self::Cluster(router) = self {
            router.refresh_topology();
        }
    }

    pub(crate) fn retarget(&mut self, to: &Master) {
        match self {
            Self::One(driver) => driver.retarget(to),
            Self::Replicated(replicated) => replicated.retarget(to),
            Self::Cluster(_) => {}
        }
    }

    pub(crate) fn subscribe(&mut self, recipient: actix::Recipient<ConnectionEvent>) {
        pass_to_main!(self, engine => engine.subscribe(recipient));
    }

    pub(crate) fn emit(&mut self, event: ConnectionEvent) {
        pass_to_main!(self, engine => engine.emit(event));
    }

    pub(crate) fn server_info(&self) -> ServerInfo {
        match self {
            Self::One(driver) => driver.server_info().clone(),
            Self::Replicated(replicated) => replicated.main().server_info().clone(),
            Self::Cluster(router) => router.server_info(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        pass_on!(self, engine => engine.is_idle())
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, callers: Callers) {
        pass_on!(self, engine => engine.poll(cx, callers));
    }

    pub(crate) fn restarted(&mut self, restarts: u64, cause: Cause) {
        pass_on!(self, engine => engine.restarted(restarts, cause));
    }

    pub(crate) fn abort(&mut self, cause: Cause) {
        pass_on!(self, engine => engine.abort(cause));
    }

    pub(crate) fn shut_down(&mut self, within: Duration, done: oneshot::Sender<ShutdownReport>) {
        pass_on!(self, engine => engine.shut_down(within, done));
    }
}
