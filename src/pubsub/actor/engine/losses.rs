//! The effect of a lost link on subscribers, and who is notified.

use std::{collections::BTreeSet, time::Instant};

use super::isolation::IsolationChecks;
use super::{Engine, mark_ready};
use crate::actors::connection::ForwardEvent;
use crate::events::{Cause, CauseKind, ConnectionEvent};
use crate::pubsub::machine::Id;
use crate::pubsub::machine::router::{ANYWHERE, LinkId};

/// A loss that was only reported to subscribers so far.
pub(super) struct Loss {
    generation: u64,
    subscriptions: usize,
    since: Instant,
    cause: Cause,
}

impl Engine {
    pub(super) fn lost(&mut self, link_id: LinkId, generation: u64, cause: &Cause) {
        if let Some(place) = self.places.get_mut(&link_id) {
            place.generation = None;
        }
        if link_id == ANYWHERE {
            self.checks = IsolationChecks::default();
        }
        let hurt = self.subscription_router.lost(link_id, Instant::now());
        self.hurt(generation, &hurt, cause);
    }

    /// Handles subscriptions that servers ended. Returns whether there were any.
    pub(super) fn take_revoked(&mut self) -> bool {
        let revoked = std::mem::take(&mut self.revoked);
        let now = Instant::now();
        let (mut hurt, mut generation) = (BTreeSet::new(), 0);
        for (link_id, name) in &revoked {
            hurt.extend(self.subscription_router.revoked(*link_id, name, now));
            generation = self.places.get(link_id).and_then(|place| place.generation).unwrap_or_default();
        }
        self.hurt(generation, &hurt, &Cause::new(CauseKind::Broken, "the server ended a subscription"));
        !revoked.is_empty()
    }

    /// Handles topics that are now served by other nodes.
    pub(super) fn hurt_by_change(&mut self, hurt: &BTreeSet<Id>) {
        let cause = Cause::new(CauseKind::Broken, "another node of the cluster now serves a topic");
        self.hurt(0, hurt, &cause);
    }

    fn hurt(&mut self, generation: u64, hurt: &BTreeSet<Id>, cause: &Cause) {
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
        // A second loss before recovery from the first one: both are reported.
        if let Some(earlier) = self.unreported.replace(loss) {
            self.announce(earlier);
        }
    }

    pub(super) fn announce(&self, loss: Loss) {
        let Loss { generation, subscriptions, since, cause } = loss;
        if let Some(main) = self.main.upgrade() {
            main.do_send(ForwardEvent(ConnectionEvent::Gap {
                generation,
                subscriptions,
                outage: since.elapsed(),
                cause,
            }));
        }
    }
}
