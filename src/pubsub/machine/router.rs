//! Assigns the topics of a connection to links. Published messages reach every node of a cluster, so one link to any
//! node receives them. Messages of a shard channel are available only from the owner of its slot, and key events only
//! from the primary that has the key, so these need a link to each such node.
//!
//! A topic of one owner moves as soon as the topology names another primary, with a gap. The former owner does not always
//! end the subscription itself: as a replica of the new one it delivers messages published from then on, but not those
//! published meanwhile.

mod placement;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Answer, Ask, Id, Kind, Name, News, Subscriptions};
use crate::cluster::redirect::{MOST_HOPS, is_one};
use crate::cluster::slot::Slots;
use crate::cluster::slot_map::Map;
use crate::config::HostPort;
use crate::error::Error;

/// The unique number of a link.
pub(crate) type LinkId = u64;

/// The link for topics that any node serves. It always exists.
pub(crate) const ANYWHERE: LinkId = 0;

/// A node that ended a subscription is asked again after this time, if the topology does not name a new owner.
const REVOKED: Duration = Duration::from_millis(500);
/// The first delay after an answer that means "not here", and the longest; the delay doubles each time.
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// After too many redirects subscribers are notified, and the topic is retried after this time.
const REST: Duration = Duration::from_secs(10);

/// The nodes that serve a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Any node.
    Any,
    /// The owner of this slot.
    Owner(u16),
    /// Every primary, each for its own keys.
    Primaries,
}

struct Topic {
    reach: Reach,
    holders: BTreeSet<Id>,
    at: BTreeSet<LinkId>,
    /// Consecutive answers that meant "not here" or "try again later", and how many of them named another node.
    tries: u32,
    hops: u8,
    /// The time of the next check without an update.
    due: Option<Instant>,
}

struct RouterLink {
    /// `None` for [`ANYWHERE`].
    node: Option<HostPort>,
    machine: Subscriptions,
    /// The number of topics wanted here.
    wanted: usize,
    idle_since: Option<Instant>,
}

/// A change of the links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkChange {
    Open(LinkId, HostPort),
    Close(LinkId),
}

/// See the module documentation.
pub(crate) struct SubscriptionRouter {
    /// The slots, in a cluster.
    slots: Option<Slots>,
    idle: Duration,
    map: Map,
    /// The primaries of the topology.
    primaries: HashSet<HostPort>,
    links: BTreeMap<LinkId, RouterLink>,
    link_ids: HashMap<HostPort, LinkId>,
    last: LinkId,
    topics: HashMap<Name, Topic>,
    /// Topics that only certain nodes serve.
    local: BTreeSet<Name>,
    dues: BTreeSet<(Instant, Name)>,
    members: HashMap<Id, BTreeSet<Name>>,
    changes: Vec<LinkChange>,
    /// Notifications that do not come from a link's machine: about closed links, and about topics that wait for one
    /// link less.
    news: VecDeque<News>,
    /// The topology seems to be outdated.
    is_outdated: bool,
}

impl SubscriptionRouter {
    /// `slots`: those of a cluster. A link without topics is closed after `idle`.
    pub(crate) fn new(slots: Option<Slots>, idle: Duration) -> Self {
        let anywhere = RouterLink { node: None, machine: Subscriptions::default(), wanted: 0, idle_since: None };
        Self {
            slots,
            idle,
            map: Map::default(),
            primaries: HashSet::new(),
            links: BTreeMap::from([(ANYWHERE, anywhere)]),
            link_ids: HashMap::new(),
            last: ANYWHERE,
            topics: HashMap::new(),
            local: BTreeSet::new(),
            dues: BTreeSet::new(),
            members: HashMap::new(),
            changes: Vec::new(),
            news: VecDeque::new(),
            is_outdated: false,
        }
    }

    fn reach(&self, name: &Name) -> Reach {
        // The prefix rules treat these names as the server's own.
        let of_keys = |kind: &str| name.bytes.strip_prefix(kind.as_bytes()).is_some_and(|rest| rest.starts_with(b"@"));
        match (&self.slots, name.kind) {
            (None, _) => Reach::Any,
            (Some(slots), Kind::Shard) => Reach::Owner(slots.of_channel(&name.bytes)),
            (Some(_), Kind::Channel | Kind::Pattern)
                if ["__keyspace", "__keyevent", "__subkeyspace", "__subkeyspaceitem"].into_iter().any(of_keys) =>
            {
                Reach::Primaries
            }
            (Some(_), Kind::Channel | Kind::Pattern) => Reach::Any,
        }
    }

    /// Adds a topic to `id`, which is notified after all nodes that serve it have confirmed it.
    pub(crate) fn join(&mut self, id: Id, name: &Name, now: Instant) {
        if !self.topics.contains_key(name) {
            let reach = self.reach(name);
            let topic = Topic { reach, holders: BTreeSet::new(), at: BTreeSet::new(), tries: 0, hops: 0, due: None };
            self.topics.insert(name.clone(), topic);
            if reach == Reach::Any {
                self.put(name, ANYWHERE, &BTreeSet::new());
            } else {
                self.local.insert(name.clone());
                self.settle(name, now, false);
                self.is_outdated |= self.is_nowhere(name);
            }
        }
        self.members.entry(id).or_default().insert(name.clone());
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.holders.insert(id);
        for link_id in &topic.at {
            if let Some(link) = self.links.get_mut(link_id) {
                link.machine.join(id, name);
            }
        }
    }

    /// Removes a topic from `id`.
    pub(crate) fn leave(&mut self, id: Id, name: &Name, now: Instant) {
        if let Some(names) = self.members.get_mut(&id) {
            names.remove(name);
        }
        let Some(topic) = self.topics.get(name) else { return };
        for link_id in &topic.at {
            if let Some(link) = self.links.get_mut(link_id) {
                link.machine.leave(id, name);
            }
        }
        self.remove_topic(id, name, now);
    }

    /// Removes `id` with all of its topics.
    pub(crate) fn end(&mut self, id: Id, now: Instant) {
        for link in self.links.values_mut() {
            link.machine.end(id);
        }
        for name in self.members.remove(&id).unwrap_or_default() {
            self.remove_topic(id, &name, now);
        }
    }

    fn remove_topic(&mut self, id: Id, name: &Name, now: Instant) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.holders.remove(&id);
        if !topic.holders.is_empty() {
            return;
        }
        self.local.remove(name);
        self.due(name, None);
        let Some(topic) = self.topics.remove(name) else { return };
        for link_id in topic.at {
            self.remove_wanted(link_id, now);
        }
    }

    /// Decrements the number of topics on a link.
    fn remove_wanted(&mut self, link_id: LinkId, now: Instant) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        link.wanted -= 1;
        if link.wanted == 0 && link_id != ANYWHERE {
            link.idle_since = Some(now);
            self.close_if_vanished(link_id);
        }
    }

    /// A node without topics and slots is not waited for, because it may be gone permanently.
    fn close_if_vanished(&mut self, link_id: LinkId) {
        let Some(RouterLink { node: Some(node), wanted: 0, .. }) = self.links.get(&link_id) else { return };
        if !self.primaries.contains(node) {
            self.close(link_id);
        }
    }

    fn close(&mut self, link_id: LinkId) {
        let Some(mut link) = self.links.remove(&link_id) else { return };
        self.news.extend(std::iter::from_fn(|| link.machine.news()));
        if let Some(node) = link.node {
            self.link_ids.remove(&node);
        }
        self.changes.push(LinkChange::Close(link_id));
    }

    /// Applies a new topology. Returns the subscribers that miss messages because of it.
    pub(crate) fn apply_topology(&mut self, map: &Map, now: Instant) -> BTreeSet<Id> {
        if map.is_empty() {
            return BTreeSet::new();
        }
        self.map = map.clone();
        self.primaries = map.shards().map(|shard| shard.primary.clone()).collect();
        let mut hurt = BTreeSet::new();
        for name in self.local.clone() {
            hurt.extend(self.settle(&name, now, false));
        }
        for link_id in self.link_ids.values().copied().collect::<Vec<_>>() {
            self.close_if_vanished(link_id);
        }
        hurt
    }

    /// Starts a new link without subscriptions.
    pub(crate) fn linked(&mut self, link_id: LinkId, generation: u64) {
        if let Some(link) = self.links.get_mut(&link_id) {
            link.machine.linked(generation);
        }
    }

    /// Handles the loss of the link. Returns the subscribers that may miss messages from now on.
    pub(crate) fn lost(&mut self, link_id: LinkId, now: Instant) -> BTreeSet<Id> {
        let here = |topic: &Topic| topic.reach != Reach::Any && topic.at.contains(&link_id);
        let names: Vec<Name> =
            self.local.iter().filter(|name| self.topics.get(*name).is_some_and(here)).cloned().collect();
        // A node without keys has no key events, so none can be missed.
        for name in &names {
            let node = self.links.get(&link_id).and_then(|link| link.node.as_ref());
            if self.topics.get(name).is_some_and(|topic| topic.reach == Reach::Primaries)
                && node.is_some_and(|node| !self.primaries.contains(node))
            {
                self.take_away(name, link_id, now);
                self.confirm_without_link(name);
            }
        }
        let Some(link) = self.links.get_mut(&link_id) else { return BTreeSet::new() };
        let mut hurt: BTreeSet<Id> = link.machine.lost().into_iter().collect();
        self.is_outdated |= link_id != ANYWHERE;
        for name in &names {
            hurt.extend(self.settle(name, now, false));
        }
        hurt
    }

    /// Handles a subscription that the server ended. Returns the subscribers that may miss messages.
    pub(crate) fn revoked(&mut self, link_id: LinkId, name: &Name, now: Instant) -> BTreeSet<Id> {
        let is_owned = self.topics.get(name).is_some_and(|topic| matches!(topic.reach, Reach::Owner(_)));
        let Some(link) = self.links.get_mut(&link_id) else { return BTreeSet::new() };
        let mut hurt: BTreeSet<Id> = link.machine.revoked(name, !is_owned).into_iter().collect();
        if is_owned && !hurt.is_empty() {
            self.is_outdated = true;
            self.due(name, Some(now + REVOKED));
            hurt.extend(self.settle(name, now, false));
        }
        hurt
    }

    /// The next request, if there is a link with room for it.
    pub(crate) fn next(&mut self) -> Option<(LinkId, Ask)> {
        self.links.iter_mut().find_map(|(link_id, link)| Some((*link_id, link.machine.next()?)))
    }

    /// Handles the answer to an [`Ask`]. An answer of an old link is ignored.
    pub(crate) fn answered(&mut self, link_id: LinkId, ask: &Ask, answer: Answer, now: Instant) {
        let answer = match answer {
            Answer::Refused(error) if ask.wanted && error.code().is_some_and(is_one) => {
                self.sent_elsewhere(&ask.name, error, now)
            }
            other => other,
        };
        if ask.wanted
            && matches!(answer, Answer::Done)
            && let Some(topic) = self.topics.get_mut(&ask.name)
        {
            (topic.tries, topic.hops) = (0, 0);
            self.due(&ask.name, None);
        }
        let Some(link) = self.links.get_mut(&link_id) else { return };
        link.machine.answered(ask, answer);
        self.settle(&ask.name, now, false);
    }

    fn sent_elsewhere(&mut self, name: &Name, error: Error, now: Instant) -> Answer {
        let Some(topic) = self.topics.get_mut(name).filter(|topic| matches!(topic.reach, Reach::Owner(_))) else {
            return Answer::Refused(error);
        };
        self.is_outdated = true;
        topic.hops += u8::from(matches!(error.code(), Some("MOVED" | "ASK")));
        if topic.hops >= MOST_HOPS {
            (topic.tries, topic.hops) = (0, 0);
            self.due(name, Some(now + REST));
            return Answer::Refused(error);
        }
        let wait = FIRST_DELAY.saturating_mul(1 << topic.tries.min(16)).min(LONGEST_DELAY);
        topic.tries = topic.tries.saturating_add(1);
        self.due(name, Some(now + wait));
        Answer::Elsewhere
    }

    /// Whether topics wait for [`retry`](Self::retry).
    pub(crate) fn has_deferred(&self) -> bool {
        self.links.values().any(|link| link.machine.has_deferred())
    }

    /// The links may have room again.
    pub(crate) fn retry(&mut self) {
        for link in self.links.values_mut() {
            link.machine.retry();
        }
    }

    /// One link has room again.
    pub(crate) fn retry_at(&mut self, link_id: LinkId) {
        if let Some(link) = self.links.get_mut(&link_id) {
            link.machine.retry();
        }
    }

    /// The time at which [`tick`](Self::tick) must be called.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let due = self.dues.first().map(|(due, _)| *due);
        let idle = self.links.values().filter_map(|link| Some(link.idle_since? + self.idle)).min();
        due.into_iter().chain(idle).min()
    }

    /// Handles due topics and links. Returns the subscribers that miss messages because of it.
    pub(crate) fn tick(&mut self, now: Instant) -> BTreeSet<Id> {
        let mut hurt = BTreeSet::new();
        while let Some((_, name)) = self.dues.first().filter(|(due, _)| *due <= now).cloned() {
            self.due(&name, None);
            hurt.extend(self.settle(&name, now, true));
        }
        let is_over = |link: &RouterLink| link.idle_since.is_some_and(|since| since + self.idle <= now);
        for link_id in
            self.links.iter().filter(|(_, link)| is_over(link)).map(|(link_id, _)| *link_id).collect::<Vec<_>>()
        {
            self.close(link_id);
        }
        hurt
    }

    /// Takes the changes of links, in order.
    pub(crate) fn changes(&mut self) -> Vec<LinkChange> {
        std::mem::take(&mut self.changes)
    }

    /// Whether the topology should be refreshed. Resets the flag.
    pub(crate) fn take_outdated(&mut self) -> bool {
        std::mem::take(&mut self.is_outdated)
    }

    /// The next notification for subscribers.
    pub(crate) fn news(&mut self) -> Option<News> {
        loop {
            let of_links = || self.links.values_mut().find_map(|link| link.machine.news());
            let news = self.news.pop_front().or_else(of_links)?;
            let is_all = match &news {
                News::Confirmed { name, .. } => self.is_fully_confirmed(name),
                News::Refused { .. } => true,
                News::Recovered { id } => !self.links.values().any(|link| link.machine.is_recovering_id(*id)),
            };
            if is_all {
                return Some(news);
            }
        }
    }

    /// The subscribers of this topic.
    pub(crate) fn holders(&self, name: &Name) -> impl Iterator<Item = Id> {
        self.topics.get(name).into_iter().flat_map(|topic| topic.holders.iter().copied())
    }

    /// The subscribers of this topic, if this link serves it.
    pub(crate) fn holders_at(&self, name: &Name, link_id: LinkId) -> impl Iterator<Item = Id> {
        let served = self.topics.get(name).filter(|topic| topic.at.contains(&link_id));
        served.into_iter().flat_map(|topic| topic.holders.iter().copied())
    }

    /// Whether this link serves the topic.
    pub(crate) fn is_at(&self, name: &Name, link_id: LinkId) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.at.contains(&link_id))
    }

    /// Whether no node that serves the topic is known yet.
    pub(crate) fn is_nowhere(&self, name: &Name) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.at.is_empty())
    }

    /// Whether any subscriber is recovering from a loss.
    pub(crate) fn is_recovering(&self) -> bool {
        self.links.values().any(|link| link.machine.is_recovering())
    }

    /// Whether nothing was requested on this link so far.
    pub(crate) fn is_untouched(&self, link_id: LinkId) -> bool {
        self.links.get(&link_id).is_some_and(|link| link.machine.is_untouched())
    }
}

#[cfg(test)]
mod tests;
