//! The future of a command that a handle sent.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::Sleep};

use super::{Redis, Shared, gone};
use crate::client::in_flight_limit::AcquireFuture;
use crate::client::submit_queue::Submit;
use crate::connection::request::{Answered, Pending, ReplySender, Waiter};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::messages::Command;

type Answer<M> = oneshot::Receiver<Answered<M>>;

/// A submitted command; see [`Redis::send`].
#[must_use = "the command was sent, but its outcome is known only after awaiting it"]
pub struct SendFuture<M: Command> {
    answer: Answer<M>,
    /// `None` for most commands, of which callers may hold millions.
    special: Option<Box<Special<M>>>,
}

enum Special<M: Command> {
    /// Runs on a dedicated connection, which is notified when the reply was received.
    RunDedicated(oneshot::Sender<()>),
    /// Waits for room in the queue.
    ForRoom(ForRoom<M>),
}

struct ForRoom<M: Command> {
    acquiring: AcquireFuture,
    deadline: Pin<Box<Sleep>>,
    ticket: Option<Box<Waiter<M, ReplySender<M>>>>,
    redis: Redis,
    asked: Instant,
}

impl<M: Command> SendFuture<M> {
    pub(super) fn under(answer: Answer<M>) -> Self {
        Self { answer, special: None }
    }

    pub(super) fn dedicated(answer: Answer<M>, seen: oneshot::Sender<()>) -> Self {
        Self { answer, special: Some(Box::new(Special::RunDedicated(seen))) }
    }

    pub(super) fn for_room(
        answer: Answer<M>,
        redis: Redis,
        ticket: Box<Waiter<M, ReplySender<M>>>,
        size: usize,
        asked: Instant,
        limit: Duration,
    ) -> Self {
        let acquiring = redis.shared.in_flight_limit.clone().enter(size);
        let deadline = Box::pin(tokio::time::sleep(limit));
        let for_room = ForRoom { acquiring, deadline, ticket: Some(ticket), redis, asked };
        Self { answer, special: Some(Box::new(Special::ForRoom(for_room))) }
    }
}

impl<M: Command> ForRoom<M> {
    /// Ready when the command was submitted, or failed at its deadline.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            if let Some(ticket) = self.ticket.take() {
                let words = "the deadline passed while the connection had no room for another command";
                turn_away(&self.redis.shared, ticket, words);
            }
            return Poll::Ready(());
        }
        let pass = ready!(Pin::new(&mut self.acquiring).poll(cx));
        if let Some(ticket) = self.ticket.take() {
            let Redis { addr, shared, .. } = &self.redis;
            shared.submit_queue.send(addr, Submit { ticket: ticket.let_in(pass), asked: self.asked });
        }
        Poll::Ready(())
    }
}

impl<M: Command> Future for SendFuture<M> {
    type Output = Result<M::Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(Special::ForRoom(for_room)) = self.special.as_deref_mut() {
            ready!(for_room.poll(cx));
            self.special = None;
        }
        let answer = ready!(Pin::new(&mut self.answer).poll(cx)).map_or_else(|_| Err(gone()), Answered::into_reply);
        if let Some(Special::RunDedicated(seen)) = self.special.take().map(|special| *special) {
            // The receiver is gone if there was nothing to put back.
            let _ = seen.send(());
        }
        Poll::Ready(answer)
    }
}

impl<M: Command> Unpin for SendFuture<M> {}

impl<M: Command> fmt::Debug for SendFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}

/// Fails a command that found no room, and counts it.
#[cold]
pub(super) fn turn_away<M: Command>(shared: &Shared, ticket: Box<Waiter<M, ReplySender<M>>>, words: &'static str) {
    if !ticket.frame().is_own() {
        shared.gauges.count_turned_away(Instant::now());
    }
    ticket.complete(Err(Error::new(ErrorKind::Overloaded, Fate::NotSent, words)));
}
