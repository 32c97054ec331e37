//! The outcome of commands when their link breaks, when there will be no link, and when they belong to another server.

use super::queue::Queued;
use super::{Admission, Deadline, Queueable, waiting_phase};
use crate::error::{Error, Fate, Phase};
use crate::events::{Cause, ConnectionState};

/// What became of the commands in flight when their link broke.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) replayed: usize,
    pub(crate) failed: usize,
    pub(crate) unknown: usize,
}

impl Settlement {
    fn count(&mut self, fate: Fate, ticket: &impl Queueable) {
        let of_fate = match fate {
            Fate::Unknown => &mut self.unknown,
            Fate::NotSent | Fate::Rejected => &mut self.failed,
        };
        *of_fate += ticket.weight() as usize;
    }
}

impl<R: Queueable> Admission<R> {
    /// The link broke after `written` bytes were accepted by its socket. Every command in flight is
    /// answered or put back in front of the queue, in order:
    /// by proof, when its last byte never left, so that no server can have run it;
    /// by meaning, when running it twice does no harm; else its fate is unknown.
    pub(crate) fn settle(&mut self, written: u64, cause: &Cause) -> Settlement {
        let mut settlement = Settlement::default();
        let (mut refused, mut again) = (Vec::new(), Vec::new());
        let mut may_be_overtaken = false;
        let mut refusals = std::mem::take(&mut self.refusals).into_iter();
        self.partial.clear();
        (self.flight_bytes, self.unconfirmed, self.asks) = (0, 0, false);
        while let Some((sent, deadline)) = self.flight.pop_front() {
            if let Some(refusal) = refusals.next() {
                // An unconfirmed one may have run, and older ones must not run behind it.
                may_be_overtaken |= sent.is_unconfirmed;
                let Some(ticket) = sent.ticket else { continue };
                let refusal = if sent.is_unconfirmed { refusal.with_fate(Fate::Unknown) } else { refusal };
                let queued = Queued { lost_links: sent.lost_links, ..Queued::new(ticket, sent.size) };
                refused.push((queued, deadline, refusal));
                continue;
            }
            let proof = written < sent.runs_at;
            may_be_overtaken |= !proof;
            let Some(mut ticket) = sent.ticket else { continue };
            if ticket.is_abandoned() {
                self.tally.abandoned += ticket.weight();
                continue;
            }
            if !proof {
                ticket.note_may_have_run();
            }
            let queued = Queued { lost_links: sent.lost_links + 1, ..Queued::new(ticket, sent.size) };
            if (proof || sent.repeatable) && u32::from(queued.lost_links) <= self.limits.lost_links {
                settlement.replayed += 1;
                again.push((queued, deadline));
                continue;
            }
            let fate = queued.fate();
            settlement.count(fate, &queued.ticket);
            queued.ticket.complete(Err(cause.error(fate).in_phase(Phase::Sent, "lost")));
        }
        for (queued, deadline) in again.into_iter().rev() {
            self.queue.push_front(queued, deadline);
        }
        // They are older than anything that was still owed an answer.
        for (queued, deadline, refusal) in refused.into_iter().rev() {
            if may_be_overtaken {
                self.tally.completed += queued.ticket.weight();
                queued.ticket.complete(Err(refusal));
            } else {
                self.queue.push_front(queued, deadline);
            }
        }
        (self.window, self.leaving) = (self.limits.in_flight, false);
        self.queue.retry_now();
        self.tally.failed += settlement.failed as u64;
        self.tally.unknown += settlement.unknown as u64;
        settlement
    }

    /// The reply to the oldest command cannot be read: the command ends here, whatever becomes of the link.
    pub(crate) fn fail_oldest(&mut self, error: Error) {
        if let Some(ticket) = self.flight.get_mut(self.refusals.len()).and_then(|sent| sent.ticket.take()) {
            self.tally.unknown += ticket.weight();
            ticket.complete(Err(error.in_phase(Phase::Sent, ConnectionState::Ready.as_str())));
        }
    }

    /// Completes every waiting command, and returns how many may have run and how many cannot.
    pub(crate) fn fail_queued(&mut self, cause: &Cause, state: ConnectionState) -> Settlement {
        let mut settlement = Settlement::default();
        while let Some((queued, _)) = self.queue.pop_front() {
            let fate = queued.fate();
            if queued.ticket.is_abandoned() {
                self.tally.abandoned += queued.ticket.weight();
            } else {
                settlement.count(fate, &queued.ticket);
            }
            queued.ticket.complete(Err(cause.error(fate).in_phase(waiting_phase(state), state.as_str())));
        }
        self.tally.failed += settlement.failed as u64;
        self.tally.unknown += settlement.unknown as u64;
        settlement
    }

    /// Takes out what waits, in order; with each, whether it may have run. What the server has refused stays where it is until
    /// those behind it are answered: one of them may run.
    pub(crate) fn take_queued(&mut self) -> Vec<(R, Deadline, bool)> {
        let mut taken = Vec::with_capacity(self.queue.len());
        while let Some((queued, deadline)) = self.queue.pop_front() {
            let deadline = queued.own_deadline(deadline, &self.limits);
            if queued.ticket.is_abandoned() {
                self.tally.abandoned += queued.ticket.weight();
            } else {
                let may_have_run = queued.ticket.frame().may_have_run();
                taken.push((queued.ticket, deadline, may_have_run));
            }
        }
        taken
    }
}
