//! Decides on which links a topic is placed, and when it moves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{LinkChange, LinkId, Reach, RouterLink, SubscriptionRouter};
use crate::config::HostPort;
use crate::pubsub::machine::{Id, Name, News, Subscriptions};

/// How long a node that confirmed key events and has no slots any more keeps the subscription: the topology may change again.
const GRACE: Duration = Duration::from_secs(1);

impl SubscriptionRouter {
    /// Places a topic according to the topology. With `by_force` a node that confirmed it is no longer preferred.
    /// Returns the subscribers that miss messages because of it.
    pub(super) fn settle(&mut self, name: &Name, now: Instant, by_force: bool) -> BTreeSet<Id> {
        match self.topics.get(name).map(|topic| topic.reach) {
            Some(Reach::Owner(slot)) => self.settle_owned(name, slot, now, by_force),
            Some(Reach::Primaries) => self.settle_everywhere(name, now, by_force),
            Some(Reach::Any) | None => BTreeSet::new(),
        }
    }

    fn settle_owned(&mut self, name: &Name, slot: u16, now: Instant, by_force: bool) -> BTreeSet<Id> {
        let none = BTreeSet::new();
        let Some(shard) = self.map.shard_of(slot).cloned() else { return none };
        let Some(topic) = self.topics.get(name) else { return none };
        let (here, holders) = (topic.at.first().copied(), topic.holders.clone());
        let Some(here) = here else {
            let there = self.link_id(&shard.primary);
            self.put(name, there, &none);
            return none;
        };
        let Some(link) = self.links.get_mut(&here) else { return none };
        let is_confirmed = link.machine.is_confirmed(name);
        if link.node.as_ref() == Some(&shard.primary) {
            if by_force {
                link.machine.check_again(name);
            }
            return none;
        }
        // At once: a former owner may deliver again as a replica of the new one, and does not deliver messages published
        // before it was one. The gap must come before those messages.
        let hurt = if is_confirmed { holders } else { none };
        let there = self.link_id(&shard.primary);
        self.put(name, there, &hurt);
        self.take_away(name, here, now);
        self.due(name, None);
        hurt
    }

    fn settle_everywhere(&mut self, name: &Name, now: Instant, by_force: bool) -> BTreeSet<Id> {
        let wanted: BTreeSet<LinkId> = self.primaries.clone().iter().map(|node| self.link_id(node)).collect();
        if wanted.is_empty() {
            return BTreeSet::new();
        }
        let Some(topic) = self.topics.get(name) else { return BTreeSet::new() };
        let fresh: Vec<LinkId> = wanted.difference(&topic.at).copied().collect();
        let stale: Vec<LinkId> = topic.at.difference(&wanted).copied().collect();
        // For an unconfirmed topic a gap was already sent, or no messages were promised yet.
        let hurts = !fresh.is_empty() && self.is_fully_confirmed(name);
        let hurt = if hurts { topic.holders.clone() } else { BTreeSet::new() };
        for link_id in fresh {
            self.put(name, link_id, &hurt);
        }
        let was_stale = !stale.is_empty();
        for link_id in stale {
            if !by_force && self.links.get(&link_id).is_some_and(|link| link.machine.is_confirmed(name)) {
                self.due_within(name, now + GRACE);
            } else {
                self.take_away(name, link_id, now);
            }
        }
        if was_stale {
            self.confirm_without_link(name);
        }
        hurt
    }

    /// A topic may have waited only for a link that no longer serves it.
    pub(super) fn confirm_without_link(&mut self, name: &Name) {
        if self.is_fully_confirmed(name)
            && let Some(topic) = self.topics.get(name)
        {
            self.news.extend(topic.holders.iter().map(|id| News::Confirmed { id: *id, name: name.clone() }));
        }
    }

    /// Whether all nodes that serve a topic have confirmed it.
    pub(super) fn is_fully_confirmed(&self, name: &Name) -> bool {
        let confirmed = |link_id| self.links.get(link_id).is_some_and(|link| link.machine.is_confirmed(name));
        self.topics.get(name).is_some_and(|topic| !topic.at.is_empty() && topic.at.iter().all(confirmed))
    }

    /// The link to a node, which is opened if necessary.
    pub(super) fn link_id(&mut self, node: &HostPort) -> LinkId {
        if let Some(link_id) = self.link_ids.get(node) {
            return *link_id;
        }
        self.last += 1;
        let link =
            RouterLink { node: Some(node.clone()), machine: Subscriptions::default(), wanted: 0, idle_since: None };
        self.links.insert(self.last, link);
        self.link_ids.insert(node.clone(), self.last);
        self.changes.push(LinkChange::Open(self.last, node.clone()));
        self.last
    }

    /// Adds a topic to a link, for all of its subscribers. Those in `hurt` miss messages, as do those that were not
    /// notified of an earlier loss yet.
    pub(super) fn put(&mut self, name: &Name, link_id: LinkId, hurt: &BTreeSet<Id>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if !topic.at.insert(link_id) {
            return;
        }
        let recovers =
            |id: &Id| hurt.contains(id) || self.links.values().any(|link| link.machine.is_recovering_id(*id));
        let recovering: BTreeSet<Id> = topic.holders.iter().copied().filter(recovers).collect();
        if let Some(link) = self.links.get_mut(&link_id) {
            (link.wanted, link.idle_since) = (link.wanted + 1, None);
            for id in &topic.holders {
                link.machine.join(*id, name);
            }
            link.machine.recover_with(recovering);
        }
    }

    pub(super) fn take_away(&mut self, name: &Name, link_id: LinkId, now: Instant) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if !topic.at.remove(&link_id) {
            return;
        }
        if let Some(link) = self.links.get_mut(&link_id) {
            for id in &topic.holders {
                link.machine.leave(*id, name);
            }
        }
        self.remove_wanted(link_id, now);
    }

    pub(super) fn due(&mut self, name: &Name, at: Option<Instant>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if let Some(before) = std::mem::replace(&mut topic.due, at) {
            self.dues.remove(&(before, name.clone()));
        }
        if let Some(at) = at {
            self.dues.insert((at, name.clone()));
        }
    }

    pub(super) fn due_within(&mut self, name: &Name, at: Instant) {
        if self.topics.get(name).is_some_and(|topic| topic.due.is_none_or(|due| due > at)) {
            self.due(name, Some(at));
        }
    }
}
