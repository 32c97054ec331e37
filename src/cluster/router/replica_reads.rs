//! Reads that a replica may answer.

use std::time::Instant;

use super::Router;
use super::routed_request::{RouteState, Routed};
use crate::cluster::slot_queue::SendOrder;
use crate::connection::deadline_queue::Deadline;
use crate::connection::request::Pending as _;

impl Router {
    /// Sends a read to a replica of its node. Other commands, and reads without an available replica, are returned.
    pub(super) fn try_replica(
        &mut self,
        ticket: Box<Routed>,
        primary: usize,
        deadline: Deadline,
    ) -> Option<Box<Routed>> {
        if !ticket.route_state.is_first() || !ticket.frame().prefers_replica() {
            return Some(ticket);
        }
        let sent = self.replicas.read(primary, ticket, deadline);
        if self.replicas.have_changed() {
            self.announce();
        }
        // It went in as one that is on its way.
        sent.err().and_then(|ticket| Routed::of(ticket).ok())
    }

    /// Sends to the primaries what replicas could not answer. Returns whether there was anything.
    pub(super) fn take_back_reads(&mut self) -> bool {
        let back = self.replicas.take_back();
        if back.is_empty() {
            return false;
        }
        // The replicas may have changed.
        self.refresh.wanted(Instant::now());
        for back in back {
            let route_state = RouteState::new(back.deadline, SendOrder::new(0));
            let mut ticket =
                Routed::of(back.ticket).unwrap_or_else(|ticket| Routed::part(ticket, route_state, &self.book));
            if back.may_have_run {
                ticket.note_may_have_run();
            }
            (ticket.route_state.at_primary, ticket.route_state.deadline) = (true, back.deadline);
            self.dispatch(ticket);
        }
        true
    }

    /// The primaries have these replicas now.
    pub(super) fn adopt_replicas(&mut self, now: Instant) {
        let nodes = &mut self.nodes;
        let shards = self.map.shards().map(|shard| (nodes.ensure(&shard.primary), shard.replicas.clone()));
        self.replicas.adopt(shards.collect::<Vec<_>>(), now);
    }

    /// Publishes the topology and the states of the links to the handles.
    pub(super) fn announce(&mut self) {
        let mut statuses = self.nodes.statuses();
        // Behind the primaries: one that was promoted has a link as each for a while.
        statuses.extend(self.replicas.statuses());
        self.announce.emit(&self.map, statuses);
    }
}
