//! The queue of commands from handles to the actor. Commands are collected here and one message in the mailbox
//! announces them, so that many callers share one envelope, one mailbox slot and one wake-up.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Handler, Message, dev::ToEnvelope};

use crate::connection::deadline_queue::{Deadline, DeadlineQueue};
use crate::connection::request::BoxedTicket;

/// The capacity that is kept between batches; more is released after a burst.
const KEEP: usize = 4096;

/// A command from a [`Redis`](crate::Redis) handle, with its reply channel and its start time.
pub(crate) struct Submit {
    pub(crate) ticket: BoxedTicket,
    pub(crate) asked: Instant,
}

/// The place in the mailbox of the command with this number, which lies in [`SubmitQueue`] until it is its turn: there the
/// actor finds it at its deadline, however many messages are before it.
pub(crate) struct UnbatchedTurn {
    number: u64,
    sender: ThreadId,
}

impl Message for UnbatchedTurn {
    type Result = ();
}

/// A command that is a separate message in the mailbox, and the thread of its caller.
pub(crate) struct UnbatchedSubmit {
    pub(crate) submit: Submit,
    sender: ThreadId,
}

impl Message for UnbatchedSubmit {
    type Result = ();
}

impl UnbatchedSubmit {
    /// Must be created on the thread of the caller that waits for the reply.
    pub(crate) fn new(submit: Submit) -> Self {
        Self { submit, sender: thread::current().id() }
    }

    pub(crate) fn callers(&self) -> Callers {
        Callers::of(self.sender)
    }
}

/// Announces commands in the submit queue.
pub(crate) struct CommandsQueued;

impl Message for CommandsQueued {
    type Result = ();
}

/// The queued commands of one actor.
pub(crate) struct SubmitQueue {
    /// Of commands that have none of their own.
    timeout: Duration,
    state: Mutex<SubmitState>,
    /// Set after the actor's address was used directly: see [`SubmitQueue::send_unbatched`].
    unbatched: AtomicBool,
}

struct SubmitState {
    /// If it is not empty, an unhandled [`CommandsQueued`] is in the mailbox.
    waiting: VecDeque<Submit>,
    /// The thread that sent the first of them.
    sender: Option<ThreadId>,
    /// Each with its number: the commands whose [`UnbatchedTurn`] has not been handled.
    unbatched: DeadlineQueue<(u64, Submit)>,
    last_number: u64,
    closed: bool,
}

impl Default for SubmitState {
    fn default() -> Self {
        let (waiting, unbatched) = (VecDeque::new(), DeadlineQueue::new());
        Self { waiting, sender: None, unbatched, last_number: 0, closed: false }
    }
}

/// The threads of the callers: that of the last caller, or of the first one for queued commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// On the actor's thread: the actor and its callers never run at the same time.
    Here,
    /// On another thread: while some callers are notified, others may already send again.
    OtherThread,
}

impl Callers {
    /// From the view of the actor's thread.
    fn of(sender: ThreadId) -> Self {
        if sender == thread::current().id() { Self::Here } else { Self::OtherThread }
    }
}

impl SubmitQueue {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, state: Mutex::default(), unbatched: AtomicBool::default() }
    }

    /// Sends a command, after everything that was sent before.
    pub(crate) fn send<A>(&self, addr: &Addr<A>, submit: Submit)
    where
        A: Actor + Handler<UnbatchedTurn> + Handler<CommandsQueued>,
        A::Context: ToEnvelope<A, UnbatchedTurn> + ToEnvelope<A, CommandsQueued>,
    {
        let unbatched = self.unbatched.load(Ordering::Acquire);
        let mut state = self.lock();
        if state.closed {
            // Dropped outside of the lock, because this wakes the waiting caller.
            drop(state);
            drop(submit);
            return;
        }
        if unbatched {
            state.last_number += 1;
            let (number, deadline) = (state.last_number, self.deadline(&submit));
            state.unbatched.push_back((number, submit), deadline);
            // Under the lock: numbers have to be in the mailbox in their order.
            addr.do_send(UnbatchedTurn { number, sender: thread::current().id() });
            return;
        }
        state.waiting.push_back(submit);
        if state.waiting.len() == 1 {
            state.sender = Some(thread::current().id());
            // Under the lock: until it is in the mailbox, no other sender may assume that it was sent.
            addr.do_send(CommandsQueued);
        }
    }

    /// From now on commands are separate messages in the mailbox. Callers that also send to the address expect one
    /// order over both, and queued commands would overtake those in the mailbox.
    pub(crate) fn send_unbatched(&self) {
        if !self.unbatched.load(Ordering::Relaxed) {
            self.unbatched.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_unbatched(&self) -> bool {
        self.unbatched.load(Ordering::Relaxed)
    }

    /// Appends all queued commands to `taken`, and returns the threads of their callers.
    pub(crate) fn take(&self, taken: &mut VecDeque<Submit>) -> Callers {
        let mut state = self.lock();
        if taken.is_empty() {
            taken.shrink_to(KEEP);
            std::mem::swap(taken, &mut state.waiting);
        } else {
            taken.append(&mut state.waiting);
        }
        state.sender.map_or(Callers::Here, Callers::of)
    }

    /// Moves the command whose turn it is behind the commands in `taken`, unless it has expired before, and says where it came from.
    pub(crate) fn take_unbatched(&self, turn: &UnbatchedTurn, taken: &mut VecDeque<Submit>) -> Callers {
        let mut state = self.lock();
        // An older one is here only if a panic has cost its turn.
        while state.unbatched.front().is_some_and(|(number, _)| *number <= turn.number)
            && let Some(((_, submit), _)) = state.unbatched.pop_front()
        {
            taken.push_back(submit);
        }
        Callers::of(turn.sender)
    }

    /// Moves the commands whose deadline has passed while they waited in the mailbox behind the commands in `taken`.
    pub(crate) fn take_expired(&self, now: Instant, taken: &mut VecDeque<Submit>) {
        self.lock().unbatched.expire(now, |(_, submit)| taken.push_back(submit));
    }

    fn deadline(&self, submit: &Submit) -> Deadline {
        let frame = submit.ticket.frame();
        match frame.own_timeout() {
            Some(timeout) => Deadline::Own(submit.asked + timeout),
            None if frame.longest_hold().is_zero() => Deadline::Common(submit.asked + self.timeout),
            None => Deadline::Own(submit.asked + self.timeout + frame.longest_hold()),
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = (std::mem::take(&mut state.waiting), std::mem::replace(&mut state.unbatched, DeadlineQueue::new()));
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, SubmitState> {
        // No operation can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The actor's end of the submit queue. When it is dropped, for any reason, no caller may wait forever: the queued
/// commands and all later ones are dropped, which notifies their callers.
pub(crate) struct SubmitReceiver(pub(crate) Arc<SubmitQueue>);

impl Drop for SubmitReceiver {
    fn drop(&mut self) {
        self.0.close();
    }
}
