//! The state machine of the topics of one link: which are wanted, which are confirmed, and the next request.
//!
//! The server sees one subscription per topic, regardless of the number of subscribers. There is one request per
//! topic in progress, and its answer is compared with the topics wanted at that time. So joining and leaving in any
//! order results in exactly the wanted topics on the server.
//!
//! See [`router`] for several links.

pub(crate) mod isolation;
pub(crate) mod router;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::error::Error;

/// The maximum number of concurrent requests: a hundred thousand channels must not fill the in-flight window.
const IN_FLIGHT: usize = 256;

/// The type of a subscription on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// The name of a topic as callers use it, without the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) bytes: Arc<[u8]>,
}

/// A subscription of this process.
pub(crate) type Id = u64;

/// A request to the server, on the link of this generation only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) generation: u64,
    pub(crate) name: Name,
    /// Subscribe if `true`, else unsubscribe.
    pub(crate) wanted: bool,
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Done,
    Refused(Error),
    /// The link had no room, or the server refused temporarily.
    NotSent,
    /// This node does not serve the topic now. It is not requested until [`Subscriptions::check_again`].
    Elsewhere,
}

/// Notifications for subscribers.
#[derive(Debug, Clone)]
pub(crate) enum News {
    Confirmed {
        id: Id,
        name: Name,
    },
    Refused {
        id: Id,
        name: Name,
        error: Error,
    },
    /// After a loss, every topic of this subscriber is confirmed again, or refused.
    Recovered {
        id: Id,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TopicStage {
    Absent,
    Asked,
    Confirmed,
    Leaving,
    /// Requested again on the next link, or for another subscriber.
    Refused,
}

impl TopicStage {
    fn is_settled(self) -> bool {
        matches!(self, Self::Confirmed | Self::Refused)
    }
}

struct Topic {
    stage: TopicStage,
    holders: BTreeSet<Id>,
    /// Whether it is in `todo`.
    queued: bool,
}

#[derive(Default)]
struct Member {
    topics: BTreeSet<Name>,
    /// The number of its topics that are neither confirmed nor refused.
    open: usize,
    recovering: bool,
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Subscriptions {
    /// The generation of the current link.
    generation: Option<u64>,
    topics: HashMap<Name, Topic>,
    members: BTreeMap<Id, Member>,
    todo: VecDeque<Name>,
    /// Topics whose request found no room on the link.
    deferred: VecDeque<Name>,
    in_flight: usize,
    news: VecDeque<News>,
}

impl Subscriptions {
    /// Adds a topic to `id`, which is notified when the server has confirmed it.
    pub(crate) fn join(&mut self, id: Id, name: &Name) {
        let member = self.members.entry(id).or_default();
        let fresh = Topic { stage: TopicStage::Absent, holders: BTreeSet::new(), queued: false };
        let topic = self.topics.entry(name.clone()).or_insert(fresh);
        if topic.holders.insert(id) {
            member.topics.insert(name.clone());
            member.open += usize::from(!topic.stage.is_settled());
        }
        match topic.stage {
            TopicStage::Confirmed => self.news.push_back(News::Confirmed { id, name: name.clone() }),
            // A refused topic may be allowed now.
            TopicStage::Refused => self.enter(name, TopicStage::Absent),
            TopicStage::Absent | TopicStage::Asked | TopicStage::Leaving => {}
        }
        self.settle_at(name);
    }

    /// Removes a topic from `id`.
    pub(crate) fn leave(&mut self, id: Id, name: &Name) {
        let (Some(member), Some(topic)) = (self.members.get_mut(&id), self.topics.get_mut(name)) else { return };
        if !topic.holders.remove(&id) {
            return;
        }
        member.topics.remove(name);
        member.open -= usize::from(!topic.stage.is_settled());
        self.settle(id);
        self.settle_at(name);
    }

    /// Removes `id` with all of its topics.
    pub(crate) fn end(&mut self, id: Id) {
        let Some(member) = self.members.remove(&id) else { return };
        for name in member.topics {
            if let Some(topic) = self.topics.get_mut(&name) {
                topic.holders.remove(&id);
            }
            self.settle_at(&name);
        }
    }

    /// Starts a new link without subscriptions.
    pub(crate) fn linked(&mut self, generation: u64) {
        self.generation = Some(generation);
        let names: Vec<Name> = self.topics.keys().cloned().collect();
        for name in names {
            self.settle_at(&name);
        }
    }

    /// Handles the loss of the link. Returns the subscribers that may miss messages from now on.
    pub(crate) fn lost(&mut self) -> Vec<Id> {
        self.generation = None;
        self.in_flight = 0;
        self.todo.clear();
        self.deferred.clear();
        let mut hurt = BTreeSet::new();
        let names: Vec<Name> = self.topics.keys().cloned().collect();
        for name in names {
            if let Some(topic) = self.topics.get_mut(&name) {
                topic.queued = false;
            }
            hurt.extend(self.forget(&name));
            self.settle_at(&name);
        }
        self.recover(hurt)
    }

    /// Handles a subscription that the server ended. Returns the subscribers that may miss messages. With `again` it
    /// is requested here again, otherwise not until [`check_again`](Self::check_again).
    pub(crate) fn revoked(&mut self, name: &Name, again: bool) -> Vec<Id> {
        if self.topics.get(name).is_none_or(|topic| topic.stage != TopicStage::Confirmed) {
            return Vec::new();
        }
        let hurt = self.forget(name);
        if again || hurt.is_empty() {
            self.settle_at(name);
        }
        self.recover(hurt)
    }

    /// Requests a topic again whose answer may have changed.
    pub(crate) fn check_again(&mut self, name: &Name) {
        if self.topics.get(name).is_some_and(|topic| topic.stage == TopicStage::Refused) {
            self.enter(name, TopicStage::Absent);
        }
        self.settle_at(name);
    }

    /// Resets the state of a topic. Returns the subscribers for which it was confirmed.
    fn forget(&mut self, name: &Name) -> BTreeSet<Id> {
        let Some(topic) = self.topics.get_mut(name) else { return BTreeSet::new() };
        let had = if topic.stage == TopicStage::Confirmed { topic.holders.clone() } else { BTreeSet::new() };
        self.enter(name, TopicStage::Absent);
        had
    }

    /// Marks these subscribers as recovering. They are notified after all of their topics are confirmed.
    fn recover(&mut self, hurt: BTreeSet<Id>) -> Vec<Id> {
        for id in &hurt {
            if let Some(member) = self.members.get_mut(id) {
                member.recovering = true;
            }
        }
        hurt.into_iter().collect()
    }

    /// The same for subscribers that miss messages for another reason than this link.
    fn recover_with(&mut self, hurt: BTreeSet<Id>) {
        for id in self.recover(hurt) {
            self.settle(id);
        }
    }

    /// The next request, if there is a link with room for it.
    pub(crate) fn next(&mut self) -> Option<Ask> {
        let generation = self.generation?;
        while self.in_flight < IN_FLIGHT {
            let name = self.todo.pop_front()?;
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            topic.queued = false;
            let wanted = !topic.holders.is_empty();
            match (topic.stage, wanted) {
                (TopicStage::Absent, true) => self.enter(&name, TopicStage::Asked),
                (TopicStage::Confirmed, false) => self.enter(&name, TopicStage::Leaving),
                _ => {
                    self.drop_unwanted(&name);
                    continue;
                }
            }
            self.in_flight += 1;
            return Some(Ask { generation, name, wanted });
        }
        None
    }

    /// Handles the answer to an [`Ask`]. An answer of an old link is ignored.
    pub(crate) fn answered(&mut self, ask: &Ask, answer: Answer) {
        let name = &ask.name;
        let Some(topic) = self.topics.get(name).filter(|_| self.generation == Some(ask.generation)) else { return };
        self.in_flight -= 1;
        let holders = topic.holders.clone();
        match (ask.wanted, answer) {
            (true, Answer::Done) => {
                self.enter(name, TopicStage::Confirmed);
                self.news.extend(holders.into_iter().map(|id| News::Confirmed { id, name: name.clone() }));
            }
            (true, Answer::Refused(error)) => {
                self.enter(name, TopicStage::Refused);
                let refused = |id| News::Refused { id, name: name.clone(), error: error.clone() };
                self.news.extend(holders.into_iter().map(refused));
            }
            // A server that forbids UNSUBSCRIBE continues to send unwanted messages; a retry would not help.
            (false, Answer::Done | Answer::Refused(_) | Answer::Elsewhere) => self.enter(name, TopicStage::Absent),
            (true, Answer::NotSent) => {
                self.enter(name, TopicStage::Absent);
                return self.deferred.push_back(name.clone());
            }
            (true, Answer::Elsewhere) => {
                self.enter(name, TopicStage::Absent);
                if !holders.is_empty() {
                    return;
                }
            }
            (false, Answer::NotSent) => {
                self.enter(name, TopicStage::Confirmed);
                self.news.extend(holders.into_iter().map(|id| News::Confirmed { id, name: name.clone() }));
                return self.deferred.push_back(name.clone());
            }
        }
        self.settle_at(name);
    }

    /// Whether topics wait for [`retry`](Self::retry).
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// The link may have room again. Retrying all of a thousand topics after each answer would make a million
    /// requests with a window of one. Two per answer fill a wider window after a few answers.
    pub(crate) fn retry(&mut self) {
        let mut more = 2;
        while more > 0
            && let Some(name) = self.deferred.pop_front()
        {
            // Topics whose subscribers left meanwhile, or that were requested again, are skipped. They would cause no
            // answer, and the topics after them would wait for one.
            let is_due = |topic: &Topic| {
                let wanted = !topic.holders.is_empty();
                !topic.queued
                    && matches!((topic.stage, wanted), (TopicStage::Absent, true) | (TopicStage::Confirmed, false))
            };
            more -= usize::from(self.topics.get(&name).is_some_and(is_due));
            self.settle_at(&name);
        }
    }

    /// The next notification for subscribers.
    pub(crate) fn news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(crate) fn is_confirmed(&self, name: &Name) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.stage == TopicStage::Confirmed)
    }

    /// Whether any subscriber is recovering from a loss.
    pub(crate) fn is_recovering(&self) -> bool {
        self.members.values().any(|member| member.recovering)
    }

    /// Whether this subscriber is recovering.
    fn is_recovering_id(&self, id: Id) -> bool {
        self.members.get(&id).is_some_and(|member| member.recovering)
    }

    /// Whether nothing was requested on this link so far.
    pub(crate) fn is_untouched(&self) -> bool {
        self.in_flight == 0 && self.topics.values().all(|topic| topic.stage == TopicStage::Absent)
    }

    /// The only place that changes a stage, because it updates the counters of the subscribers.
    fn enter(&mut self, name: &Name, stage: TopicStage) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let before = std::mem::replace(&mut topic.stage, stage);
        if before.is_settled() == stage.is_settled() {
            return;
        }
        let holders = topic.holders.clone();
        for id in holders {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if stage.is_settled() {
                member.open -= 1;
                self.settle(id);
            } else {
                member.open += 1;
            }
        }
    }

    fn settle(&mut self, id: Id) {
        if let Some(member) = self.members.get_mut(&id)
            && member.open == 0
            && std::mem::take(&mut member.recovering)
        {
            self.news.push_back(News::Recovered { id });
        }
    }

    fn settle_at(&mut self, name: &Name) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if self.generation.is_none() {
            self.drop_unwanted(name);
        } else if !std::mem::replace(&mut topic.queued, true) {
            self.todo.push_back(name.clone());
        }
    }

    fn drop_unwanted(&mut self, name: &Name) {
        let unwanted =
            |topic: &Topic| topic.holders.is_empty() && matches!(topic.stage, TopicStage::Absent | TopicStage::Refused);
        if self.topics.get(name).is_some_and(unwanted) {
            self.topics.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
