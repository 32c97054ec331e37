//! What the server's replies mean for all entries: acknowledged, removed, or failed.

use super::failure::{Failure, FailureKind};
use super::*;

impl<P> Consumer<P> {
    /// An XACK was answered. What was not pending any more is acknowledged too.
    pub(crate) fn acked(&mut self, flight: u64, answer: Result<(), Failure>, now: Instant) {
        match answer {
            Ok(()) => {
                self.paces.ack.succeeded();
                let ids = self.acks.returned(flight);
                self.tally.acked += ids.len() as u64;
                for id in ids {
                    if self.book.stage(id) == Some(EntryStage::Acking) {
                        self.book.remove(id);
                    }
                }
            }
            Err(failure) => {
                let first = self.paces.ack.failed(now, &mut self.chance);
                self.acks.failed(flight, self.paces.ack.wake_at().unwrap_or(now));
                self.settling_failed(failure, first);
            }
        }
    }

    pub(super) fn trimmed(&mut self, ids: Vec<StreamId>) {
        if ids.is_empty() {
            return;
        }
        for id in &ids {
            self.put_down(*id);
        }
        self.tally.trimmed += ids.len() as u64;
        self.notify(Notice::Trimmed { ids });
    }

    /// An errand of a live consumer failed in a way that may concern all of them.
    pub(super) fn command_failed(&mut self, failure: Failure) {
        let reads = matches!(self.phase, ConsumerPhase::Live | ConsumerPhase::Setup(SetupStep::List));
        match failure.kind {
            FailureKind::Closed => self.close(),
            // A read that is under way hears of it too, and must end first.
            FailureKind::NoGroup if reads && self.reads.is_empty() => {
                self.paces.setup = Pace::default();
                self.phase = ConsumerPhase::Setup(SetupStep::EnsureGroup);
            }
            _ => {}
        }
    }

    /// An errand that settles entries failed: it is repeated, as long as there is a connection to come.
    pub(super) fn settling_failed(&mut self, failure: Failure, notify: bool) {
        let told = !matches!(failure.kind, FailureKind::Link | FailureKind::NoGroup | FailureKind::Closed);
        if notify && told {
            self.notify(Notice::Trouble { error: failure.error.clone() });
        }
        self.command_failed(failure);
    }

    pub(super) fn close(&mut self) {
        if !self.is_closed() {
            self.phase = ConsumerPhase::Closed;
            self.notify(Notice::Closed);
            self.out.push_back(Action::Finish);
        }
    }
}
