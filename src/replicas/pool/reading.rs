//! A read at a replica: it completes, or is returned.

use std::any::Any;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::task::{Context, Poll};

use redis::Value;

use crate::connection::deadline_queue::Deadline;
use crate::connection::driver::ShutdownReport;
use crate::connection::request::{BoxedTicket, Pending};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;
use crate::replicas::verdict::{ReplicaVerdict, judge};

/// A read that a replica did not reply to.
pub(crate) struct ReturnedRead {
    pub(crate) ticket: BoxedTicket,
    pub(crate) deadline: Deadline,
    /// Its bytes were sent to the replica on a link that broke.
    pub(crate) may_have_run: bool,
    /// The error of the replica, or the reason for the missing reply.
    pub(crate) why: Option<Error>,
}

impl ReturnedRead {
    /// Takes over the entry of a link's queue.
    pub(super) fn queued((ticket, deadline, may_have_run): (BoxedTicket, Deadline, bool)) -> Self {
        Self { ticket, deadline: Deadline::Own(deadline.at()), may_have_run, why: None }
    }
}

/// Returned reads for the owner of the links, and statistics of the others.
#[derive(Default)]
pub(super) struct ReturnQueue {
    back: Mutex<Vec<ReturnedRead>>,
    ended: Mutex<ShutdownReport>,
}

impl ReturnQueue {
    fn lock(&self) -> MutexGuard<'_, Vec<ReturnedRead>> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Vec<ReturnedRead> {
        std::mem::take(&mut self.lock())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn report(&self) -> ShutdownReport {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails the read, because no other server is available.
    pub(super) fn fail(&self, back: ReturnedRead, otherwise: &Error) {
        let error = back.why.unwrap_or_else(|| otherwise.clone());
        let outcome = Err(if back.may_have_run { error.with_fate(Fate::Unknown) } else { error });
        self.count(&outcome, !back.ticket.is_abandoned());
        back.ticket.complete(outcome);
    }

    fn count(&self, outcome: &Result<Value>, is_taken: bool) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match outcome.as_ref().map_err(|error| (error.kind(), error.fate())) {
            _ if !is_taken => &mut ended.abandoned,
            Ok(_) | Err((ErrorKind::Server, _)) => &mut ended.completed,
            Err((ErrorKind::Timeout, _)) => &mut ended.abandoned,
            Err((_, Fate::Unknown)) => &mut ended.unknown,
            Err(_) => &mut ended.failed,
        };
        *count += 1;
    }
}

/// The feedback in a replica's replies, until it is applied to its link.
#[derive(Debug, Default)]
pub(super) struct ReplicaFeedback {
    rest: AtomicBool,
}

impl ReplicaFeedback {
    pub(super) fn take_rest(&self) -> bool {
        self.rest.swap(false, Ordering::Relaxed)
    }
}

/// See the module documentation.
pub(super) struct ReplicaRead {
    asked: BoxedTicket,
    deadline: Deadline,
    signal: Arc<ReplicaFeedback>,
    return_queue: Arc<ReturnQueue>,
}

impl ReplicaRead {
    pub(super) fn new(
        asked: BoxedTicket,
        deadline: Deadline,
        signal: Arc<ReplicaFeedback>,
        return_queue: Arc<ReturnQueue>,
    ) -> Self {
        Self { asked, deadline, signal, return_queue }
    }
}

impl Pending for ReplicaRead {
    fn frame(&self) -> &Frame {
        self.asked.frame()
    }

    fn is_abandoned(&self) -> bool {
        self.asked.is_abandoned()
    }

    /// The read is sent to the primary instead of being refused.
    fn is_let_in(&self) -> bool {
        false
    }

    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        self.asked.into_routed()
    }

    fn note_may_have_run(&mut self) {
        self.asked.note_may_have_run();
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let Self { mut asked, deadline, signal, return_queue } = *self;
        match judge(&outcome, asked.frame()) {
            ReplicaVerdict::Keep => {}
            verdict => {
                if verdict == ReplicaVerdict::Rest {
                    signal.rest.store(true, Ordering::Relaxed);
                }
                let why = outcome.err();
                let may_have_run = why.as_ref().is_some_and(|why| why.fate() == Fate::Unknown);
                if may_have_run {
                    asked.note_may_have_run();
                }
                return_queue.lock().push(ReturnedRead {
                    ticket: asked,
                    deadline: Deadline::Own(deadline.at()),
                    may_have_run,
                    why,
                });
                return true;
            }
        }
        return_queue.count(&outcome, !asked.is_abandoned());
        asked.deliver(outcome)
    }
}
