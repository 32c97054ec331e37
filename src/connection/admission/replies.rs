//! What replies mean for the commands in flight: answered, or not executed and to be sent again on the same link.
//!
//! A server that is loading, busy or without a primary executes nothing of what it refuses. Such commands stay in the flight
//! until all behind them are answered, because one that ran must not be followed by an older one. If none ran, all of them go
//! back to the queue, in order, and are sent again at a polite pace.

use std::time::Instant;

use redis::Value;

use super::queue::{Queued, RETRY_AFTER, Trouble};
use super::{Admission, OWN, Queueable, RefusalPolicy, Unasked};
use crate::connection::deadline_queue::Stamp;
use crate::connection::verdict::{CommandFacts, ServerRefusal, is_error, not_run, unit_errors};
use crate::error::Error;
use crate::frame::{Frame, Unit};

impl<R: Queueable> Admission<R> {
    /// A reply came: it belongs to the oldest command in flight that is not answered. Returns that command's ticket with its
    /// whole answer, if somebody still waits for it and nothing more is owed.
    ///
    /// # Errors
    /// Nothing is in flight: the peer answers what nobody asked.
    #[inline]
    pub(crate) fn replied(&mut self, value: Value, now: Instant) -> Result<Option<(R, Value, Stamp)>, Unasked> {
        let front = self.flight.get_mut(self.refusals.len()).ok_or(Unasked)?;
        front.owed -= 1;
        let frame = front.ticket.as_ref().map(Queueable::frame);
        if let Some(unit) = frame.and_then(Frame::unit) {
            self.partial.push(value);
            if front.owed > 0 {
                return Ok(None);
            }
            let refusal = frame
                .filter(|frame| !frame.is_pinned())
                .and_then(|_| unit_refusal(unit, &self.partial, self.limits.time_limit));
            if let Some(refusal) = refusal {
                self.refuse_front(refusal, now);
                return Ok(None);
            }
            self.server_is_ready();
            return Ok(self.finish_front(|partial| Value::Array(std::mem::take(partial))));
        }
        if front.owed > 0 {
            // Of a unit that nobody waits for any more.
            self.partial.push(value);
            return Ok(None);
        }
        if is_error(&value)
            && self.partial.iter().all(is_error)
            && let Some(refusal) = refusal(frame, &value, self.limits.time_limit)
        {
            self.refuse_front(refusal, now);
            return Ok(None);
        }
        if self.window != self.limits.in_flight
            && let Some(said) = self.refusal_before_own()
        {
            self.refuse_front(said, now);
            return Ok(None);
        }
        self.server_is_ready();
        Ok(self.finish_front(|partial| {
            partial.clear();
            value
        }))
    }

    /// What the server said last, where the reply to a question of the connection's own followed it: that changed nothing, so
    /// what was refused before it can be sent again.
    #[cold]
    fn refusal_before_own(&self) -> Option<Error> {
        let own = self.flight.get(self.refusals.len()).is_some_and(|sent| sent.runs_at == OWN);
        self.refusals.last().filter(|_| own).cloned()
    }

    #[inline]
    fn finish_front(&mut self, answer: impl FnOnce(&mut Vec<Value>) -> Value) -> Option<(R, Value, Stamp)> {
        let (sent, stamp) = self.flight.pop_stamped()?;
        self.flight_bytes -= sent.size.get();
        let answer = answer(&mut self.partial);
        let ticket = sent.ticket?;
        self.tally.completed += ticket.weight();
        Some((ticket, answer, stamp))
    }

    /// The server did not execute the oldest command that is owed an answer. Nothing more is sent until the rest of the
    /// flight is answered.
    #[cold]
    fn refuse_front(&mut self, refusal: Error, now: Instant) {
        self.window = 0;
        self.partial.clear();
        self.refusals.push(refusal);
        if self.refusals.len() < self.flight.len() {
            return;
        }
        let Some(refusal) = self.refusals.pop() else { return };
        self.trouble = Some(Trouble::NotReady(refusal));
        self.requeue_refused();
        self.queue.retry_at(now + RETRY_AFTER);
    }

    /// Puts the refused commands in front of the queue, in order.
    pub(super) fn requeue_refused(&mut self) {
        self.refusals.clear();
        let mut refused = Vec::new();
        while self.flight.front().is_some_and(|sent| sent.owed == 0) {
            let Some((sent, deadline)) = self.flight.pop_front() else { break };
            self.flight_bytes -= sent.size.get();
            if let Some(ticket) = sent.ticket {
                let queued = Queued { lost_links: sent.lost_links, ..Queued::new(ticket, sent.size) };
                refused.push((queued, deadline));
            }
        }
        for (queued, deadline) in refused.into_iter().rev() {
            self.queue.push_front(queued, deadline);
        }
    }

    /// Something was executed. What was refused before it cannot be sent again without changing the order, so it is answered
    /// with what the server said.
    #[inline]
    fn server_is_ready(&mut self) {
        if self.window != self.limits.in_flight {
            self.server_is_ready_again();
        }
    }

    #[cold]
    fn server_is_ready_again(&mut self) {
        self.answer_refused();
        if !self.leaving {
            self.window = self.limits.in_flight;
        }
        if matches!(self.trouble, Some(Trouble::NotReady(_))) {
            self.trouble = None;
        }
    }

    /// Answers the refused commands with what the server said.
    pub(super) fn answer_refused(&mut self) {
        for refusal in std::mem::take(&mut self.refusals) {
            let Some(sent) = self.flight.pop_front().map(|(sent, _)| sent) else { return };
            self.flight_bytes -= sent.size.get();
            if let Some(ticket) = sent.ticket {
                self.tally.completed += ticket.weight();
                ticket.complete(Err(refusal));
            }
        }
    }
}

/// What the server said to a command that it did not execute and that is to be sent to it again. `frame` is `None` where nobody
/// waits any more.
#[cold]
fn refusal(frame: Option<&Frame>, reply: &Value, time_limit: RefusalPolicy) -> Option<Error> {
    let Value::ServerError(error) = reply else { return None };
    let refusal = match frame {
        // Another link is no place for it, and it might get there from among those that wait.
        Some(frame) if frame.is_pinned() => return None,
        Some(frame) => not_run(reply, CommandFacts::of(frame)),
        None => not_run(reply, CommandFacts::UNKNOWN),
    };
    refusal.filter(|refusal| is_waited_out(*refusal, time_limit))?;
    Some(Error::server(error.code(), error.details()))
}

/// As [`refusal`], for several commands. A pipeline is sent again only when no part of it was executed. A transaction, when EXEC
/// says so, and no command in it was refused for anything else.
fn unit_refusal(unit: &Unit, replies: &[Value], time_limit: RefusalPolicy) -> Option<Error> {
    let (last, others) = replies.split_last()?;
    let Value::ServerError(last) = last else { return None };
    let is_aborted = unit.is_atomic() && last.code() == "EXECABORT";
    if !is_aborted && !others.iter().all(is_error) {
        return None;
    }
    let errors = if is_aborted { others.iter().filter(|reply| is_error(reply)).count() } else { replies.len() };
    let mut said = None;
    for (reply, facts) in unit_errors(unit, replies).take(errors) {
        let refusal = not_run(reply, facts).filter(|refusal| is_waited_out(*refusal, time_limit));
        let (Some(_), Value::ServerError(error)) = (refusal, reply) else { return None };
        said.get_or_insert(error);
    }
    said.map(|error| Error::server(error.code(), error.details()))
}

fn is_waited_out(refusal: ServerRefusal, time_limit: RefusalPolicy) -> bool {
    match time_limit {
        RefusalPolicy::All => refusal.is_not_now(),
        // The others are about a slot, or for those that can ask another node.
        RefusalPolicy::ButSlots => matches!(refusal, ServerRefusal::Loading | ServerRefusal::Busy),
        RefusalPolicy::None => false,
    }
}
