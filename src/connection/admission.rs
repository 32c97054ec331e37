//! The commands that are admitted or in flight, and their outcome when the link breaks.

use std::{
    collections::VecDeque,
    ops::Add,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::Value;

use crate::cache::link::{Trackable, TrackedLink};
use crate::connection::deadline_queue::{Deadline, DeadlineQueue, Stamp};
use crate::error::{Error, ErrorKind, Fate, Phase};
use crate::events::{Cause, ConnectionState};
use crate::frame::{Frame, WhenDown};
use queue::{PendingQueue, Queued, Trouble};

/// A command with a caller that waits for its outcome.
pub(crate) trait Queueable {
    fn frame(&self) -> &Frame;

    /// The caller has left.
    fn is_abandoned(&self) -> bool;

    /// Their number is bounded by callers that wait: the queue does not refuse them.
    fn is_let_in(&self) -> bool {
        false
    }

    /// It is for a node that does not own its slot yet: ASKING goes before it.
    fn is_asking(&self) -> bool {
        false
    }

    /// It is sent on this link now, `None` if the server does not track its keys there. Returns whether its reply is to be
    /// cached.
    fn track(&mut self, _: Option<&Arc<TrackedLink>>) -> bool {
        false
    }

    /// Its bytes have left on a link that broke: from now on no outcome may deny that it ran. See [`final_error`](crate::connection::verdict::final_error).
    fn note_may_have_run(&mut self);

    fn complete(self, outcome: Result<Value, Error>);

    /// How much it is in the account of what became of commands.
    fn weight(&self) -> u64 {
        u64::from(!self.frame().is_own())
    }
}

/// The bounds of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) in_flight: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
    /// How many lost links one command may live through.
    pub(crate) lost_links: u32,
    pub(crate) timeout: Duration,
    /// How long a command may wait in the queue, if less than its deadline allows.
    pub(crate) queued_time: Option<Duration>,
    pub(crate) time_limit: RefusalPolicy,
}

/// The refusals after which a link retries a command instead of failing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RefusalPolicy {
    /// All temporary refusals.
    #[default]
    All,
    /// The temporary refusals of a cluster node that are not about a slot: a refusal for one slot must not delay other slots.
    ButSlots,
    /// None: the caller can ask another server.
    None,
}

/// Bytes of a command, for the bounds. Four of them, because a million commands each have one.
#[derive(Debug, Clone, Copy, Default)]
struct Size(u32);

impl Size {
    fn of(frame: &Frame) -> Self {
        Self(u32::try_from(frame.size()).unwrap_or(u32::MAX))
    }

    fn get(self) -> usize {
        self.0 as usize
    }
}

/// In place of [`Sent::runs_at`], for questions of the connection's own: they change nothing, so none of them has run as far
/// as the order is concerned.
const OWN: u64 = u64::MAX;

struct Sent<R> {
    ticket: Option<R>,
    /// How many bytes of this link's stream the server must have seen before it can have run any of it.
    runs_at: u64,
    size: Size,
    /// How many replies the server still owes for it. None: it was refused, and stays for the order.
    owed: u32,
    lost_links: u16,
    repeatable: bool,
    /// It was refused, but its own code may have written that answer after it ran. See [`replies`]. Of an expired command
    /// that is still owed a reply: it may write such an answer.
    is_unconfirmed: bool,
}

impl Limits {
    /// By how many milliseconds the deadline of a command is later than the longest it may wait in the queue.
    fn beyond(&self, frame: &Frame) -> u32 {
        let Some(longest) = self.queued_time else { return 0 };
        let given = frame.own_timeout().unwrap_or(self.timeout + frame.longest_hold());
        u32::try_from(given.saturating_sub(longest).as_millis()).unwrap_or(u32::MAX)
    }
}

/// A command on its way from the queue to the link.
pub(crate) struct Next<R> {
    queued: Queued<R>,
    deadline: Deadline,
}

/// What became of all commands so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdmissionCounters {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    /// Their deadline passed, or their caller went away.
    pub(crate) abandoned: u64,
}

impl Add for AdmissionCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            unknown: self.unknown + other.unknown,
            abandoned: self.abandoned + other.abandoned,
        }
    }
}

impl AdmissionCounters {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            completed: self.completed.saturating_sub(earlier.completed),
            failed: self.failed.saturating_sub(earlier.failed),
            unknown: self.unknown.saturating_sub(earlier.unknown),
            abandoned: self.abandoned.saturating_sub(earlier.abandoned),
        }
    }
}

/// The queue before a link, and the commands on it.
pub(crate) struct Admission<R> {
    trouble: Option<Trouble>,
    limits: Limits,
    /// How many commands may be in flight now: fewer than the limit while the server is not ready.
    window: usize,
    /// This link is being given up: nothing opens the window again before the next one.
    leaving: bool,
    tally: AdmissionCounters,
    queue: PendingQueue<R>,
    flight: DeadlineQueue<Sent<R>>,
    flight_bytes: usize,
    /// What the server said to the oldest commands of the flight, none of which it executed.
    refusals: VecDeque<Error>,
    /// How many of these may have run all the same.
    unconfirmed: usize,
    /// The connection has to ask the server whether it is ready.
    asks: bool,
    /// The replies that came so far for the unit at the front of the flight.
    partial: Vec<Value>,
}

impl<R: Queueable> Admission<R> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            trouble: None,
            window: limits.in_flight,
            leaving: false,
            tally: AdmissionCounters::default(),
            limits,
            queue: PendingQueue::new(),
            flight: DeadlineQueue::new(),
            flight_bytes: 0,
            refusals: VecDeque::new(),
            unconfirmed: 0,
            asks: false,
            partial: Vec::new(),
        }
    }

    pub(crate) fn tally(&self) -> AdmissionCounters {
        self.tally
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many commands the server owes an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.flight.len() - self.refusals.len()
    }

    /// The command that is answered next, if its caller still waits.
    pub(crate) fn oldest(&self) -> Option<&Frame> {
        self.flight.get(self.refusals.len())?.ticket.as_ref().map(Queueable::frame)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty()
    }

    /// The deadline of a command that was asked for at `asked`.
    #[inline]
    pub(crate) fn deadline(&self, frame: &Frame, asked: Instant) -> Deadline {
        let hold = frame.longest_hold();
        match frame.own_timeout() {
            Some(timeout) => Deadline::Own(asked + timeout),
            None if hold.is_zero() => Deadline::Common(asked + self.limits.timeout),
            None => Deadline::Own(asked + self.limits.timeout + hold),
        }
    }

    /// Whether a command may go to the link now, without overtaking another.
    pub(crate) fn may_send(&self, size: usize) -> bool {
        self.queue.is_empty() && self.has_window(size)
    }

    /// One command is always let through: one that is larger than the window must not wait without end.
    fn has_window(&self, size: usize) -> bool {
        self.flight.is_empty()
            || (self.flight.len() < self.window && self.flight_bytes + size <= self.limits.in_flight_bytes)
    }

    /// Puts a command into the queue, or answers it when the queue is full.
    pub(crate) fn enqueue(&mut self, ticket: R, deadline: Deadline, state: ConnectionState) {
        let size = ticket.frame().size();
        let full = self.queue.len() >= self.limits.queued || self.queue.bytes() + size > self.limits.queued_bytes;
        if full && !self.queue.is_empty() && !ticket.is_let_in() {
            self.tally.failed += ticket.weight();
            let words = "too many commands wait for the connection; send fewer at once or raise max_queued";
            ticket
                .complete(Err(Error::new(ErrorKind::Overloaded, Fate::NotSent, words)
                    .in_phase(waiting_phase(state), state.as_str())));
            return;
        }
        let (beyond, size) = (self.limits.beyond(ticket.frame()), Size::of(ticket.frame()));
        let queued = Queued { expedited: beyond > 0, ..Queued::new(ticket, size) };
        self.queue.push_back(queued, deadline.earlier(beyond));
    }

    pub(crate) fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the next command whose caller still waits and that fits into the window.
    pub(crate) fn next_to_send(&mut self, now: Instant) -> Option<Next<R>> {
        if self.queue.is_paused(now) {
            return None;
        }
        loop {
            let front = self.queue.front()?;
            if !self.has_window(front.size.get()) {
                return None;
            }
            if self.window == 0 && !self.leaving && replies::may_forge(front.ticket.frame()) {
                // Of a server that may not be ready, a command is asked whose refusal can be believed.
                self.asks = true;
                return None;
            }
            let (queued, deadline) = self.queue.pop_front()?;
            if queued.ticket.is_abandoned() {
                self.tally.abandoned += queued.ticket.weight();
                continue;
            }
            if deadline.at() <= now {
                self.tally.abandoned += queued.ticket.weight();
                let error = queued.timed_out(ConnectionState::Ready, None);
                queued.ticket.complete(Err(error));
                continue;
            }
            let deadline = queued.own_deadline(deadline, &self.limits);
            return Some(Next { queued, deadline });
        }
    }

    /// A command was encoded for the link, at this place in its stream of bytes.
    #[inline(always)]
    pub(crate) fn sent(&mut self, ticket: R, deadline: Deadline, span: Range<u64>) {
        let size = Size::of(ticket.frame());
        self.put_in_flight(ticket, size, 0, deadline, span);
    }

    /// As [`sent`](Self::sent), for a command that had been queued.
    pub(crate) fn sent_from_queue(&mut self, next: Next<R>, span: Range<u64>) {
        let Next { queued, deadline } = next;
        let Queued { ticket, size, lost_links, .. } = queued;
        self.put_in_flight(ticket, size, lost_links, deadline, span);
    }

    #[inline(always)]
    fn put_in_flight(&mut self, ticket: R, size: Size, mut lost_links: u16, deadline: Deadline, span: Range<u64>) {
        let (frame, mut runs_at) = (ticket.frame(), span.end);
        let repeatable = frame.is_repeatable();
        let owed = u32::try_from(frame.expected_replies()).unwrap_or(u32::MAX);
        if frame.is_pinned() {
            // It lives and dies with this link.
            lost_links = u16::MAX - 1;
        }
        if frame.unit().is_some_and(|unit| !unit.is_atomic()) {
            // The first command of a pipeline may run long before the last one has left.
            runs_at = span.start + 1;
        }
        self.flight_bytes += size.get();
        let is_unconfirmed = false;
        let sent = Sent { ticket: Some(ticket), runs_at, size, owed, lost_links, repeatable, is_unconfirmed };
        self.flight.push_back(sent, deadline);
    }

    /// A command of the connection itself was encoded: its reply has no caller.
    pub(crate) fn sent_own(&mut self, now: Instant) {
        let (size, lost_links, repeatable, is_unconfirmed) = (Size::default(), 0, false, false);
        let sent = Sent { ticket: None, runs_at: OWN, size, owed: 1, lost_links, repeatable, is_unconfirmed };
        self.flight.push_back(sent, Deadline::Common(now + self.limits.timeout));
    }

    /// Whether the connection has to ask the server whether it is ready, and to note that as [`sent_own`](Self::sent_own).
    pub(crate) fn take_question(&mut self) -> bool {
        std::mem::take(&mut self.asks)
    }

    /// Puts a command that was answered, and has to be sent once more for that, ahead of all that wait. It was
    /// admitted already, so no bound refuses it.
    pub(crate) fn put_back(&mut self, ticket: R, stamp: Stamp) {
        let Some(deadline) = self.flight.deadline(stamp) else {
            // It came from the flight, so the flight knows. Should that change, its caller is answered all the same.
            return ticket.complete(Err(timed_out(Fate::Unknown)));
        };
        let size = Size::of(ticket.frame());
        self.tally.completed -= ticket.weight();
        self.queue.push_front(Queued::new(ticket, size), deadline);
    }

    /// Says why there is no link, or that there is one.
    pub(crate) fn explain(&mut self, trouble: Option<Cause>) {
        self.trouble = trouble.map(Trouble::NoLink);
    }

    /// Fails every command whose deadline has passed. A command in flight keeps its place, because its reply will come
    /// and must not complete the next one. Waiting commands leave the queue.
    pub(crate) fn expire(&mut self, now: Instant, state: ConnectionState) {
        let abandoned = &mut self.tally.abandoned;
        let trouble = self.trouble.as_ref();
        self.queue.expire(now, |queued| {
            let error = queued.timed_out(state, trouble);
            *abandoned += queued.ticket.weight();
            queued.ticket.complete(Err(error));
        });
        self.flight.expire_in_place(now, |sent| {
            if let Some(ticket) = sent.ticket.take() {
                *abandoned += ticket.weight();
                let fate = if sent.owed == 0 && !sent.is_unconfirmed { Fate::NotSent } else { Fate::Unknown };
                if sent.owed > 0 {
                    sent.is_unconfirmed = replies::may_forge(ticket.frame());
                }
                ticket.complete(Err(timed_out(fate).in_phase(Phase::Sent, state.as_str())));
            }
        });
    }

    /// Answers those that wait for a link and want to fail without one: the first dial has failed.
    pub(crate) fn fail_fast(&mut self, cause: &Cause, state: ConnectionState, by_default: WhenDown) {
        for queued in self.queue.extract_fail_fast(by_default) {
            self.tally.failed += queued.ticket.weight();
            let error = cause.error(Fate::NotSent).in_phase(waiting_phase(state), state.as_str());
            queued.ticket.complete(Err(error));
        }
    }

    /// When [`expire`](Self::expire) is to be called next.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.queue.next_deadline().into_iter().chain(self.flight.next_deadline()).min()
    }

    /// Sends nothing more on this link: commands in flight are answered, the others wait for the next link.
    pub(crate) fn shut_window(&mut self) {
        (self.window, self.leaving) = (0, true);
    }
}

/// A reply to nothing.
#[derive(Debug)]
pub(crate) struct Unasked;

impl<R: Queueable> Next<R> {
    pub(crate) fn frame(&self) -> &Frame {
        self.queued.ticket.frame()
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.queued.ticket.is_asking()
    }
}

impl<R: Queueable> Trackable for Next<R> {
    fn is_asking(&self) -> bool {
        self.queued.ticket.is_asking()
    }

    fn track(&mut self, link: Option<&Arc<TrackedLink>>) -> bool {
        self.queued.ticket.track(link)
    }
}

/// In which phase a command in the queue is.
pub(crate) fn waiting_phase(state: ConnectionState) -> Phase {
    if matches!(state, ConnectionState::Ready | ConnectionState::Draining) { Phase::Queued } else { Phase::Connecting }
}

fn timed_out(fate: Fate) -> Error {
    let words = match fate {
        Fate::NotSent => "the deadline passed before the command could be sent",
        Fate::Unknown | Fate::Rejected => "no answer came before the deadline",
    };
    Error::new(ErrorKind::Timeout, fate, words)
}

mod queue;
mod replies;
mod settle;
#[cfg(test)]
mod tests;
