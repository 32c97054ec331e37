//! How commands get from handles to the actor: they gather here while one message in the mailbox calls for
//! them, so that many callers pay for one envelope, one place in the mailbox and one wake-up together.

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

/// Capacity that is kept between batches; a burst's worth beyond it is given back.
const KEEP: usize = 4096;

/// A command from a [`Redis`](crate::Redis) handle, with its own reply channel and the time it was asked.
pub(crate) struct Submit {
    pub(crate) ticket: BoxedTicket,
    pub(crate) asked: Instant,
}

/// A command that takes its own place in the mailbox, and where it comes from.
pub(crate) struct UnbatchedSubmit {
    pub(crate) submit: Submit,
    asker: ThreadId,
}

impl Message for UnbatchedSubmit {
    type Result = ();
}

impl UnbatchedSubmit {
    /// To be made on the thread of whoever waits for the answer.
    pub(crate) fn new(submit: Submit) -> Self {
        Self { submit, asker: thread::current().id() }
    }

    pub(crate) fn callers(&self) -> Callers {
        Callers::of(self.asker)
    }
}

/// Says that commands have gathered in the intake.
pub(crate) struct CommandsQueued;

impl Message for CommandsQueued {
    type Result = ();
}

/// Commands on their way to one actor.
#[derive(Default)]
pub(crate) struct SubmitQueue {
    state: Mutex<SubmitState>,
    /// Somebody has the actor's address: see [`SubmitQueue::send_unbatched`].
    aside: AtomicBool,
}

#[derive(Default)]
struct SubmitState {
    /// Not empty: a [`CommandsQueued`] that has not been handled is in the mailbox.
    waiting: VecDeque<Submit>,
    /// On whose thread the first of them was sent.
    asker: Option<ThreadId>,
    closed: bool,
}

/// Where they are who send commands: whoever sent last, of those that gathered the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// On the thread of the actor: either it runs, or they do.
    Here,
    /// On another one: while they are told, those who were told before ask anew.
    DedicatedRunner,
}

impl Callers {
    /// Seen from the actor's thread.
    fn of(asker: ThreadId) -> Self {
        if asker == thread::current().id() { Self::Here } else { Self::DedicatedRunner }
    }
}

impl SubmitQueue {
    /// Sends a command, after everything that was sent before.
    pub(crate) fn send<A>(&self, addr: &Addr<A>, submit: Submit)
    where
        A: Actor + Handler<UnbatchedSubmit> + Handler<CommandsQueued>,
        A::Context: ToEnvelope<A, UnbatchedSubmit> + ToEnvelope<A, CommandsQueued>,
    {
        if self.aside.load(Ordering::Acquire) {
            addr.do_send(UnbatchedSubmit::new(submit));
            return;
        }
        let mut state = self.lock();
        if state.closed {
            // Dropped outside of the lock: whoever waits for it is woken by that.
            drop(state);
            drop(submit);
            return;
        }
        state.waiting.push_back(submit);
        if state.waiting.len() == 1 {
            state.asker = Some(thread::current().id());
            // Under the lock: until it is in the mailbox nobody may find that it need not be sent.
            addr.do_send(CommandsQueued);
        }
    }

    /// From now on commands take their own places in the mailbox. Whoever sends to the address itself as well
    /// expects one order over both, and commands that gather would overtake those already in the mailbox.
    pub(crate) fn send_unbatched(&self) {
        if !self.aside.load(Ordering::Relaxed) {
            self.aside.store(true, Ordering::Release);
        }
    }

    /// Moves everything that has gathered behind what is in `taken`, and says where it came from.
    pub(crate) fn take(&self, taken: &mut VecDeque<Submit>) -> Callers {
        let mut state = self.lock();
        if taken.is_empty() {
            taken.shrink_to(KEEP);
            std::mem::swap(taken, &mut state.waiting);
        } else {
            taken.append(&mut state.waiting);
        }
        state.asker.map_or(Callers::Here, Callers::of)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, SubmitState> {
        // Nothing in here can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The actor's end of an intake. When it goes, however that comes, nobody may wait for ever: what has gathered
/// is dropped, which tells its callers, and so is whatever comes later.
pub(crate) struct SubmitReceiver(pub(crate) Arc<SubmitQueue>);

impl Drop for SubmitReceiver {
    fn drop(&mut self) {
        self.0.close();
    }
}
