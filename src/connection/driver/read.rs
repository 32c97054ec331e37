//! Reads what a link has brought: replies go to their callers, published messages to the listener.

use std::{
    future::Future,
    task::{Context, Poll, Waker},
    time::Instant,
};

use redis::{PushKind, Value};

use super::answers::{answer, is_accepted_write, strip};
use super::listening::{ClassifiedFrame, MESSAGES_PER_TURN, sort};
use super::{Driver, Established};
use crate::connection::admission::Unasked;
use crate::connection::deadline_queue::Stamp;
use crate::connection::liveness::Received;
use crate::connection::request::BoxedTicket;
use crate::connection::script_resend::ResendWithSources;
use crate::connection::verdict::is_error;
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind};
use crate::protocol::decode::ProtocolError;

/// Maximum socket reads per poll, before other actors of this thread run.
const READS_PER_TURN: u32 = 16;

/// What may still be delivered before other actors of this thread run.
#[derive(Clone, Copy)]
pub(super) struct ReadBudget {
    replies: usize,
    messages: usize,
}

impl ReadBudget {
    /// For a link that is closed: replies that were read and are not delivered now are lost with it.
    const ALL: Self = Self { replies: usize::MAX, messages: usize::MAX };

    /// This many replies. Messages are bounded also where replies are not: more at once than an inbox holds are lost.
    pub(super) fn of(replies: usize) -> Self {
        Self { replies, messages: MESSAGES_PER_TURN }
    }
}

/// What one read of the socket has brought, or the rest of it.
struct Batch {
    /// How many commands it can answer: those that were in flight when it was read.
    owed: usize,
    received: Received,
    now: Instant,
}

/// The cause of a link's end over a value that answers no command. A server that closes a connection may say why.
#[cold]
fn unsolicited(value: &Value) -> Cause {
    match value {
        Value::ServerError(error) => {
            let error = Error::server(error.code(), error.details());
            let (code, words) = (error.code().unwrap_or_default(), error.message());
            Cause::new(CauseKind::NotReady, format!("the server ended the connection with {code}: {words}"))
        }
        _ => Cause::new(CauseKind::Protocol, "the server sent a reply without a command"),
    }
}

/// Sent again, the same command would cost the next link too.
fn oversized(limit: ProtocolError) -> Error {
    let words = format!("{limit}; ask for less at once, as in ranges or by a scan");
    Error::new(ErrorKind::Protocol, Fate::Unknown, words)
}

impl Driver {
    pub(super) fn read(&mut self, cx: &mut Context<'_>, budget: ReadBudget) -> Result<(), Cause> {
        let outcome = self.read_batches(cx, budget);
        self.put_back();
        if self.admission.take_question() {
            let now = self.now();
            self.ping(now);
        }
        outcome
    }

    pub(super) fn is_partially_read(&self) -> bool {
        self.established.as_ref().is_some_and(|link| link.partial_read.is_some())
    }

    /// The link goes in the middle of what it brought: those commands were answered, and their fate is known.
    pub(super) fn complete_received(&mut self) {
        if self.is_partially_read() {
            // It goes whatever comes of this.
            let _ = self.read(&mut Context::from_waker(Waker::noop()), ReadBudget::ALL);
        }
    }

    /// What has to be sent again goes in front of everything, in order.
    pub(super) fn put_back(&mut self) {
        if self.again.is_empty() {
            return;
        }
        for (ticket, stamp) in self.again.drain(..).rev() {
            self.admission.put_back(ticket, stamp);
        }
    }

    fn read_batches(&mut self, cx: &mut Context<'_>, mut budget: ReadBudget) -> Result<(), Cause> {
        for _ in 0..READS_PER_TURN {
            let Some(mut batch) = self.fill(cx)? else { return Ok(()) };
            let is_done = self.deliver_batch(&mut batch, &mut budget)?;
            let Some(established) = &mut self.established else { return Ok(()) };
            let Batch { owed, mut received, now } = batch;
            received.idle = self.admission.in_flight() == 0;
            if !is_done {
                established.pause(owed, received, now, cx);
                return Ok(());
            }
            if let Some(cause) = established.leaving.take_if(|_| received.idle) {
                return Err(cause);
            }
            established.liveness.received(received, now);
            if let Some(tracking) = &established.tracking {
                tracking.received();
            }
        }
        // There may be more, and others of this thread wait: come back in the next turn. After a plain wake-up
        // the runtime looks at its timers and sockets only behind 61 turns like this.
        let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
        Ok(())
    }

    /// Reads from the socket, unless the last turn has left something. `None`: nothing has come.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Option<Batch>, Cause> {
        let now = self.now();
        let Some(established) = &mut self.established else { return Ok(None) };
        let mut received = Received::default();
        // Callers that were answered by the first part may have sent more since: the rest is not for those commands.
        if let Some(owed) = established.partial_read.take() {
            received.bytes = 1;
            return Ok(Some(Batch { owed, received, now }));
        }
        let in_flight = self.admission.in_flight();
        match established.wire.poll_fill(cx) {
            Poll::Pending => return Ok(None),
            // A listener waits for nothing, and is not idle for that.
            Poll::Ready(Ok(0)) if in_flight == 0 && self.listener.is_none() => {
                return Err(Cause::new(CauseKind::IdleClosed, "the server closed the idle connection"));
            }
            Poll::Ready(Ok(0)) => return Err(Cause::new(CauseKind::Broken, "the server closed the connection")),
            Poll::Ready(Err(error)) => return Err(Cause::new(CauseKind::Broken, format!("the link broke: {error}"))),
            Poll::Ready(Ok(bytes)) => received.bytes = bytes,
        }
        if let Some(busy_poll) = &mut established.busy_poll {
            busy_poll.came(now);
        }
        Ok(Some(Batch { owed: in_flight, received, now }))
    }

    /// Delivers a batch as far as the budget goes. Returns whether that is the whole batch.
    fn deliver_batch(&mut self, batch: &mut Batch, budget: &mut ReadBudget) -> Result<bool, Cause> {
        loop {
            let Some(value) = self.next(batch, budget)? else { return Ok(budget.messages > 0) };
            if batch.owed == 0 {
                return Err(unsolicited(&value));
            }
            if is_error(&value) {
                self.check_tracking(&value);
            }
            let before = self.admission.in_flight();
            let replied = self.admission.replied(value, batch.now).map_err(|Unasked| unsolicited(&Value::Nil))?;
            batch.received.replied = true;
            batch.owed = batch.owed.saturating_sub(before.saturating_sub(self.admission.in_flight()));
            let Some((ticket, value, stamp)) = replied else { continue };
            self.deliver(ticket, value, stamp);
            budget.replies = budget.replies.saturating_sub(1);
            if budget.replies == 0 && batch.owed > 0 && self.may_pause() {
                return Ok(false);
            }
        }
    }

    /// The next reply of a batch. Published messages before it go to the listener. `None`: the batch is decoded as far as it
    /// goes, or the budget for messages is spent.
    #[inline]
    fn next(&mut self, batch: &mut Batch, budget: &mut ReadBudget) -> Result<Option<Value>, Cause> {
        let Some(established) = &mut self.established else { return Ok(None) };
        loop {
            let value = match established.wire.next_reply() {
                Ok(Some(value)) => value,
                Ok(None) => return Ok(None),
                Err(error) => {
                    if batch.owed > 0 && established.wire.oversized_reply().is_some() {
                        self.admission.fail_oldest(oversized(error));
                    }
                    return Err(Cause::new(CauseKind::Protocol, error.to_string()));
                }
            };
            let Some(listener) = &mut self.listener else {
                if let Value::Push { kind, data } = value {
                    if let (PushKind::Invalidate, Some(tracking)) = (kind, &established.tracking) {
                        tracking.invalidated(&data);
                    }
                    batch.received.other = true;
                    continue;
                }
                return Ok(Some(value));
            };
            match sort(value, &self.prefix, self.admission.oldest().filter(|_| batch.owed > 0)) {
                ClassifiedFrame::Answer(value) => return Ok(Some(value)),
                ClassifiedFrame::Nothing => batch.received.other = true,
                ClassifiedFrame::PushMessage(message) => {
                    batch.received.other = true;
                    listener.heard(message);
                    budget.messages = budget.messages.saturating_sub(1);
                    if budget.messages == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Not while the link is closed, nor in the middle of commands that are sent again: the next part would be put in front of it.
    fn may_pause(&self) -> bool {
        let is_worth_it = |link: &Established| link.wire.has_unread() && link.leaving.is_none();
        self.again.is_empty() && self.established.as_ref().is_some_and(is_worth_it)
    }

    /// Gives the whole reply to its caller.
    #[inline]
    fn deliver(&mut self, ticket: BoxedTicket, value: Value, stamp: Stamp) {
        let frame = ticket.frame();
        let (is_error, is_unit) = (is_error(&value), frame.is_unit());
        if !is_error && let Some(note) = frame.origin_note() {
            let number = self.established.as_ref().map_or(0, |link| link.number);
            note.write(number, self.located.as_ref());
        }
        // Only needed where the server reports no role, as in RESP2.
        if self.server_info.role.is_none()
            && let Some(established) = &mut self.established
        {
            established.has_written = established.has_written || is_accepted_write(frame, &value);
        }
        let value = strip(frame, value, &self.prefix);
        if is_error || is_unit {
            self.deliver_error_or_unit(ticket, value, stamp);
        } else {
            ticket.complete(Ok(value));
        }
    }

    #[cold]
    fn deliver_error_or_unit(&mut self, ticket: BoxedTicket, value: Value, stamp: Stamp) {
        let link = self.established.as_ref().map_or(0, |established| established.number);
        let (ticket, value) = match ResendWithSources::of(ticket, value, link) {
            Ok(rerun) => return self.again.push((rerun, stamp)),
            Err(answered) => answered,
        };
        let Some(cause) = answer(ticket, value, &self.prefix, &self.connect_params) else { return };
        // Those sent before the answer came get the same one: lost with the link, their fate would be unknown for nothing.
        self.admission.shut_window();
        let Some(established) = &mut self.established else { return };
        let is_demoted = cause.kind() == CauseKind::ReadOnly && self.server_info.was_master(established.has_written);
        established.leaving = Some(cause);
        if is_demoted {
            self.connect_params.report_demotion(self.demotions);
        }
    }
}

#[cfg(test)]
mod tests;
