//! Entries that were moved to the dead letters, or could not be.

use super::failure::{Failure, FailureKind};
use super::*;

/// How soon a dead letter that the server refuses is tried again, at first (twice that) and at last.
const FIRST_RETRY: Duration = Duration::from_millis(125);
const LAST_RETRY: Duration = Duration::from_secs(10);

impl<P> Consumer<P> {
    /// A dead letter is written, or it is none: the entry was not ours, or not there, any more.
    pub(crate) fn was_dead_lettered(
        &mut self,
        dead_letter_request: DeadLetterRequest,
        answer: Result<DeadLetterOutcome, Failure>,
        now: Instant,
    ) {
        self.dead_lettering = None;
        match answer {
            Ok(was_dead_lettered) => {
                self.paces.dead_letter.succeeded();
                self.notified.stuck &= was_dead_lettered != DeadLetterOutcome::Written;
                match was_dead_lettered {
                    DeadLetterOutcome::Written => {
                        self.tally.dead_lettered += 1;
                        self.notify(Notice::DeadLettered {
                            id: dead_letter_request.id,
                            reason: dead_letter_request.reason,
                        });
                    }
                    DeadLetterOutcome::Gone => self.trimmed(vec![dead_letter_request.id]),
                    DeadLetterOutcome::NotOurs
                        if self.book.get(dead_letter_request.id).is_some_and(|hold| hold.trimmed) =>
                    {
                        self.trimmed(vec![dead_letter_request.id]);
                    }
                    DeadLetterOutcome::NotOurs => {}
                }
                self.put_down(dead_letter_request.id);
            }
            Err(failure) => self.dead_letter_failed(dead_letter_request, failure, now),
        }
    }

    /// A dead letter that the server refuses is tried again ever more slowly, and keeps no other from being written.
    pub(super) fn dead_letter_failed(
        &mut self,
        dead_letter_request: DeadLetterRequest,
        failure: Failure,
        now: Instant,
    ) {
        let concerns_all = matches!(
            failure.kind,
            FailureKind::Link | FailureKind::NoGroup | FailureKind::Closed | FailureKind::Busy | FailureKind::ReadOnly
        );
        if concerns_all {
            let first = self.paces.dead_letter.failed(now, &mut self.chance);
            if first && matches!(failure.kind, FailureKind::Busy | FailureKind::ReadOnly) {
                self.notify(Notice::DeadLetterFailed { id: dead_letter_request.id, error: failure.error.clone() });
            }
            self.dead_letter_requests.push_front(dead_letter_request);
        } else {
            self.paces.dead_letter.succeeded();
            if !std::mem::replace(&mut self.notified.stuck, true) {
                self.notify(Notice::DeadLetterFailed { id: dead_letter_request.id, error: failure.error.clone() });
            }
            let tries = dead_letter_request.tries + 1;
            let pause = FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LAST_RETRY);
            self.stuck
                .insert((now + pause, dead_letter_request.id), DeadLetterRequest { tries, ..dead_letter_request });
        }
        self.settling_failed(failure, false);
    }
}
