//! The caller that waits for a command: the typed end of the reply channel, behind one erased type.

use std::{
    any::Any,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use redis::Value;
use tokio::sync::oneshot;

use crate::cache::link::{Trackable, TrackedLink};
use crate::client::in_flight_limit::Permit;
use crate::connection::admission::Queueable;
use crate::connection::verdict::final_error;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::{Frame, WhenDown};
use crate::messages::{Command, outcomes::whole_of};
use crate::telemetry::Observed;

const PANICKED: &str = "the command ran, and its message panicked over the reply; fix its `Command::reply`";

/// A [`Queueable`] whose reply type is not known any more.
pub(crate) trait Pending: Send {
    fn frame(&self) -> &Frame;
    fn is_abandoned(&self) -> bool;
    fn is_let_in(&self) -> bool {
        false
    }
    fn is_asking(&self) -> bool {
        false
    }
    /// See [`Queueable::track`].
    fn track(&mut self, _: Option<&Arc<TrackedLink>>) -> bool {
        false
    }
    /// Itself with all that is kept about it, if it is on its way through a cluster: see `Routed::of`.
    ///
    /// # Errors
    /// The ticket, if it is not.
    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket>;
    /// See [`Queueable::note_may_have_run`].
    fn note_may_have_run(&mut self) {}
    /// The reply of a link to the question whether it has scripts, if the ticket has asked it. Returns whether the ticket is to
    /// be sent again.
    fn scripts_checked(&mut self, _reply: &Value, _link: u64) -> Option<bool> {
        None
    }
    /// It is at no node of a cluster any more, queued or in flight, and has no outcome.
    fn left_node(&mut self) {}
    /// Ready when the caller has left.
    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Returns whether the caller was still there.
    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool;
    /// As [`deliver`](Self::deliver), for a pipeline whose commands have outcomes of their own.
    fn deliver_each(self: Box<Self>, outcomes: Vec<Result<Value>>) -> bool {
        let outcome = whole_of(outcomes, self.frame().is_read());
        self.deliver(outcome)
    }
    /// A late reply is dropped.
    fn complete(self: Box<Self>, outcome: Result<Value>) {
        self.deliver(outcome);
    }
}

pub(crate) type BoxedTicket = Box<dyn Pending>;

impl Queueable for BoxedTicket {
    fn frame(&self) -> &Frame {
        Pending::frame(&**self)
    }

    fn is_abandoned(&self) -> bool {
        Pending::is_abandoned(&**self)
    }

    fn is_let_in(&self) -> bool {
        Pending::is_let_in(&**self)
    }

    fn is_asking(&self) -> bool {
        Pending::is_asking(&**self)
    }

    fn track(&mut self, link: Option<&Arc<TrackedLink>>) -> bool {
        Pending::track(&mut **self, link)
    }

    fn note_may_have_run(&mut self) {
        Pending::note_may_have_run(&mut **self);
    }

    fn complete(self, outcome: Result<Value>) {
        Pending::complete(self, outcome);
    }
}

impl Trackable for BoxedTicket {
    fn is_asking(&self) -> bool {
        Pending::is_asking(&**self)
    }

    fn track(&mut self, link: Option<&Arc<TrackedLink>>) -> bool {
        Pending::track(&mut **self, link)
    }
}

/// The caller that waits for the reply of an `M`.
pub(crate) struct Waiter<M: Command, R: ReplyTo<M>> {
    frame: Frame,
    reply: R,
    /// Held until the outcome: a caller who went away leaves the command behind, and its memory.
    pass: Option<Permit>,
    message: PhantomData<fn() -> M>,
    observed: Observed,
}

impl<M: Command, R: ReplyTo<M>> Waiter<M, R> {
    pub(crate) fn new(frame: Frame, reply: R) -> Self {
        Self { frame, reply, pass: None, message: PhantomData, observed: Observed::default() }
    }

    /// With the span of the command, which ends with its reply.
    pub(crate) fn observed(self, observed: Observed) -> Self {
        Self { observed, ..self }
    }

    pub(crate) fn when_down(&self) -> Option<WhenDown> {
        self.frame.own_when_down()
    }

    pub(crate) fn let_in(mut self: Box<Self>, pass: Permit) -> BoxedTicket {
        self.pass = Some(pass);
        self
    }
}

impl<M: Command, R: ReplyTo<M>> Waiter<M, R> {
    fn conclude(self: Box<Self>, reply: Result<M::Reply>) -> bool {
        let reply = reply.map_err(|error| named(error, &self.frame));
        // Completing it runs code of the caller: its waker, and the destructor of a reply that is not taken.
        let on_event = catch_unwind(AssertUnwindSafe(|| R::send_reply(self, reply)));
        on_event.unwrap_or_else(|_| caller_panicked())
    }

    #[cold]
    fn final_error(&self, error: Error) -> Error {
        named(final_error(&self.frame, error), &self.frame)
    }

    #[cold]
    fn fail(self: Box<Self>, error: Error) -> bool {
        let error = final_error(&self.frame, error);
        self.conclude(Err(error))
    }
}

#[cold]
fn caller_panicked() -> bool {
    tracing::error!(
        event = "caller.panicked",
        "a caller panicked over the reply to its command; no other caller is affected"
    );
    true
}

impl<M: Command, R: ReplyTo<M>> Pending for Waiter<M, R> {
    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn is_let_in(&self) -> bool {
        self.pass.is_some()
    }

    fn note_may_have_run(&mut self) {
        self.frame.note_may_have_run();
        self.reply.note_may_have_run();
        self.observed.note_lost_link();
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reply.poll_closed(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let value = match outcome {
            Ok(value) => value,
            Err(error) => return self.fail(error),
        };
        let mut unanswered = Some(self);
        // Code of its author reads the reply, and code of its caller takes it: on the way of everybody's replies neither may
        // take their link along. One guard for both, because every reply pays for it; the remaining parts show which of them panicked.
        let on_event = catch_unwind(AssertUnwindSafe(|| {
            let waiter = unanswered.as_ref()?;
            let reply = M::reply_to(&waiter.frame, value).map_err(|error| waiter.final_error(error));
            Some(R::send_reply(unanswered.take()?, reply))
        }));
        match (on_event, unanswered) {
            (Ok(on_event), _) => on_event.unwrap_or_default(),
            (Err(_), Some(waiter)) => waiter.fail(Error::decode(PANICKED)),
            (Err(_), None) => caller_panicked(),
        }
    }

    fn deliver_each(self: Box<Self>, outcomes: Vec<Result<Value>>) -> bool {
        let read = || catch_unwind(AssertUnwindSafe(|| M::reply_each(&self.frame, outcomes)));
        let reply = read().unwrap_or_else(|_| Err(Error::decode(PANICKED)));
        self.conclude(reply)
    }
}

/// How a waiter is completed.
pub(crate) trait ReplyTo<M: Command>: Send + Sized + 'static {
    fn is_closed(&self) -> bool;
    /// See [`Queueable::note_may_have_run`].
    fn note_may_have_run(&mut self) {}
    /// Ready when the caller has left.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Returns whether the caller was still there.
    fn send_reply(waiter: Box<Waiter<M, Self>>, reply: Result<M::Reply>) -> bool;
}

impl<M: Command> ReplyTo<M> for oneshot::Sender<Result<M::Reply>> {
    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_closed(cx)
    }

    fn send_reply(waiter: Box<Waiter<M, Self>>, reply: Result<M::Reply>) -> bool {
        waiter.reply.send(reply).is_ok()
    }
}

/// A reply for a caller of a handle, and the ticket to drop: freed where the next one is allocated, its memory comes from
/// that thread's own list and goes back there. Freed by the actor, a hundred at a time and mostly for another thread, each
/// piece goes the long way through the allocator.
pub(crate) struct Answered<M: Command> {
    reply: Result<M::Reply>,
    spent: Option<Box<Waiter<M, ReplySender<M>>>>,
}

impl<M: Command> Answered<M> {
    pub(crate) fn into_reply(self) -> Result<M::Reply> {
        drop(self.spent);
        self.reply
    }
}

/// The number of bytes that a spent ticket may keep by `Frame::size`: they are in no bound any more, and its caller may
/// look at the reply much later.
const SPENT: usize = 1024;

/// To a caller who takes the ticket back. Dropped with its command, because the actor is gone, it says whether that can have
/// run: commands that are in flight have an outcome by then.
///
/// `None` once the reply was sent.
pub(crate) struct ReplySender<M: Command>(Option<UnsentReply<M>>);

/// A reply that was not sent yet. In one struct with the sender, the flag takes no room.
struct UnsentReply<M: Command> {
    sender: oneshot::Sender<Answered<M>>,
    may_have_run: bool,
}

impl<M: Command> Drop for ReplySender<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(owed) = self.0.take() {
            owed.abandon();
        }
    }
}

impl<M: Command> UnsentReply<M> {
    #[cold]
    fn abandon(self) {
        let Self { sender, may_have_run } = self;
        // In the middle of a panic it may be the command that was just being answered.
        let fate = if may_have_run || std::thread::panicking() { Fate::Unknown } else { Fate::NotSent };
        let words = match fate {
            Fate::Unknown => "the connection actor ended before it could answer",
            Fate::NotSent | Fate::Rejected => "the connection actor ended before it could send the command",
        };
        let reply = Err(Error::new(ErrorKind::Closed, fate, words));
        // It wakes the caller.
        let _ = catch_unwind(AssertUnwindSafe(|| sender.send(Answered { reply, spent: None })));
    }
}

impl<M: Command> ReplySender<M> {
    pub(crate) fn channel() -> (Self, oneshot::Receiver<Answered<M>>) {
        let (reply, answer) = oneshot::channel();
        (Self(Some(UnsentReply { sender: reply, may_have_run: false })), answer)
    }
}

impl<M: Command> ReplyTo<M> for ReplySender<M> {
    fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|owed| owed.sender.is_closed())
    }

    fn note_may_have_run(&mut self) {
        if let Some(owed) = &mut self.0 {
            owed.may_have_run = true;
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().map_or(Poll::Ready(()), |owed| owed.sender.poll_closed(cx))
    }

    fn send_reply(mut waiter: Box<Waiter<M, Self>>, reply: Result<M::Reply>) -> bool {
        let Some(UnsentReply { sender, .. }) = waiter.reply.0.take() else { return false };
        // Its room is free now, not when its caller looks.
        waiter.pass = None;
        waiter.observed.end(reply.as_ref().err());
        let spent = (waiter.frame.size() <= SPENT).then_some(waiter);
        sender.send(Answered { reply, spent }).is_ok()
    }
}

/// A command without a caller: `do_send`, or a PING of the connection's own.
pub(crate) struct Unawaited {
    frame: Frame,
}

impl Unawaited {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame }
    }
}

impl Pending for Unawaited {
    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn note_may_have_run(&mut self) {
        self.frame.note_may_have_run();
    }

    fn poll_abandoned(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        if let Err(error) = outcome {
            let error = named(final_error(&self.frame, error), &self.frame);
            tracing::debug!(%error, "a command without a caller failed");
        }
        true
    }
}

/// Decodes a reply on the caller's thread, with the errors of a reply that was delivered.
pub(crate) fn decode_reply<M: Command>(frame: &Frame, value: Value) -> Result<M::Reply> {
    let decoded = catch_unwind(AssertUnwindSafe(|| M::reply_to(frame, value)));
    let decoded = decoded.unwrap_or_else(|_| Err(Error::decode(PANICKED)));
    decoded.map_err(|error| named(final_error(frame, error), frame))
}

fn named(error: Error, frame: &Frame) -> Error {
    error.of_command(frame.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::strings::Get;

    fn spent(key: String) -> bool {
        let (reply, mut answer) = ReplySender::<Get<String>>::channel();
        let ticket = Box::new(Waiter::new(Get::<String>::new(key).into_frame(), reply));
        assert!(ticket.deliver(Ok(Value::Nil)));
        answer.try_recv().expect("completed").spent.is_some()
    }

    #[test]
    fn a_ticket_goes_back_unless_it_is_large() {
        assert!(spent("k".to_owned()));
        assert!(!spent("k".repeat(SPENT)), "for as long as its caller does not look");
    }
}
