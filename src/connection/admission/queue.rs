//! Commands that wait before a link, and when they are sent again to a server that was not ready for them.

use std::time::{Duration, Instant};

use super::{Limits, Queueable, Size, timed_out, waiting_phase};
use crate::connection::deadline_queue::{Deadline, DeadlineQueue};
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, ConnectionState};
use crate::frame::WhenDown;

/// How often a server that is not ready is asked again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A command that waits.
pub(super) struct Queued<R> {
    pub(super) ticket: R,
    pub(super) size: Size,
    pub(super) lost_links: u16,
    /// It leaves the queue before its own deadline, by what [`Limits::beyond`] says.
    pub(super) expedited: bool,
}

impl<R: Queueable> Queued<R> {
    pub(super) fn new(ticket: R, size: Size) -> Self {
        Self { ticket, size, lost_links: 0, expedited: false }
    }

    /// Its own deadline, where that of its place in the queue is `place`.
    pub(super) fn own_deadline(&self, place: Deadline, limits: &Limits) -> Deadline {
        if self.expedited { place.later(limits.beyond(self.ticket.frame())) } else { place }
    }

    pub(super) fn fate(&self) -> Fate {
        if self.ticket.frame().may_have_run() { Fate::Unknown } else { Fate::NotSent }
    }

    pub(super) fn timed_out(&self, state: ConnectionState, trouble: Option<&Trouble>) -> Error {
        let fate = self.fate();
        let error = match trouble {
            Some(Trouble::NotReady(refusal)) => {
                Error::new(ErrorKind::Timeout, fate, format!("the server was not ready: {refusal}"))
            }
            _ if self.expedited && fate == Fate::NotSent => {
                let words = "it waited in the queue for longer than max_queued_time";
                Error::new(ErrorKind::Timeout, fate, words)
            }
            _ => timed_out(fate),
        };
        let error = match trouble {
            Some(Trouble::NoLink(cause)) => error.because(cause),
            _ => error,
        };
        error.in_phase(waiting_phase(state), state.as_str())
    }
}

/// Why commands wait, if that is known: those that wait in vain say so.
pub(super) enum Trouble {
    NoLink(Cause),
    /// What the server said to the command that it was asked last.
    NotReady(Error),
}

/// See the module. Entries leave when they are due, so all counts are of commands whose callers may still wait.
pub(super) struct PendingQueue<R> {
    entries: DeadlineQueue<Queued<R>>,
    bytes: usize,
    /// When the server is asked again. `None` while nothing waits: a due time that no turn consumes would wake the driver
    /// without end.
    retry_at: Option<Instant>,
}

impl<R: Queueable> PendingQueue<R> {
    pub(super) fn new() -> Self {
        Self { entries: DeadlineQueue::new(), bytes: 0, retry_at: None }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push_back(&mut self, queued: Queued<R>, deadline: Deadline) {
        self.bytes += queued.size.get();
        self.entries.push_back(queued, deadline);
    }

    pub(super) fn push_front(&mut self, queued: Queued<R>, deadline: Deadline) {
        self.bytes += queued.size.get();
        self.entries.push_front(queued, deadline);
    }

    pub(super) fn front(&self) -> Option<&Queued<R>> {
        self.entries.front()
    }

    pub(super) fn pop_front(&mut self) -> Option<(Queued<R>, Deadline)> {
        let (queued, deadline) = self.entries.pop_front()?;
        self.bytes -= queued.size.get();
        self.retry_at = self.retry_at.filter(|_| !self.entries.is_empty());
        Some((queued, deadline))
    }

    /// Takes out every command whose time is over.
    pub(super) fn expire(&mut self, now: Instant, mut expired: impl FnMut(Queued<R>)) {
        let bytes = &mut self.bytes;
        self.entries.expire(now, |queued| {
            *bytes -= queued.size.get();
            expired(queued);
        });
        self.retry_at = self.retry_at.filter(|at| *at > now && !self.entries.is_empty());
    }

    /// Takes out every command that wants to fail while there is no link; `by_default` holds for those that say nothing.
    pub(super) fn extract_fail_fast(&mut self, by_default: WhenDown) -> Vec<Queued<R>> {
        let fails = |queued: &Queued<R>| {
            queued.ticket.frame().own_when_down().unwrap_or(by_default) == WhenDown::FailFast
                && !queued.ticket.frame().may_have_run()
        };
        let out = self.entries.extract(fails);
        self.bytes -= out.iter().map(|queued| queued.size.get()).sum::<usize>();
        self.retry_at = self.retry_at.filter(|_| !self.entries.is_empty());
        out
    }

    /// Sends nothing before `at`.
    pub(super) fn retry_at(&mut self, at: Instant) {
        self.retry_at = Some(at).filter(|_| !self.entries.is_empty());
    }

    /// A new link is no reason to wait.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
    }

    pub(super) fn is_paused(&mut self, now: Instant) -> bool {
        self.retry_at = self.retry_at.filter(|at| *at > now);
        self.retry_at.is_some()
    }

    /// When [`expire`](Self::expire) has to be called next. It leaves nothing behind that is due.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        self.entries.next_deadline().into_iter().chain(self.retry_at).min()
    }
}
