//! The future of a command that a handle sent.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::Sleep};

use super::{Redis, Shared, gone};
use crate::cache::entry::CachedReply;
use crate::client::in_flight_limit::AcquireFuture;
use crate::connection::request::{Answered, Pending, ReplySender, Waiter, decode_reply};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::messages::Command;

type Answer<M> = oneshot::Receiver<Answered<M>>;

/// A submitted command; see [`Redis::send`].
#[must_use = "the command was sent, but its outcome is known only after awaiting it"]
pub struct SendFuture<M: Command>(State<M>);

/// As small as a reply channel and a pointer: callers may hold millions.
enum State<M: Command> {
    /// Most commands.
    Sent(Answer<M>),
    Special(Box<Special<M>>),
    Cached(Arc<CachedReply>),
}

struct Special<M: Command> {
    answer: Answer<M>,
    step: Option<Step<M>>,
}

enum Step<M: Command> {
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
        Self(State::Sent(answer))
    }

    pub(super) fn cached(reply: Arc<CachedReply>) -> Self {
        Self(State::Cached(reply))
    }

    pub(super) fn dedicated(answer: Answer<M>, seen: oneshot::Sender<()>) -> Self {
        Self::special(answer, Step::RunDedicated(seen))
    }

    fn special(answer: Answer<M>, step: Step<M>) -> Self {
        Self(State::Special(Box::new(Special { answer, step: Some(step) })))
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
        Self::special(answer, Step::ForRoom(ForRoom { acquiring, deadline, ticket: Some(ticket), redis, asked }))
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
            self.redis.enqueue(ticket.let_in(pass), self.asked);
        }
        Poll::Ready(())
    }
}

impl<M: Command> Special<M> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<M::Reply>> {
        if let Some(Step::ForRoom(for_room)) = &mut self.step {
            ready!(for_room.poll(cx));
            self.step = None;
        }
        let answer = ready!(poll_answer(&mut self.answer, cx));
        if let Some(Step::RunDedicated(seen)) = self.step.take() {
            // The receiver is gone if there was nothing to put back.
            let _ = seen.send(());
        }
        Poll::Ready(answer)
    }
}

fn poll_answer<M: Command>(answer: &mut Answer<M>, cx: &mut Context<'_>) -> Poll<Result<M::Reply>> {
    Pin::new(answer).poll(cx).map(|answer| answer.map_or_else(|_| Err(gone()), Answered::into_reply))
}

impl<M: Command> Future for SendFuture<M> {
    type Output = Result<M::Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Sent(answer) => poll_answer(answer, cx),
            State::Special(special) => special.poll(cx),
            State::Cached(reply) => {
                // A task that only reads from the cache would never let the actor of its thread take in invalidations.
                ready!(pin!(tokio::task::coop::consume_budget()).poll(cx));
                Poll::Ready(decode_reply::<M>(reply.frame(), reply.value().clone()))
            }
        }
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
