//! What the server is asked about leases, which of them it has confirmed, and what becomes of the others.

use super::failure::{Failure, FailureKind};
use super::*;

/// The maximum number of entries in one lease command: a script blocks the whole server.
const LEASES: usize = 256;

impl<P> Consumer<P> {
    pub(super) fn next_lease(&mut self, now: Instant) -> Option<Action<P>> {
        if !self.paces.lease.may_start(now) {
            return None;
        }
        while self.saying.len() < LEASES
            && let Some(id) = self.unrenewed.pop_front()
        {
            // By now the entry may be settled, or its terms may be others.
            if let Some(term) = self.term(id, now) {
                self.saying.push(term);
            }
        }
        if self.saying.is_empty() {
            self.ownership_suspect = false;
            return None;
        }
        self.paces.lease.start();
        self.said_at = now;
        Some(Action::Lease { terms: self.saying.clone() })
    }

    /// What the server is to know about an entry: a lease that begins now, a delay, or that anybody may have
    /// it at once.
    pub(super) fn term(&self, id: StreamId, now: Instant) -> Option<LeaseTerm> {
        let min_idle = self.terms.min_idle;
        let until = |due: Instant| min_idle.saturating_sub(due.saturating_duration_since(now));
        let hold = self.book.get(id)?;
        let attempts = hold.attempts;
        // What is known to have ended in time is told as it is, so that whoever gets the entry next knows it too.
        let ended = if attempts.started == 0 { 0 } else { attempts.deliveries() };
        let (idle, count) = match hold.stage {
            _ if hold.lost || hold.trimmed => return None,
            // Nothing can be done about what a handler works on; what it answers is told then.
            EntryStage::KeyedEntry | EntryStage::Running { .. } if hold.dropped => return None,
            EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Burying | EntryStage::Parked => {
                (Duration::ZERO, None)
            }
            EntryStage::Delayed { .. } if hold.offered => (min_idle, Some(ended)),
            EntryStage::Delayed { due } => (until(due), Some(ended)),
            EntryStage::Leaving(ReleaseReason::Suspect) => (min_idle, Some(attempts.deliveries())),
            EntryStage::Leaving(ReleaseReason::Recorded { due }) => (until(due), Some(ended)),
            EntryStage::Leaving(ReleaseReason::Unstarted | ReleaseReason::Released) => (min_idle, Some(ended)),
            EntryStage::Taking | EntryStage::Acking => return None,
        };
        let returned = matches!(
            hold.stage,
            EntryStage::Leaving(ReleaseReason::Unstarted | ReleaseReason::Released | ReleaseReason::Recorded { .. })
        );
        Some(LeaseTerm { id, idle, count, returned, forced: hold.dropped && attempts.started == 0 })
    }

    /// What has to be renewed by somebody else, because this consumer's thread does not come to it: entries of which the
    /// server last confirmed a lease that began at `before` or earlier.
    pub(crate) fn renewals(&self, before: Instant, now: Instant) -> Vec<LeaseTerm> {
        self.book.overdue_leases(before, now).into_iter().filter_map(|id| self.term(id, now)).collect()
    }

    /// The server has confirmed renewals that it was asked for at `sent`.
    pub(crate) fn renewed(&mut self, ids: impl IntoIterator<Item = StreamId>, sent: Instant) {
        ids.into_iter().for_each(|id| self.book.confirm(id, sent));
    }

    /// The server knows the terms, except for entries that are no longer ours.
    pub(crate) fn leased(&mut self, answer: Result<LeaseReply, Failure>, now: Instant) {
        let said = std::mem::take(&mut self.saying);
        match answer {
            Ok(LeaseReply { lost, absent, gone }) => {
                self.paces.lease.succeeded();
                self.ownership_suspect &= !self.unrenewed.is_empty();
                self.removed(gone);
                let (lost, absent) = self.without_owner(lost, absent, now);
                for term in said {
                    if lost.contains(&term.id) || absent.contains(&term.id) {
                        continue;
                    }
                    self.confirmed(term);
                }
                for id in lost {
                    self.lost(id);
                }
            }
            Err(failure) => {
                let first = self.paces.lease.failed(now, &mut self.chance);
                let gone = failure.kind == FailureKind::NoGroup && matches!(self.flow, Flow::Draining(_));
                if gone {
                    // Nothing is pending in a group that is not there, and a consumer that ends makes no other.
                    self.unrenewed.clear();
                    self.book.ids().into_iter().for_each(|id| self.lost(id));
                } else {
                    self.unrenewed.extend(said.iter().map(|term| term.id));
                }
                self.settling_failed(failure, first && !gone);
            }
        }
    }

    /// Entries that are pending for nobody. While their lease held nobody else could take them over and settle them: then
    /// another client has removed this consumer from the group, and they are handled all the same.
    pub(super) fn without_owner(
        &mut self,
        mut lost: Vec<StreamId>,
        absent: Vec<StreamId>,
        now: Instant,
    ) -> (Vec<StreamId>, Vec<StreamId>) {
        let (mut dropped, mut unclear) = (Vec::new(), Vec::new());
        for id in absent {
            let Some(hold) = self.book.get_mut(id) else { continue };
            if now.saturating_duration_since(hold.renewed()) >= self.terms.min_idle {
                lost.push(id);
                continue;
            }
            let (stage, started) = (hold.stage, hold.attempts.started > 0);
            let in_hand = matches!(stage, EntryStage::KeyedEntry | EntryStage::Running { .. });
            if started && !in_hand {
                // Its handler may have acknowledged it itself, with its effects: it must not come again.
                lost.push(id);
                continue;
            }
            hold.dropped = true;
            if started {
                unclear.push(id);
                continue;
            }
            dropped.push(id);
            // What no handler has had has to be pending again before anything can become of it.
            if !in_hand {
                self.unrenewed.push_back(id);
            }
        }
        if !dropped.is_empty() {
            self.notify(Notice::Dropped { entries: dropped.len() + unclear.len() });
        }
        dropped.extend(unclear);
        (lost, dropped)
    }

    /// The server has done what it was told about an entry.
    pub(super) fn confirmed(&mut self, term: LeaseTerm) {
        if let Some(hold) = self.book.get_mut(term.id) {
            // It is pending for this consumer, whether this made it so or a group that was made again did.
            hold.dropped = false;
        }
        self.book.renew(term.id, self.said_at);
        // Who parts while a renewal is under way has not been heard yet, and is still among the unsaid. Those
        // under suspicion have no renewals.
        if let Some(EntryStage::Leaving(parting)) = self.book.stage(term.id)
            && (term.returned || parting == ReleaseReason::Suspect)
        {
            match parting {
                ReleaseReason::Unstarted => self.tally.handed_back += 1,
                ReleaseReason::Recorded { .. } => self.tally.handed_over += 1,
                ReleaseReason::Released | ReleaseReason::Suspect => {}
            }
            self.put_down(term.id);
        }
    }

    /// Entries of ours were removed from the stream. What is in hand of them is worth no less to a handler.
    pub(super) fn removed(&mut self, mut ids: Vec<StreamId>) {
        ids.retain(|id| {
            let stage = self.book.stage(*id);
            let in_hand =
                matches!(stage, Some(EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Burying));
            if in_hand && let Some(hold) = self.book.get_mut(*id) {
                hold.trimmed = true;
            }
            stage.is_some_and(|stage| !in_hand && stage != EntryStage::Acking)
        });
        self.trimmed(ids);
    }

    pub(super) fn lost(&mut self, id: StreamId) {
        match self.book.stage(id) {
            Some(EntryStage::Running { .. }) => {
                // Its handler may end well: then it is acknowledged all the same. But it is neither retried
                // nor moved to the dead letters by us, for that is for its new owner to decide.
                self.tally.lease_lost += 1;
                if let Some(hold) = self.book.get_mut(id) {
                    hold.lost = true;
                }
                self.out.push_back(Action::SignalLost { id });
                self.notify(Notice::LeaseLost { id });
            }
            Some(EntryStage::KeyedEntry) => {
                self.tally.lease_lost += 1;
                self.put_down(id);
            }
            Some(EntryStage::Parked) => self.put_down(id),
            // The answer to the burial that is under way says the same, and only then may the entry come back.
            Some(EntryStage::Burying) if self.dead_lettering == Some(id) => {}
            Some(EntryStage::Burying) => {
                self.dead_letter_requests.retain(|dead_letter_request| dead_letter_request.id != id);
                self.stuck.retain(|(_, stuck), _| *stuck != id);
                self.put_down(id);
            }
            Some(EntryStage::Delayed { .. }) => self.put_down(id),
            // It has left already, where the answer to that was lost.
            Some(EntryStage::Leaving(_)) => self.put_down(id),
            Some(EntryStage::Taking | EntryStage::Acking) | None => {}
        }
    }
}
