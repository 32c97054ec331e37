//! Commands that the server answered with "not now": it is loading, busy, or has no primary. It did not run
//! them, so they wait here and are sent again on the same link, in order and at a polite pace.

use std::time::{Duration, Instant};

use redis::Value;

use super::{Admission, Deadline, Patience, Queued, Ticket, waiting_phase};
use crate::error::{Error, ErrorKind, Fate};
use crate::events::ConnectionState;

/// How often a server that is not ready is asked again.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct PutOff<R> {
    tickets: Vec<(Queued<R>, Deadline, Error)>,
    /// No later than the first of their deadlines.
    earliest: Option<Instant>,
    /// When the server is asked again. `Starting` until somebody with a clock comes by.
    pub(super) pause: Option<Pause>,
}

pub(super) enum Pause {
    Starting,
    Until(Instant),
}

impl<R: Ticket> PutOff<R> {
    pub(super) fn new() -> Self {
        Self { tickets: Vec::new(), earliest: None, pause: None }
    }

    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    pub(super) fn is_pausing(&mut self, now: Instant) -> bool {
        match self.pause {
            None => false,
            Some(Pause::Starting) => {
                self.pause = Some(Pause::Until(now + PAUSE));
                true
            }
            Some(Pause::Until(until)) if until > now => true,
            Some(Pause::Until(_)) => {
                self.pause = None;
                false
            }
        }
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        match self.pause {
            Some(Pause::Until(until)) => Some(self.earliest.map_or(until, |earliest| earliest.min(until))),
            Some(Pause::Starting) | None => self.earliest,
        }
    }

    /// Answers those whose deadline has come, and returns how many.
    pub(super) fn expire(&mut self, now: Instant, state: ConnectionState) -> u64 {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return 0;
        }
        let due = self.tickets.extract_if(.., |(_, deadline, _)| deadline.at() <= now);
        let mut expired = 0;
        for (queued, _, refusal) in due {
            expired += 1;
            queued.answer(
                Error::new(ErrorKind::Timeout, Fate::NotSent, format!("the server was not ready: {refusal}"))
                    .in_phase(waiting_phase(state), state.as_str()),
            );
        }
        self.earliest = self.tickets.iter().map(|(_, deadline, _)| deadline.at()).min();
        expired
    }
}

impl<R: Ticket> Admission<R> {
    /// The front of the flight was answered with `refusal`. Nothing more is sent until the rest of the
    /// flight is answered: one that was run while an older one was not must not be overtaken in silence.
    pub(super) fn put_off_front(&mut self, refusal: Option<Value>) {
        self.window = 0;
        if let Some((sent, deadline)) = self.flight.pop_front() {
            self.flight_bytes -= sent.size.get();
            if let (Some(ticket), Some(Value::ServerError(error))) = (sent.ticket, refusal) {
                let refusal = Error::server(error.code(), error.details());
                let (lost_links, may_have_run) = (sent.lost_links, sent.may_have_run);
                let queued = Queued { lost_links, may_have_run, ..Queued::new(ticket, sent.size) };
                let at = deadline.at();
                self.put_off.earliest = Some(self.put_off.earliest.map_or(at, |earliest| earliest.min(at)));
                self.put_off.tickets.push((queued, deadline, refusal));
            }
        }
        if self.flight.is_empty() {
            self.take_back_put_off();
            self.put_off.pause = Some(Pause::Starting);
        }
    }

    /// Something was run. What was put off before it cannot be sent again without changing the order, so it
    /// is answered with what the server said.
    pub(super) fn server_is_ready(&mut self) {
        if self.window == self.limits.in_flight || self.leaving {
            return;
        }
        self.window = self.limits.in_flight;
        self.refuse_put_off();
    }

    /// Answers them with what the server said.
    pub(super) fn refuse_put_off(&mut self) {
        self.put_off.earliest = None;
        for (queued, _, refusal) in std::mem::take(&mut self.put_off.tickets) {
            self.tally.completed += queued.ticket.as_ref().map_or(0, Ticket::weight);
            queued.answer(refusal);
        }
    }

    /// Puts them in front of the queue, in order.
    pub(super) fn take_back_put_off(&mut self) {
        self.put_off.earliest = None;
        for (queued, deadline, _) in std::mem::take(&mut self.put_off.tickets).into_iter().rev() {
            self.queued_bytes += queued.size.get();
            self.queue.push_front(queued, deadline);
        }
    }
}

/// A pipeline is put off only when every part of it was. A transaction, when EXEC says that none of it was
/// run, and no command in it was refused for anything else.
pub(super) fn is_unit_not_now(replies: &[Value], is_atomic: bool, patience: Patience) -> bool {
    let refused = |reply: &&Value| matches!(reply, Value::ServerError(_));
    match replies.split_last() {
        Some((Value::ServerError(exec), queueing)) if is_atomic && exec.code() == "EXECABORT" => {
            let mut refusals = queueing.iter().filter(refused).peekable();
            refusals.peek().is_some() && refusals.all(|reply| is_not_now(reply, patience))
        }
        _ => replies.iter().all(|reply| is_not_now(reply, patience)),
    }
}

/// Codes decide, texts differ.
pub(super) fn is_not_now(value: &Value, patience: Patience) -> bool {
    let Value::ServerError(error) = value else { return false };
    let code = error.code();
    match patience {
        Patience::All => says_not_now(code),
        // The others are about a slot, or for whoever can ask another node.
        Patience::ButSlots => matches!(code, "LOADING" | "BUSY"),
        Patience::None => false,
    }
}

fn says_not_now(code: &str) -> bool {
    matches!(code, "LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN")
}
