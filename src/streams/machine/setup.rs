//! The steps before entries are read, and what is asked of the group meanwhile and after.

use super::failure::{Failure, FailureKind};
use super::group_position::{Ensured, Start};
use super::*;

/// Whose a consumer's name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Us,
    Somebody(String),
}

impl<P> Consumer<P> {
    pub(super) fn next_setup(&mut self, now: Instant) -> Option<Action<P>> {
        let step = match self.phase {
            ConsumerPhase::Setup(step) => step,
            // What did not fit in hand when it was listed.
            ConsumerPhase::Live if !self.recovery.listed_all => SetupStep::List,
            ConsumerPhase::Live | ConsumerPhase::Closed => return None,
        };
        if matches!(self.flow, Flow::Draining(_)) || !self.paces.setup.may_start(now) {
            return None;
        }
        let action = match (step, self.stale_client) {
            (SetupStep::Connect, _) => Action::Connect,
            (SetupStep::Name, _) => Action::HoldName,
            (SetupStep::Reap, Some(client)) => Action::Reap { client },
            (SetupStep::Reap, None) | (SetupStep::EnsureGroup, _) => {
                self.phase = ConsumerPhase::Setup(SetupStep::EnsureGroup);
                Action::EnsureGroup { known: self.group_position, sample: self.sample }
            }
            (SetupStep::List, _) => {
                if self.recovery.listed_all || self.book.parked() >= MOST {
                    return None;
                }
                Action::ListPending { after: self.recovery.after, count: LIST }
            }
        };
        self.paces.setup.start();
        Some(action)
    }

    /// The reader has a link.
    pub(crate) fn connected(&mut self, answer: Result<Option<i64>, Failure>, now: Instant) {
        match answer {
            Ok(client) => {
                self.reader = client;
                // The same number again: the server has restarted, and counts from the beginning.
                self.stale_client = self.stale_client.filter(|stale_client| client != Some(*stale_client));
                self.step(SetupStep::Name);
            }
            Err(failure) => self.setup_failed(failure, now),
        }
    }

    /// The name is ours, or somebody else's.
    pub(crate) fn named(&mut self, answer: Result<Holder, Failure>, now: Instant) {
        let setting_up = self.phase == ConsumerPhase::Setup(SetupStep::Name);
        if !setting_up {
            match &answer {
                Err(_) => drop(self.paces.rename.failed(now, &mut self.chance)),
                Ok(_) => self.paces.rename.succeeded(),
            }
        }
        match answer {
            Ok(Holder::Us) => {
                self.name = Name::Ours;
                self.name_suspect = false;
                self.next_name = now + NAME_HELD / 3;
                if setting_up {
                    self.step(SetupStep::Reap);
                }
            }
            Ok(Holder::Somebody(holder)) => self.outdone(holder, now),
            Err(failure) if setting_up => self.setup_failed(failure, now),
            Err(failure) => self.command_failed(failure),
        }
    }

    /// Somebody else bears our name: the server cannot tell our entries from theirs any more, so none is ours.
    fn outdone(&mut self, holder: String, now: Instant) {
        if self.name != Name::TakeReply {
            self.name = Name::TakeReply;
            self.notify(Notice::NameTaken { holder });
            for id in self.book.ids() {
                self.lost(id);
            }
            self.unkeyed.clear();
            // What is pending behind that may be what the other one has begun.
            self.received = None;
            self.unblock();
        }
        if !self.is_closed() {
            self.phase = ConsumerPhase::Setup(SetupStep::Name);
            self.paces.setup.failed(now, &mut self.chance);
        }
    }

    /// What the old link left is gone.
    pub(crate) fn reaped(&mut self, answer: Result<(), Failure>, now: Instant) {
        match answer {
            Err(failure) if failure.kind == FailureKind::Link => self.setup_failed(failure, now),
            Ok(()) | Err(_) => {
                self.stale_client = None;
                self.step(SetupStep::EnsureGroup);
            }
        }
    }

    /// The group is there.
    pub(crate) fn ensured(&mut self, answer: Result<Ensured, Failure>, now: Instant) {
        match answer {
            Ok(Ensured { made, group_position }) => {
                match (made, self.group_position) {
                    (Some(Start::After(after)), Some(_)) => self.notify(Notice::Healed { after }),
                    (Some(_), _) => self.notify(Notice::GroupCreated),
                    (None, _) => {}
                }
                self.group_position = group_position.or(self.group_position);
                self.recovery = Recovery::default();
                self.step(SetupStep::List);
            }
            Err(failure) => self.setup_failed(failure, now),
        }
    }

    /// A page of what is pending for this consumer, with the counts of deliveries.
    pub(crate) fn listed(&mut self, answer: Result<Vec<(StreamId, u64)>, Failure>, now: Instant) {
        match answer {
            Ok(page) => {
                self.paces.setup.succeeded();
                self.recovery.listed_all = page.len() < LIST;
                self.recovery.after = page.last().map(|(id, _)| *id).or(self.recovery.after);
                for (id, deliveries) in page {
                    // It was on its way to this process when the link was lost.
                    let is_unread = self.received.is_some_and(|received| id > received);
                    let attempts = self.attempts_of(deliveries, is_unread);
                    self.recovery.recovered += u64::from(self.claim(id, attempts, None, now));
                }
                if self.recovery.listed_all {
                    // From now on this process knows what it has received.
                    self.received = self.received.max(self.recovery.after).or(Some(StreamId::MIN));
                }
                self.go_live_when_recovered();
            }
            Err(failure) => self.setup_failed(failure, now),
        }
    }

    /// What was there before waits beside what is new. Only where there is an order it has to be known first where each
    /// entry belongs: those of a key must not be overtaken.
    pub(super) fn go_live_when_recovered(&mut self) {
        let listed = self.recovery.listed_all || (!self.terms.ordered && self.book.parked() >= MOST);
        let in_order =
            !self.terms.ordered || (self.recovery.returned_all && self.unkeyed.is_empty() && self.keying.is_empty());
        if self.phase == ConsumerPhase::Setup(SetupStep::List) && listed && in_order {
            self.phase = ConsumerPhase::Live;
            self.paces.read.over();
            self.tally.recovered += self.recovery.recovered;
            self.notify(Notice::Connected { recovered: self.recovery.recovered });
        }
    }

    /// How far the group is; nothing where it cannot be told.
    pub(crate) fn looked(&mut self, answer: Result<Option<GroupPosition>, Failure>, now: Instant) {
        match answer {
            Ok(group_position) => {
                self.paces.look.succeeded();
                let Some(group_position) = group_position.filter(|_| self.phase == ConsumerPhase::Live) else { return };
                self.group_position = Some(group_position);
                let reading = !self.reads.is_empty() && self.flow == Flow::Open;
                if let Some(lasts) = self.stall.looked(group_position.lag, reading, now) {
                    self.notify(Notice::Stalled { lag: group_position.lag.unwrap_or_default(), lasts });
                    self.out.push_back(Action::Disconnect { why: "nothing was delivered although there is something" });
                }
            }
            Err(failure) => {
                self.paces.look.failed(now, &mut self.chance);
                self.command_failed(failure);
            }
        }
    }

    /// Consumers were removed that had died.
    pub(crate) fn forgot(&mut self, answer: Result<Vec<String>, Failure>, now: Instant) {
        match answer {
            Ok(names) => {
                self.paces.forget.succeeded();
                for name in names {
                    self.notify(Notice::ConsumerRemoved { name });
                }
            }
            Err(failure) => {
                self.paces.forget.failed(now, &mut self.chance);
                self.command_failed(failure);
            }
        }
    }

    fn step(&mut self, step: SetupStep) {
        self.paces.setup.succeeded();
        self.phase = ConsumerPhase::Setup(step);
    }

    fn setup_failed(&mut self, failure: Failure, now: Instant) {
        let first = self.paces.setup.failed(now, &mut self.chance);
        match failure.kind {
            FailureKind::Closed => self.close(),
            FailureKind::NoGroup => {
                // It vanished between two steps. A server that goes on saying so must not be asked without a pause.
                self.phase = ConsumerPhase::Setup(SetupStep::EnsureGroup);
            }
            FailureKind::Link => {}
            _ if first => self.notify(Notice::Trouble { error: failure.error }),
            _ => {}
        }
    }
}
