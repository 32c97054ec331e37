//! What becomes of commands when their link breaks, when there will be none, and when they belong elsewhere.

use super::{Admission, Deadline, Queued, Ticket, waiting_phase};
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
    fn count(&mut self, fate: Fate, ticket: &impl Ticket) {
        let of_fate = match fate {
            Fate::Unknown => &mut self.unknown,
            Fate::NotSent | Fate::Rejected => &mut self.failed,
        };
        *of_fate += ticket.weight() as usize;
    }
}

impl<R: Ticket> Admission<R> {
    /// The link broke after `written` bytes were accepted by its socket. Every command in flight is
    /// answered or put back in front of the queue, in order:
    /// by proof, when its last byte never left, so that no server can have run it;
    /// by meaning, when running it twice does no harm; else its fate is unknown.
    pub(crate) fn settle(&mut self, written: u64, cause: &Cause) -> Settlement {
        let mut settlement = Settlement::default();
        let mut again = Vec::new();
        let mut may_be_overtaken = false;
        self.partial.clear();
        self.flight_bytes = 0;
        while let Some((sent, deadline)) = self.flight.pop_front() {
            let proof = written < sent.runs_at;
            may_be_overtaken |= !proof;
            let Some(ticket) = sent.ticket else { continue };
            if ticket.is_abandoned() {
                self.tally.abandoned += ticket.weight();
                continue;
            }
            let may_have_run = sent.may_have_run || !proof;
            let lost_links = sent.lost_links + 1;
            if (proof || sent.repeatable) && u32::from(lost_links) <= self.limits.lost_links {
                settlement.replayed += 1;
                let queued = Queued { lost_links, may_have_run, ..Queued::new(ticket, sent.size) };
                again.push((queued, deadline));
                continue;
            }
            let fate = if may_have_run { Fate::Unknown } else { Fate::NotSent };
            settlement.count(fate, &ticket);
            ticket.complete(Err(cause.error(fate).in_phase(Phase::Sent, "lost")));
        }
        for (queued, deadline) in again.into_iter().rev() {
            self.queued_bytes += queued.size.get();
            self.queue.push_front(queued, deadline);
        }
        // They are older than anything that was still in flight.
        if may_be_overtaken {
            self.refuse_put_off();
        }
        self.take_back_put_off();
        (self.window, self.leaving, self.put_off.pause) = (self.limits.in_flight, false, None);
        self.tally.failed += settlement.failed as u64;
        self.tally.unknown += settlement.unknown as u64;
        settlement
    }

    /// The reply to the oldest command cannot be read: the command ends here, whatever becomes of the link.
    pub(crate) fn fail_oldest(&mut self, error: Error) {
        if let Some(ticket) = self.flight.front_mut().and_then(|sent| sent.ticket.take()) {
            self.tally.unknown += ticket.weight();
            ticket.complete(Err(error.in_phase(Phase::Sent, ConnectionState::Ready.as_str())));
        }
    }

    /// Answers everybody who waits in the queue, and returns how many may have run and how many cannot.
    pub(crate) fn fail_queued(&mut self, cause: &Cause, state: ConnectionState) -> Settlement {
        let mut settlement = Settlement::default();
        while let Some((queued, _)) = self.queue.pop_front() {
            let fate = queued.fate();
            match &queued.ticket {
                Some(ticket) if ticket.is_abandoned() => self.tally.abandoned += ticket.weight(),
                Some(ticket) => settlement.count(fate, ticket),
                None => {}
            }
            queued.answer(cause.error(fate).in_phase(waiting_phase(state), state.as_str()));
        }
        self.queued_bytes = 0;
        self.tally.failed += settlement.failed as u64;
        self.tally.unknown += settlement.unknown as u64;
        settlement
    }

    /// Takes out what waits, in order; with each, whether it may have run.
    pub(crate) fn take_queued(&mut self) -> Vec<(R, Deadline, bool)> {
        self.take_back_put_off();
        let mut taken = Vec::with_capacity(self.queue.len());
        while let Some((queued, deadline)) = self.queue.pop_front() {
            let deadline = queued.own_deadline(deadline, &self.limits);
            let Some(ticket) = queued.ticket else { continue };
            if ticket.is_abandoned() {
                self.tally.abandoned += ticket.weight();
            } else {
                taken.push((ticket, deadline, queued.may_have_run));
            }
        }
        self.queued_bytes = 0;
        taken
    }
}
