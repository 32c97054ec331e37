//! What a lost link means for the subscribers, and who is told.

use std::time::Instant;

use super::{Engine, mark_ready};
use crate::actors::connection::Announce;
use crate::core::subscriptions::Id;
use crate::events::{Cause, ConnectionEvent};

/// A loss that nobody but the subscribers was told of so far.
pub(super) struct Loss {
    generation: u64,
    subscriptions: usize,
    since: Instant,
    cause: Cause,
}

impl Engine {
    pub(super) fn lost(&mut self, generation: u64, cause: &Cause) {
        self.generation = None;
        let hurt = self.machine.lost();
        self.hurt(generation, &hurt, cause);
    }

    pub(super) fn hurt(&mut self, generation: u64, hurt: &[Id], cause: &Cause) {
        if hurt.is_empty() {
            return;
        }
        for id in hurt {
            if let Some(member) = self.members.get_mut(id) {
                member.lost(cause);
                mark_ready(&mut self.ready, *id, member);
            }
        }
        let loss = Loss { generation, subscriptions: hurt.len(), since: Instant::now(), cause: cause.clone() };
        // One loss upon the other, before all was well again: both are told.
        if let Some(earlier) = self.untold.replace(loss) {
            self.announce(earlier);
        }
    }

    pub(super) fn announce(&self, loss: Loss) {
        let Loss { generation, subscriptions, since, cause } = loss;
        if let Some(main) = self.main.upgrade() {
            main.do_send(Announce(ConnectionEvent::Gap { generation, subscriptions, outage: since.elapsed(), cause }));
        }
    }
}
