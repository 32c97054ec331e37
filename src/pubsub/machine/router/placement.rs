//! Where a topic is put, and when it moves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{LinkChange, LinkId, Reach, RouterLink, SubscriptionRouter};
use crate::config::HostPort;
use crate::pubsub::machine::{Id, Name, News, Subscriptions};

/// How long a node that has confirmed a topic is believed against the picture. One that is frozen ends nothing by itself.
pub(super) const GRACE: Duration = Duration::from_secs(1);

impl SubscriptionRouter {
    /// Puts a topic where the picture has it. `by_force`: a node that has confirmed it is not believed any more. Returns who
    /// misses something by it.
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
        if link.node.as_ref() == Some(&shard.primary) {
            if by_force {
                link.machine.check_again(name);
            }
            return none;
        }
        let is_confirmed = link.machine.is_confirmed(name);
        // A replica of the owner tells the same.
        if is_confirmed && link.node.as_ref().is_some_and(|node| shard.replicas.contains(node)) {
            return none;
        }
        if !by_force && (is_confirmed || link.machine.is_asked(name)) {
            if is_confirmed {
                self.due_within(name, now + GRACE);
            }
            return none;
        }
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
        // What was not whole has told its gap, or has promised nothing yet.
        let hurts = !fresh.is_empty() && self.is_whole(name);
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
            self.whole_without(name);
        }
        hurt
    }

    /// A topic may have waited for nobody but a link that is not to tell of it any more.
    pub(super) fn whole_without(&mut self, name: &Name) {
        if self.is_whole(name)
            && let Some(topic) = self.topics.get(name)
        {
            self.news.extend(topic.holders.iter().map(|id| News::Confirmed { id: *id, name: name.clone() }));
        }
    }

    /// Whether all who tell of a topic have confirmed it.
    pub(super) fn is_whole(&self, name: &Name) -> bool {
        let confirmed = |link_id| self.links.get(link_id).is_some_and(|link| link.machine.is_confirmed(name));
        self.topics.get(name).is_some_and(|topic| !topic.at.is_empty() && topic.at.iter().all(confirmed))
    }

    /// The link to a node, there already or to be made.
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

    /// Wants a topic there, for all who hold it. `hurt` miss something, and so do those who have missed something before and
    /// were not told yet.
    pub(super) fn put(&mut self, name: &Name, link_id: LinkId, hurt: &BTreeSet<Id>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if !topic.at.insert(link_id) {
            return;
        }
        let recovers = |id: &Id| hurt.contains(id) || self.links.values().any(|link| link.machine.recovers(*id));
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
        self.unneeded(link_id, now);
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
