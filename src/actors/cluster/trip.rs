//! A command on its way through a cluster: it comes back here when a node says that it is at the wrong door.

use std::any::Any;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use std::task::{Context, Poll};
use std::time::Duration;

use redis::Value;

use crate::actors::driver::ShutdownReport;
use crate::actors::ticket::{BoxedTicket, Pending};
use crate::core::cluster::redirect::{self, Redirect, is_one};
use crate::core::lane::Deadline;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;

/// Where a command is on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trip {
    pub(super) deadline: Deadline,
    /// The slot of all its keys, if there is one.
    pub(super) slot: Option<u16>,
    /// The node that it was sent to.
    pub(super) node: usize,
    /// How often it was sent elsewhere.
    pub(super) hops: u8,
    /// How often it had to wait.
    pub(super) waits: u8,
    pub(super) asking: bool,
    /// A replica could not answer it: it is for the primary.
    pub(super) at_primary: bool,
    /// Its bytes left on a link that broke: it is sent again because it may run twice.
    pub(super) may_have_run: bool,
}

impl Trip {
    /// How long to wait before it is sent on. Seconds of waiting must not use up the redirects that follow.
    pub(super) fn pause(&self, redirect: &Redirect) -> Option<Duration> {
        let count = if redirect.is_elsewhere() { self.hops } else { self.waits };
        redirect::pause(redirect, count)
    }

    pub(super) fn count(&mut self, redirect: &Redirect) {
        let count = if redirect.is_elsewhere() { &mut self.hops } else { &mut self.waits };
        *count = count.saturating_add(1);
    }

    pub(super) fn new(deadline: Deadline) -> Self {
        let (asking, at_primary, may_have_run) = (false, false, false);
        Self { deadline, slot: None, node: 0, hops: 0, waits: 0, asking, at_primary, may_have_run }
    }

    /// Whether it was sent to where it belongs, so far as was known, and nobody has sent it elsewhere.
    pub(super) fn is_first(&self) -> bool {
        self.hops == 0 && self.waits == 0 && !self.asking && !self.at_primary && !self.may_have_run
    }
}

/// What becomes of the commands of one cluster, whichever nodes they are at.
#[derive(Debug, Default)]
pub(super) struct Book {
    open: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    abandoned: AtomicU64,
    /// Somebody got no answer in time.
    pub(super) silence: AtomicBool,
    back: Mutex<Vec<Returned>>,
}

/// A command that a node did not run, or a pipeline of which it did not run everything.
pub(super) struct Returned {
    pub(super) ticket: Box<Routed>,
    pub(super) answer: Result<Value>,
}

impl std::fmt::Debug for Returned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returned").field("trip", &self.ticket.trip).finish_non_exhaustive()
    }
}

impl Book {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn returned(&self) -> Vec<Returned> {
        std::mem::take(&mut self.back.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn report(&self) -> ShutdownReport {
        ShutdownReport {
            completed: self.completed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            called_off: 0,
        }
    }
}

/// Counts one command, however it ends: dropped without an outcome, its caller went away.
struct Counted {
    book: Arc<Book>,
    ended: bool,
}

impl Counted {
    fn new(book: &Arc<Book>) -> Self {
        book.open.fetch_add(1, Ordering::Relaxed);
        Self { book: book.clone(), ended: false }
    }

    fn end(mut self, outcome: &Result<Value>) {
        self.ended = true;
        let book = &self.book;
        let count = match outcome.as_ref().map_err(|error| (error.kind(), error.fate())) {
            Ok(_) | Err((ErrorKind::Server, _)) => &book.completed,
            Err((ErrorKind::Timeout, fate)) => {
                if fate == Fate::Unknown {
                    book.silence.store(true, Ordering::Relaxed);
                }
                &book.abandoned
            }
            Err((_, Fate::Unknown)) => &book.unknown,
            Err(_) => &book.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            self.book.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        self.book.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A ticket at some node of a cluster.
pub(crate) struct Routed {
    asked: BoxedTicket,
    pub(super) trip: Trip,
    book: Arc<Book>,
    /// Of a command that a caller sent; its parts are not counted.
    counted: Option<Counted>,
}

impl Routed {
    /// A command that a caller sent.
    pub(super) fn whole(asked: BoxedTicket, deadline: Deadline, book: &Arc<Book>) -> Box<Self> {
        let counted = (!asked.frame().is_own()).then(|| Counted::new(book));
        Box::new(Self { asked, trip: Trip::new(deadline), book: book.clone(), counted })
    }

    /// What was made here of a ticket, out of the ticket.
    ///
    /// # Errors
    /// The ticket, if it was not made here.
    #[expect(clippy::expect_used, reason = "no other ticket keeps anything")]
    pub(super) fn of(ticket: BoxedTicket) -> Result<Box<Self>, BoxedTicket> {
        ticket.into_kept().map(|kept| kept.downcast().expect("only a command of a cluster keeps anything"))
    }

    /// A part of another one.
    pub(super) fn part(asked: BoxedTicket, trip: Trip, book: &Arc<Book>) -> Box<Self> {
        Box::new(Self { asked, trip, book: book.clone(), counted: None })
    }

    /// Answers it, whatever the answer is.
    pub(super) fn finish(self, outcome: Result<Value>) {
        self.hand_over(outcome);
    }

    /// As [`finish`](Self::finish), and returns whether somebody was still there.
    fn hand_over(self, outcome: Result<Value>) -> bool {
        let Self { asked, trip, counted, .. } = self;
        let outcome = outcome.map_err(|error| match error.fate() {
            Fate::NotSent if trip.may_have_run => error.with_fate(Fate::Unknown),
            _ => error,
        });
        if let Some(counted) = counted {
            counted.end(&outcome);
        }
        asked.deliver(outcome)
    }
}

impl Pending for Routed {
    fn frame(&self) -> &Frame {
        self.asked.frame()
    }

    fn is_abandoned(&self) -> bool {
        self.asked.is_abandoned()
    }

    fn is_let_in(&self) -> bool {
        self.asked.is_let_in()
    }

    fn is_asking(&self) -> bool {
        self.trip.asking
    }

    fn into_kept(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Ok(self)
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let is_back = match &outcome {
            Err(error) => error.kind() == ErrorKind::Server && error.code().is_some_and(is_one),
            Ok(Value::Array(replies)) => {
                self.frame().unit().is_some_and(|unit| refusal(replies, unit.is_atomic()).is_some())
            }
            Ok(_) => false,
        };
        if is_back {
            let book = self.book.clone();
            let mut back = book.back.lock().unwrap_or_else(PoisonError::into_inner);
            back.push(Returned { ticket: self, answer: outcome });
            true
        } else {
            self.hand_over(outcome)
        }
    }
}

/// The first refusal in the answer to a unit, if some of it did not run for that. A transaction did not run as a whole,
/// by the word of EXEC, or it did.
pub(super) fn refusal(replies: &[Value], is_atomic: bool) -> Option<&redis::ServerError> {
    let mut refusals = replies.iter().filter_map(redirect);
    match replies.last() {
        Some(Value::ServerError(exec)) if is_atomic && exec.code() == "EXECABORT" => refusals.next(),
        Some(exec) if is_atomic => redirect(exec),
        _ => refusals.next(),
    }
}

pub(super) fn redirect(reply: &Value) -> Option<&redis::ServerError> {
    match reply {
        Value::ServerError(error) if is_one(error.code()) => Some(error),
        _ => None,
    }
}

/// An answer in the words of the server.
pub(super) fn error_of(error: &redis::ServerError) -> Error {
    Error::server(error.code(), error.details())
}
