//! What is admitted, what is in flight, and what becomes of both when the link breaks.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use redis::Value;

use crate::core::lane::{Deadline, Lane};
use crate::error::{Error, ErrorKind, Fate, Phase};
use crate::events::{Cause, ConnectionState};
use crate::frame::Frame;

/// A command with somebody who waits for its outcome.
pub(crate) trait Ticket {
    fn frame(&self) -> &Frame;

    /// Nobody waits any more.
    fn is_abandoned(&self) -> bool;

    fn complete(self, outcome: Result<Value, Error>);
}

/// The bounds of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) in_flight: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
    /// How many lost links one command may live through.
    pub(crate) lost_links: u32,
    pub(crate) timeout: Duration,
}

struct Queued<R> {
    ticket: Option<R>,
    size: usize,
    lost_links: u32,
    /// Its bytes left on an earlier link: it is here because it may run twice.
    may_have_run: bool,
}

struct Sent<R> {
    ticket: Option<R>,
    size: usize,
    lost_links: u32,
    may_have_run: bool,
    repeatable: bool,
    /// How many replies the server still owes for it.
    owed: usize,
    /// How many bytes of this link's stream the server must have seen before it can have run any of it.
    runs_at: u64,
}

/// A command on its way from the queue to the link.
pub(crate) struct Next<R> {
    queued: Queued<R>,
    deadline: Deadline,
}

/// What became of the commands in flight when their link broke.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) replayed: usize,
    pub(crate) failed: usize,
    pub(crate) unknown: usize,
}

/// The queue before a link, and the commands on it.
pub(crate) struct Admission<R> {
    limits: Limits,
    queue: Lane<Queued<R>>,
    queued_bytes: usize,
    flight: Lane<Sent<R>>,
    flight_bytes: usize,
    /// The replies that came so far for the unit at the front of the flight.
    partial: Vec<Value>,
}

impl<R: Ticket> Admission<R> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, queue: Lane::new(), queued_bytes: 0, flight: Lane::new(), flight_bytes: 0, partial: Vec::new() }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flight.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty()
    }

    /// The deadline of a command that was asked for at `asked`.
    pub(crate) fn deadline(&self, frame: &Frame, asked: Instant) -> Deadline {
        let hold = frame.longest_hold();
        match frame.own_timeout() {
            Some(timeout) => Deadline::Own(asked + timeout),
            None if hold.is_zero() => Deadline::Common(asked + self.limits.timeout),
            None => Deadline::Own(asked + self.limits.timeout + hold),
        }
    }

    /// Whether a command may go to the link now, ahead of nobody.
    pub(crate) fn may_send(&self, size: usize) -> bool {
        self.queue.is_empty() && self.has_window(size)
    }

    /// One command is always let through: one that is larger than the window must not wait for ever.
    fn has_window(&self, size: usize) -> bool {
        self.flight.is_empty()
            || (self.flight.len() < self.limits.in_flight && self.flight_bytes + size <= self.limits.in_flight_bytes)
    }

    /// Puts a command into the queue, or answers it when the queue is full.
    pub(crate) fn enqueue(&mut self, ticket: R, deadline: Deadline, state: ConnectionState) {
        let size = ticket.frame().size();
        let full = self.queue.len() >= self.limits.queued || self.queued_bytes + size > self.limits.queued_bytes;
        if full && !self.queue.is_empty() {
            let words = "too many commands wait for the connection; send fewer at once or raise max_queued";
            ticket
                .complete(Err(Error::new(ErrorKind::Overloaded, Fate::NotSent, words)
                    .in_phase(waiting_phase(state), state.as_str())));
            return;
        }
        self.queued_bytes += size;
        self.queue.push_back(Queued { ticket: Some(ticket), size, lost_links: 0, may_have_run: false }, deadline);
    }

    /// Takes the next command that somebody still waits for and that the window has room for.
    pub(crate) fn next_to_send(&mut self, now: Instant) -> Option<Next<R>> {
        loop {
            let size = self.queue.front()?.size;
            if !self.has_window(size) {
                return None;
            }
            let (queued, deadline) = self.queue.pop_front()?;
            self.queued_bytes -= queued.size;
            let Some(ticket) = &queued.ticket else { continue };
            if ticket.is_abandoned() {
                continue;
            }
            if deadline.at() <= now {
                let error = timed_out(ConnectionState::Ready, queued.fate());
                queued.answer(error);
                continue;
            }
            return Some(Next { queued, deadline });
        }
    }

    /// A command was encoded for the link, at this place in its stream of bytes.
    pub(crate) fn sent(&mut self, ticket: R, deadline: Deadline, span: Range<u64>) {
        let size = ticket.frame().size();
        let queued = Queued { ticket: Some(ticket), size, lost_links: 0, may_have_run: false };
        self.sent_from_queue(Next { queued, deadline }, span);
    }

    /// As [`sent`](Self::sent), for a command that had been queued.
    pub(crate) fn sent_from_queue(&mut self, next: Next<R>, span: Range<u64>) {
        let Next { queued, deadline } = next;
        let Queued { ticket, size, mut lost_links, may_have_run } = queued;
        let (mut repeatable, mut owed, mut runs_at) = (false, 1, span.end);
        if let Some(frame) = ticket.as_ref().map(Ticket::frame) {
            repeatable = frame.is_repeatable();
            owed = frame.expected_replies();
            if frame.is_pinned() {
                // It lives and dies with this link.
                lost_links = self.limits.lost_links;
            }
            if frame.unit().is_some_and(|unit| !unit.is_atomic()) {
                // The first command of a pipeline may run long before the last one has left.
                runs_at = span.start + 1;
            }
        }
        self.flight_bytes += size;
        self.flight.push_back(Sent { ticket, size, lost_links, may_have_run, repeatable, owed, runs_at }, deadline);
    }

    /// A reply came: it belongs to the oldest command in flight. Returns that command's ticket with its
    /// whole answer, if somebody still waits for it and nothing more is owed.
    ///
    /// # Errors
    /// Nothing is in flight: the peer answers what nobody asked.
    pub(crate) fn replied(&mut self, value: Value) -> Result<Option<(R, Value, Deadline)>, Unasked> {
        let front = self.flight.front_mut().ok_or(Unasked)?;
        front.owed -= 1;
        let is_unit = front.ticket.as_ref().is_some_and(|ticket| ticket.frame().is_unit());
        if is_unit {
            self.partial.push(value);
            if front.owed > 0 {
                return Ok(None);
            }
            return Ok(self.finish_front(|partial| Value::Array(std::mem::take(partial))));
        }
        if front.owed > 0 {
            return Ok(None);
        }
        Ok(self.finish_front(|partial| {
            partial.clear();
            value
        }))
    }

    fn finish_front(&mut self, answer: impl FnOnce(&mut Vec<Value>) -> Value) -> Option<(R, Value, Deadline)> {
        let (sent, deadline) = self.flight.pop_front()?;
        self.flight_bytes -= sent.size;
        let answer = answer(&mut self.partial);
        sent.ticket.map(|ticket| (ticket, answer, deadline))
    }

    /// Puts a command that was answered, and has to be sent once more for that, ahead of all that wait. It was
    /// admitted already, so no bound refuses it.
    pub(crate) fn put_back(&mut self, ticket: R, deadline: Deadline) {
        let size = ticket.frame().size();
        self.queued_bytes += size;
        self.queue.push_front(Queued { ticket: Some(ticket), size, lost_links: 0, may_have_run: false }, deadline);
    }

    /// Answers everything whose deadline has come. What is in flight keeps its place: its reply will come
    /// and must find nobody, rather than the next in line.
    pub(crate) fn expire(&mut self, now: Instant, state: ConnectionState) {
        let freed = &mut self.queued_bytes;
        self.queue.expire(now, |queued| {
            if let Some(ticket) = queued.ticket.take() {
                *freed -= std::mem::take(&mut queued.size);
                let fate = queued.fate();
                ticket.complete(Err(timed_out(state, fate).in_phase(waiting_phase(state), state.as_str())));
            }
        });
        self.flight.expire(now, |sent| {
            if let Some(ticket) = sent.ticket.take() {
                ticket.complete(Err(timed_out(state, Fate::Unknown).in_phase(Phase::Sent, state.as_str())));
            }
        });
    }

    /// When [`expire`](Self::expire) is to be called next.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.queue.next_deadline().into_iter().chain(self.flight.next_deadline()).min()
    }

    /// The link broke after `written` bytes were accepted by its socket. Every command in flight is
    /// answered or put back in front of the queue, in order:
    /// by proof, when its last byte never left, so that no server can have run it;
    /// by meaning, when running it twice does no harm; else its fate is unknown.
    pub(crate) fn settle(&mut self, written: u64, cause: &Cause, state: ConnectionState) -> Settlement {
        let mut settlement = Settlement::default();
        let mut again = Vec::new();
        self.partial.clear();
        self.flight_bytes = 0;
        while let Some((sent, deadline)) = self.flight.pop_front() {
            let Some(ticket) = sent.ticket else { continue };
            if ticket.is_abandoned() {
                continue;
            }
            let proof = written < sent.runs_at;
            let may_have_run = sent.may_have_run || !proof;
            let lost_links = sent.lost_links + 1;
            if (proof || sent.repeatable) && lost_links <= self.limits.lost_links {
                settlement.replayed += 1;
                again.push((Queued { ticket: Some(ticket), size: sent.size, lost_links, may_have_run }, deadline));
                continue;
            }
            let fate = if may_have_run { Fate::Unknown } else { Fate::NotSent };
            match fate {
                Fate::Unknown => settlement.unknown += 1,
                Fate::NotSent | Fate::Rejected => settlement.failed += 1,
            }
            ticket.complete(Err(cause.error(fate).in_phase(Phase::Sent, state.as_str())));
        }
        for (queued, deadline) in again.into_iter().rev() {
            self.queued_bytes += queued.size;
            self.queue.push_front(queued, deadline);
        }
        settlement
    }

    /// Answers everybody who waits in the queue, and returns how many may have run and how many cannot.
    pub(crate) fn fail_queued(&mut self, cause: &Cause, state: ConnectionState) -> Settlement {
        let mut settlement = Settlement::default();
        while let Some((queued, _)) = self.queue.pop_front() {
            let fate = queued.fate();
            if queued.ticket.is_some() {
                match fate {
                    Fate::Unknown => settlement.unknown += 1,
                    Fate::NotSent | Fate::Rejected => settlement.failed += 1,
                }
            }
            queued.answer(cause.error(fate).in_phase(waiting_phase(state), state.as_str()));
        }
        self.queued_bytes = 0;
        settlement
    }
}

/// A reply to nothing.
#[derive(Debug)]
pub(crate) struct Unasked;

impl<R: Ticket> Queued<R> {
    fn fate(&self) -> Fate {
        if self.may_have_run { Fate::Unknown } else { Fate::NotSent }
    }

    fn answer(self, error: Error) {
        if let Some(ticket) = self.ticket {
            ticket.complete(Err(error));
        }
    }
}

impl<R: Ticket> Next<R> {
    pub(crate) fn frame(&self) -> Option<&Frame> {
        self.queued.ticket.as_ref().map(Ticket::frame)
    }
}

/// In which phase a command in the queue is.
pub(crate) fn waiting_phase(state: ConnectionState) -> Phase {
    if matches!(state, ConnectionState::Ready | ConnectionState::Draining) { Phase::Queued } else { Phase::Connecting }
}

fn timed_out(state: ConnectionState, fate: Fate) -> Error {
    let words = match fate {
        Fate::NotSent => "the deadline passed before the command could be sent",
        Fate::Unknown | Fate::Rejected => "no answer came before the deadline",
    };
    Error::new(ErrorKind::Timeout, fate, words).in_phase(waiting_phase(state), state.as_str())
}

#[cfg(test)]
mod tests;
