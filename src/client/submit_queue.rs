//! The queue of commands from handles to the actor. Commands are collected here and one message in the mailbox
//! announces them, so that many callers share one envelope, one mailbox slot and one wake-up.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ThreadId},
    time::Instant,
};

use actix::{Actor, Addr, Handler, Message, dev::ToEnvelope};

use crate::connection::request::BoxedTicket;

/// The capacity that is kept between batches; more is released after a burst.
const KEEP: usize = 4096;

/// A command from a [`Redis`](crate::Redis) handle, with its reply channel and its start time.
pub(crate) struct Submit {
    pub(crate) ticket: BoxedTicket,
    pub(crate) asked: Instant,
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
#[derive(Default)]
pub(crate) struct SubmitQueue {
    state: Mutex<SubmitState>,
    /// Set after the actor's address was used directly: see [`SubmitQueue::send_unbatched`].
    unbatched: AtomicBool,
}

#[derive(Default)]
struct SubmitState {
    /// If it is not empty, an unhandled [`CommandsQueued`] is in the mailbox.
    waiting: VecDeque<Submit>,
    /// The thread on which the first of them was sent.
    sender: Option<ThreadId>,
    closed: bool,
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
    /// Sends a command, after everything that was sent before.
    pub(crate) fn send<A>(&self, addr: &Addr<A>, submit: Submit)
    where
        A: Actor + Handler<UnbatchedSubmit> + Handler<CommandsQueued>,
        A::Context: ToEnvelope<A, UnbatchedSubmit> + ToEnvelope<A, CommandsQueued>,
    {
        if self.unbatched.load(Ordering::Acquire) {
            addr.do_send(UnbatchedSubmit::new(submit));
            return;
        }
        let mut state = self.lock();
        if state.closed {
            // Dropped outside of the lock, because this wakes the waiting caller.
            drop(state);
            drop(submit);
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

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
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
