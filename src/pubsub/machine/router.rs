//! The topics of a connection, over the links that they take. What is published reaches every node of a cluster, so one
//! link hears it, wherever that leads. A shard channel is told by the owner of its slot only, and what happens to a key by
//! the primary that has it, so these take a link to each such node.
//!
//! A topic that a node has confirmed stays there: while a cluster changes, pictures of it come out of order, and the node
//! itself ends what is no longer its own. It moves when it is lost there, or when the pictures have said otherwise for
//! [`GRACE`](placement::GRACE). So one change costs one gap.

mod placement;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Answer, Ask, Id, Kind, Name, News, Subscriptions};
use crate::cluster::redirect::{MOST_HOPS, is_one};
use crate::cluster::slot::Slots;
use crate::cluster::slot_map::Map;
use crate::config::HostPort;
use crate::error::Error;

/// One link, by a number that no other one gets.
pub(crate) type LinkId = u64;

/// The link for all that reaches every node. It is always there.
pub(crate) const ANYWHERE: LinkId = 0;

/// A node that has ended a topic is asked for it again after so long, if no picture says who has it now.
const REVOKED: Duration = Duration::from_millis(500);
/// The first wait after an answer that means "not here", and the longest; each is twice the one before.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(1);
/// When it was sent elsewhere too often, subscribers are told so, and it is tried again after this.
const REST: Duration = Duration::from_secs(10);

/// Who can tell of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Any node.
    Any,
    /// The owner of this slot.
    Owner(u16),
    /// Every primary, each of its own keys.
    Primaries,
}

struct Topic {
    reach: Reach,
    holders: BTreeSet<Id>,
    at: BTreeSet<LinkId>,
    /// Answers in a row that meant "not here" or "not now", and how many of them named another node.
    tries: u32,
    hops: u8,
    /// When it is looked at without news.
    due: Option<Instant>,
}

struct RouterLink {
    /// `None` for [`ANYWHERE`].
    node: Option<HostPort>,
    machine: Subscriptions,
    /// How many topics are wanted here.
    wanted: usize,
    idle_since: Option<Instant>,
}

/// What has to be done about links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkChange {
    Open(LinkId, HostPort),
    Close(LinkId),
}

/// See the module.
pub(crate) struct SubscriptionRouter {
    /// Of a cluster.
    slots: Option<Slots>,
    idle: Duration,
    map: Map,
    /// Those of the map.
    primaries: HashSet<HostPort>,
    links: BTreeMap<LinkId, RouterLink>,
    link_ids: HashMap<HostPort, LinkId>,
    last: LinkId,
    topics: HashMap<Name, Topic>,
    /// Those that not every node tells.
    local: BTreeSet<Name>,
    dues: BTreeSet<(Instant, Name)>,
    members: HashMap<Id, BTreeSet<Name>>,
    changes: Vec<LinkChange>,
    /// What no link's machine says: of links that are gone, and of topics that wait for one link less.
    news: VecDeque<News>,
    /// The picture seems to be wrong.
    astray: bool,
}

impl SubscriptionRouter {
    /// `slots`: of a cluster. A link that nobody needs any more ends after `idle`.
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
            astray: false,
        }
    }

    fn reach(&self, name: &Name) -> Reach {
        // As the prefix has it, these names are the server's own.
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

    /// `id` wants a topic. It is told when all who tell of it have confirmed it.
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
                self.astray |= self.is_nowhere(name);
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

    /// `id` wants a topic no more.
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
        self.let_go(id, name, now);
    }

    /// `id` is over.
    pub(crate) fn end(&mut self, id: Id, now: Instant) {
        for link in self.links.values_mut() {
            link.machine.end(id);
        }
        for name in self.members.remove(&id).unwrap_or_default() {
            self.let_go(id, &name, now);
        }
    }

    fn let_go(&mut self, id: Id, name: &Name, now: Instant) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.holders.remove(&id);
        if !topic.holders.is_empty() {
            return;
        }
        self.local.remove(name);
        self.due(name, None);
        let Some(topic) = self.topics.remove(name) else { return };
        for link_id in topic.at {
            self.unneeded(link_id, now);
        }
    }

    /// One topic less is wanted there.
    fn unneeded(&mut self, link_id: LinkId, now: Instant) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        link.wanted -= 1;
        if link.wanted == 0 && link_id != ANYWHERE {
            link.idle_since = Some(now);
            self.close_if_vanished(link_id);
        }
    }

    /// Who has nothing to tell and no slots is not waited for: it may be gone for good.
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

    /// The cluster looks like this now. Returns who misses something by it.
    pub(crate) fn looks(&mut self, map: &Map, now: Instant) -> BTreeSet<Id> {
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

    /// A new link is there, on which nothing is subscribed.
    pub(crate) fn linked(&mut self, link_id: LinkId, generation: u64) {
        if let Some(link) = self.links.get_mut(&link_id) {
            link.machine.linked(generation);
        }
    }

    /// The link is gone. Returns whose messages may be missed from now on.
    pub(crate) fn lost(&mut self, link_id: LinkId, now: Instant) -> BTreeSet<Id> {
        let here = |topic: &Topic| topic.reach != Reach::Any && topic.at.contains(&link_id);
        let names: Vec<Name> =
            self.local.iter().filter(|name| self.topics.get(*name).is_some_and(here)).cloned().collect();
        // A node without keys has no events, so there is nothing to miss.
        for name in &names {
            let node = self.links.get(&link_id).and_then(|link| link.node.as_ref());
            if self.topics.get(name).is_some_and(|topic| topic.reach == Reach::Primaries)
                && node.is_some_and(|node| !self.primaries.contains(node))
            {
                self.take_away(name, link_id, now);
                self.whole_without(name);
            }
        }
        let Some(link) = self.links.get_mut(&link_id) else { return BTreeSet::new() };
        let mut hurt: BTreeSet<Id> = link.machine.lost().into_iter().collect();
        self.astray |= link_id != ANYWHERE;
        for name in &names {
            hurt.extend(self.settle(name, now, false));
        }
        hurt
    }

    /// The server took a topic away on its own account. Returns whose messages may be missed.
    pub(crate) fn revoked(&mut self, link_id: LinkId, name: &Name, now: Instant) -> BTreeSet<Id> {
        let is_owned = self.topics.get(name).is_some_and(|topic| matches!(topic.reach, Reach::Owner(_)));
        let Some(link) = self.links.get_mut(&link_id) else { return BTreeSet::new() };
        let mut hurt: BTreeSet<Id> = link.machine.revoked(name, !is_owned).into_iter().collect();
        if is_owned && !hurt.is_empty() {
            self.astray = true;
            self.due(name, Some(now + REVOKED));
            hurt.extend(self.settle(name, now, false));
        }
        hurt
    }

    /// The next thing to ask, if there is a link and room for it.
    pub(crate) fn next(&mut self) -> Option<(LinkId, Ask)> {
        self.links.iter_mut().find_map(|(link_id, link)| Some((*link_id, link.machine.next()?)))
    }

    /// What came of an [`Ask`]; that of an older link changes nothing.
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
        self.astray = true;
        topic.hops += u8::from(matches!(error.code(), Some("MOVED" | "ASK")));
        if topic.hops >= MOST_HOPS {
            (topic.tries, topic.hops) = (0, 0);
            self.due(name, Some(now + REST));
            return Answer::Refused(error);
        }
        let wait = SOON.saturating_mul(1 << topic.tries.min(16)).min(LATE);
        topic.tries = topic.tries.saturating_add(1);
        self.due(name, Some(now + wait));
        Answer::DedicatedRunner
    }

    /// Whether something waits for [`retry`](Self::retry).
    pub(crate) fn has_deferred(&self) -> bool {
        self.links.values().any(|link| link.machine.has_deferred())
    }

    /// The links may have room again.
    pub(crate) fn retry(&mut self) {
        for link in self.links.values_mut() {
            link.machine.retry();
        }
    }

    /// One of them has room again.
    pub(crate) fn retry_at(&mut self, link_id: LinkId) {
        if let Some(link) = self.links.get_mut(&link_id) {
            link.machine.retry();
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let due = self.dues.first().map(|(due, _)| *due);
        let idle = self.links.values().filter_map(|link| Some(link.idle_since? + self.idle)).min();
        due.into_iter().chain(idle).min()
    }

    /// The time has come for something. Returns who misses something by it.
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

    /// What has to be done about links, in order.
    pub(crate) fn changes(&mut self) -> Vec<LinkChange> {
        std::mem::take(&mut self.changes)
    }

    /// Whether the cluster should be looked at anew. Asked once, it is false.
    pub(crate) fn is_astray(&mut self) -> bool {
        std::mem::take(&mut self.astray)
    }

    /// What the holders have to be told next.
    pub(crate) fn news(&mut self) -> Option<News> {
        loop {
            let of_links = || self.links.values_mut().find_map(|link| link.machine.news());
            let news = self.news.pop_front().or_else(of_links)?;
            let is_all = match &news {
                News::Confirmed { name, .. } => self.is_whole(name),
                News::Refused { .. } => true,
                News::Recovered { id } => !self.links.values().any(|link| link.machine.recovers(*id)),
            };
            if is_all {
                return Some(news);
            }
        }
    }

    /// Who wants what comes for this topic.
    pub(crate) fn holders(&self, name: &Name) -> impl Iterator<Item = Id> {
        self.topics.get(name).into_iter().flat_map(|topic| topic.holders.iter().copied())
    }

    /// Whether that link is to tell of a topic.
    pub(crate) fn is_at(&self, name: &Name, link_id: LinkId) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.at.contains(&link_id))
    }

    /// Whether nobody has said yet who is to tell of it.
    pub(crate) fn is_nowhere(&self, name: &Name) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.at.is_empty())
    }

    /// Whether somebody still waits for topics that a loss has cost.
    pub(crate) fn is_recovering(&self) -> bool {
        self.links.values().any(|link| link.machine.is_recovering())
    }

    /// Whether that link was asked for nothing so far.
    pub(crate) fn is_untouched(&self, link_id: LinkId) -> bool {
        self.links.get(&link_id).is_some_and(|link| link.machine.is_untouched())
    }
}

#[cfg(test)]
mod tests;
