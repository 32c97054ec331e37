//! Which topics are wanted, which of them the server has confirmed, and what to ask it next.
//!
//! However many want a topic, the server sees one subscription. At most one request for a topic is under way, and its
//! answer is compared with what is wanted by then: so joining and leaving in any order ends with the server having
//! exactly what somebody wants.
//!
//! This is one link's part. [`subscription_router`] is about several.

pub(crate) mod isolation;
pub(crate) mod router;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::error::Error;

/// So many requests are under way at once: a service with a hundred thousand channels must not fill the window.
const IN_FLIGHT: usize = 256;

/// Which of the server's three families of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// A topic as callers name it, without the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) bytes: Arc<[u8]>,
}

/// One subscription of this process.
pub(crate) type Id = u64;

/// What the server is to be asked, on the link of this generation only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) generation: u64,
    pub(crate) name: Name,
    /// Subscribe, or else unsubscribe.
    pub(crate) wanted: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Done,
    Refused(Error),
    /// The link had no room for it, or the server no time.
    NotSent,
    /// This node has not got it, or not now. Nothing is asked until [`Subscriptions::check_again`].
    DedicatedRunner,
}

/// What the holders of a topic are told.
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
    /// After a loss: every topic of this one is confirmed again, or refused.
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
    /// Asked again on the next link, or when somebody else wants it.
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
    /// It waits in `todo` already.
    queued: bool,
}

#[derive(Default)]
struct Member {
    topics: BTreeSet<Name>,
    /// How many of them are neither confirmed nor refused.
    open: usize,
    recovering: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Subscriptions {
    /// Of the link, while there is one.
    generation: Option<u64>,
    topics: HashMap<Name, Topic>,
    members: BTreeMap<Id, Member>,
    todo: VecDeque<Name>,
    /// Those that the link had no room for.
    deferred: VecDeque<Name>,
    in_flight: usize,
    news: VecDeque<News>,
}

impl Subscriptions {
    /// `id` wants a topic. It is told when the server has confirmed it, or has already.
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
            // What was refused may be allowed by now.
            TopicStage::Refused => self.enter(name, TopicStage::Absent),
            TopicStage::Absent | TopicStage::Asked | TopicStage::Leaving => {}
        }
        self.settle_at(name);
    }

    /// `id` wants a topic no more.
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

    /// `id` is over.
    pub(crate) fn end(&mut self, id: Id) {
        let Some(member) = self.members.remove(&id) else { return };
        for name in member.topics {
            if let Some(topic) = self.topics.get_mut(&name) {
                topic.holders.remove(&id);
            }
            self.settle_at(&name);
        }
    }

    /// A new link is there, on which nothing is subscribed.
    pub(crate) fn linked(&mut self, generation: u64) {
        self.generation = Some(generation);
        let names: Vec<Name> = self.topics.keys().cloned().collect();
        for name in names {
            self.settle_at(&name);
        }
    }

    /// The link is gone. Returns whose messages may be missed from now on.
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

    /// The server took a topic away on its own account. Returns whose messages may be missed. `again`: it is asked for
    /// here again; otherwise not until [`check_again`](Self::check_again).
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

    /// What became of a topic may be otherwise by now.
    pub(crate) fn check_again(&mut self, name: &Name) {
        if self.topics.get(name).is_some_and(|topic| topic.stage == TopicStage::Refused) {
            self.enter(name, TopicStage::Absent);
        }
        self.settle_at(name);
    }

    /// Nothing is known of a topic any more. Returns who had it confirmed.
    fn forget(&mut self, name: &Name) -> BTreeSet<Id> {
        let Some(topic) = self.topics.get_mut(name) else { return BTreeSet::new() };
        let had = if topic.stage == TopicStage::Confirmed { topic.holders.clone() } else { BTreeSet::new() };
        self.enter(name, TopicStage::Absent);
        had
    }

    /// These are told when all of their topics are confirmed.
    fn recover(&mut self, hurt: BTreeSet<Id>) -> Vec<Id> {
        for id in &hurt {
            if let Some(member) = self.members.get_mut(id) {
                member.recovering = true;
            }
        }
        hurt.into_iter().collect()
    }

    /// The same for those who miss something for another reason than this link.
    fn recover_with(&mut self, hurt: BTreeSet<Id>) {
        for id in self.recover(hurt) {
            self.settle(id);
        }
    }

    /// The next thing to ask, if there is a link and room for it.
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

    /// What came of an [`Ask`]; that of an older link changes nothing.
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
            // A server that forbids to leave goes on sending what nobody wants; asking again would not help.
            (false, Answer::Done | Answer::Refused(_) | Answer::DedicatedRunner) => {
                self.enter(name, TopicStage::Absent)
            }
            (true, Answer::NotSent) => {
                self.enter(name, TopicStage::Absent);
                return self.deferred.push_back(name.clone());
            }
            (true, Answer::DedicatedRunner) => {
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

    /// Whether something waits for [`retry`](Self::retry).
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// The link may have room again. With all of a thousand topics asked for anew at each answer, a window of one would make
    /// a million requests of them; two for each answer fill a window that has become wider within a few.
    pub(crate) fn retry(&mut self) {
        let mut more = 2;
        while more > 0
            && let Some(name) = self.deferred.pop_front()
        {
            // Neither those whose holders left meanwhile nor those that were asked for again: nothing would come of them,
            // and whoever is behind them would wait for that.
            let is_due = |topic: &Topic| {
                let wanted = !topic.holders.is_empty();
                !topic.queued
                    && matches!((topic.stage, wanted), (TopicStage::Absent, true) | (TopicStage::Confirmed, false))
            };
            more -= usize::from(self.topics.get(&name).is_some_and(is_due));
            self.settle_at(&name);
        }
    }

    /// What the holders have to be told next.
    pub(crate) fn news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(crate) fn is_confirmed(&self, name: &Name) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.stage == TopicStage::Confirmed)
    }

    /// Whether the server has been asked for it and has not answered.
    fn is_asked(&self, name: &Name) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.stage == TopicStage::Asked)
    }

    /// Whether somebody still waits for topics that a loss has cost.
    pub(crate) fn is_recovering(&self) -> bool {
        self.members.values().any(|member| member.recovering)
    }

    /// Whether this one does.
    fn recovers(&self, id: Id) -> bool {
        self.members.get(&id).is_some_and(|member| member.recovering)
    }

    /// Whether this link was asked for nothing so far.
    pub(crate) fn is_untouched(&self) -> bool {
        self.in_flight == 0 && self.topics.values().all(|topic| topic.stage == TopicStage::Absent)
    }

    /// Every change of a stage goes through here: it keeps the counts of those who wait.
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
