//! What replies mean for the commands in flight: answered, or not executed and to be sent again on the same link.
//!
//! A server that is loading, busy or without a primary executes nothing of what it refuses. Such commands stay in the flight
//! until all behind them are answered, because one that ran must not be followed by an older one. If none ran, all of them go
//! back to the queue, in order, and are sent again at a polite pace.
//!
//! A script, a function or a module command can answer with the very text of the server after it has run. Nothing in that reply
//! is evidence, but the reply to the next command is: a server that is busy or loading refuses that one too. So such a command
//! is unconfirmed until a command behind it, whose reply comes from the server itself, is refused with the same code. Where none is
//! in flight the connection asks with a PING. An unconfirmed command that the next reply contradicts is not sent again.

use std::time::Instant;

use redis::Value;

use super::queue::{Queued, RETRY_AFTER, Trouble};
use super::{Admission, OWN, Queueable, RefusalPolicy, Unasked};
use crate::connection::deadline_queue::Stamp;
use crate::connection::verdict::{CommandFacts, ServerRefusal, is_error, not_run, unit_errors};
use crate::error::{Error, Fate};
use crate::frame::{Frame, Unit};

impl<R: Queueable> Admission<R> {
    /// A reply came: it belongs to the oldest command in flight that is not answered. Returns that command's ticket with its
    /// whole answer, if its caller still waits and nothing more is owed.
    ///
    /// # Errors
    /// Nothing is in flight: the reply is unsolicited.
    #[inline]
    pub(crate) fn replied(&mut self, value: Value, now: Instant) -> Result<Option<(R, Value, Stamp)>, Unasked> {
        let front = self.flight.get_mut(self.refusals.len()).ok_or(Unasked)?;
        front.owed -= 1;
        let (is_own, may_forge_late) = (front.runs_at == OWN, front.is_unconfirmed);
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
                let evidence = Evidence::of_unit(unit, frame.is_some_and(Frame::is_repeatable), &self.partial);
                self.refuse_front(refusal, evidence, now);
                return Ok(None);
            }
            self.server_is_ready();
            return Ok(self.finish_front(|partial| Value::Array(std::mem::take(partial))));
        }
        if front.owed > 0 {
            // Of a unit whose caller has left.
            self.partial.push(value);
            return Ok(None);
        }
        if is_error(&value)
            && self.partial.iter().all(is_error)
            && let Some(refusal) = refusal(frame, &value, self.limits.time_limit)
        {
            let evidence = match frame {
                _ if is_own => Evidence::Proof,
                Some(frame) => Evidence::of(frame, &value),
                None if may_forge_late => Evidence::Unconfirmed,
                None => Evidence::None,
            };
            self.refuse_front(refusal, evidence, now);
            return Ok(None);
        }
        if is_own && self.window != self.limits.in_flight && self.own_is_answered(now) {
            return Ok(None);
        }
        self.server_is_ready();
        Ok(self.finish_front(|partial| {
            partial.clear();
            value
        }))
    }

    /// A question of the connection's own is answered, while the server was not ready. Returns whether it stays in the
    /// flight, behind refused commands.
    #[cold]
    fn own_is_answered(&mut self, now: Instant) -> bool {
        self.answer_unconfirmed();
        // It changed nothing, so the commands refused before it can be sent again.
        let Some(said) = self.refusals.back().cloned() else { return false };
        self.refuse_front(said, Evidence::None, now);
        true
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
    fn refuse_front(&mut self, refusal: Error, evidence: Evidence, now: Instant) {
        self.window = 0;
        self.partial.clear();
        match evidence {
            Evidence::Proof => self.confirm(refusal.code()),
            Evidence::Unconfirmed => {
                if let Some(sent) = self.flight.get_mut(self.refusals.len()) {
                    sent.is_unconfirmed = true;
                    self.unconfirmed += 1;
                }
            }
            Evidence::None => {}
        }
        self.refusals.push_back(refusal);
        if self.refusals.len() < self.flight.len() {
            return;
        }
        if self.unconfirmed > 0 {
            self.asks = true;
            return;
        }
        let Some(refusal) = self.refusals.pop_back() else { return };
        self.trouble = Some(Trouble::NotReady(refusal));
        self.requeue_refused();
        self.queue.retry_at(now + RETRY_AFTER);
    }

    /// The server itself has refused a command with this code: it did so with the unconfirmed ones before.
    fn confirm(&mut self, code: Option<&str>) {
        if self.unconfirmed == 0 {
            return;
        }
        for (index, said) in self.refusals.iter().enumerate() {
            if let Some(sent) = self.flight.get_mut(index)
                && sent.is_unconfirmed
                && said.code() == code
            {
                sent.is_unconfirmed = false;
                self.unconfirmed -= 1;
            }
        }
    }

    /// Answers the unconfirmed commands, and those before them, which would run behind.
    fn answer_unconfirmed(&mut self) {
        while self.unconfirmed > 0
            && let Some(refusal) = self.refusals.pop_front()
        {
            self.answer_oldest_refused(refusal);
        }
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

    /// A command was executed. Commands refused before it cannot be sent again without changing the order, so it is answered
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
        while let Some(refusal) = self.refusals.pop_front() {
            self.answer_oldest_refused(refusal);
        }
    }

    fn answer_oldest_refused(&mut self, refusal: Error) {
        let Some(sent) = self.flight.pop_front().map(|(sent, _)| sent) else { return };
        self.flight_bytes -= sent.size.get();
        self.unconfirmed -= usize::from(sent.is_unconfirmed);
        if let Some(ticket) = sent.ticket {
            self.tally.completed += ticket.weight();
            ticket.complete(Err(if sent.is_unconfirmed { refusal.with_fate(Fate::Unknown) } else { refusal }));
        }
    }
}

/// What the refusal of a command says of those that were refused before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// It comes from the server itself.
    Proof,
    /// The command may have written it, and must not run twice.
    Unconfirmed,
    None,
}

/// Whether a command must not run twice, and can answer with any text of a server.
pub(super) fn may_forge(frame: &Frame) -> bool {
    match frame.unit() {
        Some(unit) if !unit.is_atomic() => {
            !frame.is_repeatable() && (0..unit.len()).all(|index| CommandFacts::of_part(unit, index).may_forge())
        }
        Some(_) => false,
        None => !frame.is_repeatable() && CommandFacts::of(frame).may_forge(),
    }
}

impl Evidence {
    /// `frame` is a single command, `reply` its refusal. Other words than the server's own are evidence of nothing.
    fn of(frame: &Frame, reply: &Value) -> Self {
        let facts = CommandFacts::of(frame);
        match facts.is_user_code() {
            false if is_exact(reply) => Self::Proof,
            false => Self::None,
            true if frame.is_repeatable() || !facts.may_forge() => Self::None,
            true => Self::Unconfirmed,
        }
    }

    /// One reply of the server itself is evidence for all of a pipeline, whose commands reach it together. Without MULTI the
    /// commands of a transaction are executed one by one.
    fn of_unit(unit: &Unit, is_repeatable: bool, replies: &[Value]) -> Self {
        let is_proof = |(reply, facts): (&Value, CommandFacts<'_>)| !facts.is_user_code() && is_exact(reply);
        match (unit_errors(unit, replies).any(is_proof), is_repeatable) {
            (true, _) => Self::Proof,
            (false, true) => Self::None,
            (false, false) => Self::Unconfirmed,
        }
    }
}

/// Whether it is a refusal in the exact words of a server.
fn is_exact(reply: &Value) -> bool {
    not_run(reply, CommandFacts::UNKNOWN).is_some()
}

/// The server's refusal of a command that it did not execute and that must be sent to it again. `frame` is `None` if the caller
/// has left.
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
