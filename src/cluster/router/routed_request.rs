//! A command at the nodes of a cluster: it comes back to the router when a node says that it did not run it.

use std::any::Any;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use std::task::{Context, Poll};
use std::time::Duration;

use redis::Value;

use crate::cache::link::TrackedLink;
use crate::cluster::redirect;
use crate::cluster::redirect::Redirect;
use crate::cluster::route::{SlotList, slot_of_view};
use crate::cluster::slot::{SLOTS, Slots};
use crate::cluster::slot_queue::SendOrder;
use crate::connection::deadline_queue::Deadline;
use crate::connection::driver::ShutdownReport;
use crate::connection::request::{BoxedTicket, Pending};
use crate::connection::verdict::{CommandFacts, ErrorVerdict, ServerRefusal, not_run, of_error, unit_errors_in};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;

/// Where a command is on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouteState {
    pub(super) deadline: Deadline,
    /// Its place among the commands of all callers.
    pub(super) order: SendOrder,
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
    /// The primary that it is for, if there is a part of it for each primary.
    pub(super) destination: Option<Destination>,
    /// Whether its node has confirmed that it was refused, if that was asked.
    pub(super) confirmed: Option<bool>,
    /// It runs code of users, and these nodes have redirected it. Sent to one of them again it might run a second time.
    pub(super) redirected_by: Redirectors,
}

/// The numbers of the nodes that have redirected a command, or 0. An index would be used again when a node has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Redirectors([u32; 4]);

impl Redirectors {
    pub(super) fn has(self, number: u32) -> bool {
        number != 0 && self.0.contains(&number)
    }

    /// Returns whether there was room for one more. Nodes that agree about a slot redirect a command once or twice.
    fn push(&mut self, number: u32) -> bool {
        let free = self.0.iter_mut().find(|known| **known == 0);
        free.map(|free| *free = number).is_some()
    }
}

impl RouteState {
    /// How long to wait before it is sent on. Seconds of waiting must not use up the redirects that follow.
    pub(super) fn pause(&self, redirect: &Redirect) -> Option<Duration> {
        let count = if redirect.is_elsewhere() { self.hops } else { self.waits };
        redirect::pause(redirect, count)
    }

    pub(super) fn count(&mut self, redirect: &Redirect) {
        let count = if redirect.is_elsewhere() { &mut self.hops } else { &mut self.waits };
        *count = count.saturating_add(1);
    }

    pub(super) fn new(deadline: Deadline, order: SendOrder) -> Self {
        let (asking, at_primary, may_have_run) = (false, false, false);
        Self {
            deadline,
            order,
            slot: None,
            node: 0,
            hops: 0,
            waits: 0,
            asking,
            at_primary,
            may_have_run,
            destination: None,
            confirmed: None,
            redirected_by: Redirectors::default(),
        }
    }

    /// The state of a part of this command, or of one that is routed again.
    pub(super) fn reset(self) -> Self {
        Self { slot: None, asking: false, destination: None, ..self }
    }

    /// As [`reset`](Self::reset), for the element at `index` of this pipeline.
    pub(super) fn of_element(self, index: usize) -> Self {
        Self { order: self.order.part(index), ..self.reset() }
    }

    /// Whether it was sent to the known owner of its slot, and was not sent on since.
    pub(super) fn is_first(&self) -> bool {
        self.hops == 0 && self.waits == 0 && !self.asking && !self.at_primary && !self.may_have_run
    }
}

/// Where a part goes of a command that is for all primaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) node: usize,
    /// A slot of that node: when the node has been replaced, its owner is the one that has replaced it.
    pub(super) slot: u16,
}

/// The slot is closed: its commands wait in the router.
const CLOSED: u32 = 1 << 31;

/// The commands of one cluster, at whichever nodes, and their outcomes.
#[derive(Debug)]
pub(super) struct RoutedRequests {
    slots: Slots,
    open: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    abandoned: AtomicU64,
    /// A command was not answered in time.
    pub(super) silence: AtomicBool,
    /// How many commands of each slot are at a node, queued or in flight, and whether the slot is closed.
    at_nodes: Box<[AtomicU32]>,
    back: Mutex<Vec<ReturnedRequest>>,
    left: Mutex<Vec<LeftNode>>,
}

impl RoutedRequests {
    pub(super) fn new(slots: Slots) -> Self {
        Self {
            slots,
            open: AtomicUsize::default(),
            completed: AtomicU64::default(),
            failed: AtomicU64::default(),
            unknown: AtomicU64::default(),
            abandoned: AtomicU64::default(),
            silence: AtomicBool::default(),
            at_nodes: (0..SLOTS).map(|_| AtomicU32::default()).collect(),
            back: Mutex::default(),
            left: Mutex::default(),
        }
    }
}

/// A command that a node did not run, or a pipeline of which it did not run everything.
pub(super) struct ReturnedRequest {
    pub(super) ticket: Box<Routed>,
    pub(super) answer: Result<Value>,
    /// The slots that it was counted in at the node. They are marked as closed.
    pub(super) slots: SlotList,
}

impl std::fmt::Debug for ReturnedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returned").field("trip", &self.ticket.route_state).finish_non_exhaustive()
    }
}

/// A command of a closed slot is at no node any more: the last one that was, or one that a node has run.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeftNode {
    pub(super) slot: u16,
    pub(super) order: SendOrder,
    pub(super) ran: bool,
}

impl RoutedRequests {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn returned(&self) -> Vec<ReturnedRequest> {
        std::mem::take(&mut self.back.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn left(&self) -> Vec<LeftNode> {
        std::mem::take(&mut self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many commands of the slot are at a node.
    pub(super) fn at_nodes(&self, slot: u16) -> u32 {
        self.at_nodes.get(usize::from(slot)).map_or(0, |count| count.load(Ordering::Relaxed) & !CLOSED)
    }

    pub(super) fn close(&self, slot: u16) {
        if let Some(count) = self.at_nodes.get(usize::from(slot)) {
            count.fetch_or(CLOSED, Ordering::Relaxed);
        }
    }

    pub(super) fn reopen(&self, slot: u16) {
        if let Some(count) = self.at_nodes.get(usize::from(slot)) {
            count.fetch_and(!CLOSED, Ordering::Relaxed);
        }
    }

    fn leave(&self, slot: u16, order: SendOrder, ran: bool) {
        let Some(count) = self.at_nodes.get(usize::from(slot)) else { return };
        let before = count.fetch_sub(1, Ordering::Relaxed);
        if before & CLOSED != 0 && (ran || before & !CLOSED == 1) {
            self.left.lock().unwrap_or_else(PoisonError::into_inner).push(LeftNode { slot, order, ran });
        }
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

/// What the book has of one command, for as long as the command is there.
struct RequestRecord {
    book: Arc<RoutedRequests>,
    order: SendOrder,
    /// The slots that it is counted in, while it is at a node.
    slots: SlotList,
    /// It is one that a caller sent, and has no outcome so far. Parts of it are not counted.
    counts: bool,
}

impl RequestRecord {
    fn end(&mut self, outcome: Option<&Result<Value>>) {
        let ran =
            matches!(outcome, Some(Ok(_))) || matches!(outcome, Some(Err(error)) if error.kind() == ErrorKind::Server);
        self.leave(ran);
        if !std::mem::take(&mut self.counts) {
            return;
        }
        let book = &self.book;
        let count = match outcome.map(|outcome| outcome.as_ref().map_err(|error| (error.kind(), error.fate()))) {
            Some(Ok(_) | Err((ErrorKind::Server, _))) => &book.completed,
            Some(Err((ErrorKind::Timeout, fate))) => {
                if fate == Fate::Unknown {
                    book.silence.store(true, Ordering::Relaxed);
                }
                &book.abandoned
            }
            Some(Err((_, Fate::Unknown))) => &book.unknown,
            Some(Err(_)) => &book.failed,
            // Its caller went away.
            None => &book.abandoned,
        };
        count.fetch_add(1, Ordering::Relaxed);
        book.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn leave(&mut self, ran: bool) {
        for slot in self.slots.drain(..) {
            self.book.leave(slot, self.order, ran);
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// A ticket at some node of a cluster.
pub(crate) struct Routed {
    asked: BoxedTicket,
    pub(super) route_state: RouteState,
    account: RequestRecord,
}

impl Routed {
    /// A command that a caller sent.
    pub(super) fn whole(asked: BoxedTicket, route_state: RouteState, book: &Arc<RoutedRequests>) -> Box<Self> {
        let counts = !asked.frame().is_own();
        if counts {
            book.open.fetch_add(1, Ordering::Relaxed);
        }
        Self::counted(asked, route_state, book, counts)
    }

    /// A part of another one.
    pub(super) fn part(asked: BoxedTicket, route_state: RouteState, book: &Arc<RoutedRequests>) -> Box<Self> {
        Self::counted(asked, route_state, book, false)
    }

    fn counted(asked: BoxedTicket, route_state: RouteState, book: &Arc<RoutedRequests>, counts: bool) -> Box<Self> {
        let account = RequestRecord { book: book.clone(), order: route_state.order, slots: SlotList::new(), counts };
        Box::new(Self { asked, route_state, account })
    }

    /// The routed request in a ticket.
    ///
    /// # Errors
    /// The ticket, if it was not made here.
    #[expect(clippy::expect_used, reason = "no other ticket keeps anything")]
    pub(super) fn of(ticket: BoxedTicket) -> Result<Box<Self>, BoxedTicket> {
        ticket.into_routed().map(|kept| kept.downcast().expect("only a command of a cluster keeps anything"))
    }

    /// A node has redirected it, and the reply may be one that its own code wrote. The node that it is sent to proves by
    /// running it that it did not run so far. One that sends it back proves nothing.
    ///
    /// Returns whether it may be sent on.
    pub(super) fn note_redirected(&mut self, redirect: &Redirect, node: u32) -> bool {
        match redirect {
            Redirect::Moved { .. } | Redirect::Ask { .. } => {}
            Redirect::TryAgain => {
                // The node takes part in the move of the slot, as the one that has redirected it said.
                self.route_state.redirected_by = Redirectors::default();
                return true;
            }
            Redirect::Down => return true,
        }
        self.note_may_have_run();
        self.route_state.redirected_by.push(node)
    }

    /// It goes to a node, and has these slots.
    pub(super) fn enter(&mut self, slots: SlotList) {
        self.left_node();
        for slot in &slots {
            if let Some(count) = self.account.book.at_nodes.get(usize::from(*slot)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.account.slots = slots;
    }

    /// Answers it, whatever the answer is.
    pub(super) fn finish(self, outcome: Result<Value>) {
        self.complete_with(outcome);
    }

    /// Answers each command of a pipeline.
    pub(super) fn finish_each(self, outcomes: Vec<Result<Value>>) {
        let Self { asked, mut account, .. } = self;
        let failed = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        account.end(Some(&failed.map_or(Ok(Value::Okay), |error| Err(error.clone()))));
        asked.deliver_each(outcomes);
    }

    /// Gives it to the router with this answer of its node, which did not run it, or not all of it.
    pub(super) fn go_back(mut self: Box<Self>, answer: Result<Value>) {
        let (book, slots) = (self.account.book.clone(), self.account.slots.clone());
        // From here on, not when the router sees it: a later command may be answered in the same read, and that it ran has to
        // be noted.
        slots.iter().for_each(|slot| book.close(*slot));
        self.left_node();
        let mut back = book.back.lock().unwrap_or_else(PoisonError::into_inner);
        back.push(ReturnedRequest { ticket: self, answer, slots });
    }

    /// As [`finish`](Self::finish), and returns whether its caller still waited.
    fn complete_with(self, outcome: Result<Value>) -> bool {
        let Self { asked, mut account, .. } = self;
        account.end(Some(&outcome));
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
        self.route_state.asking
    }

    fn track(&mut self, link: Option<&Arc<TrackedLink>>) -> bool {
        self.asked.track(link)
    }

    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Ok(self)
    }

    fn note_may_have_run(&mut self) {
        self.route_state.may_have_run = true;
        self.asked.note_may_have_run();
    }

    fn left_node(&mut self) {
        self.account.leave(false);
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let is_back = match &outcome {
            Err(error) if error.kind() == ErrorKind::Server => {
                let facts = CommandFacts::of(self.frame()).in_slot(self.route_state.slot);
                let refusal = of_error(error, facts).and_then(ErrorVerdict::not_run);
                refusal.is_some_and(ServerRefusal::is_redirect)
            }
            Err(_) => false,
            Ok(Value::Array(replies)) => refusal(self.frame(), replies, &self.account.book.slots).is_some(),
            Ok(_) => false,
        };
        if is_back {
            self.go_back(outcome);
            true
        } else {
            self.complete_with(outcome)
        }
    }
}

/// The first redirect in the answer to a unit, if some of it did not run for that. A transaction did not run as a whole, by
/// the word of EXEC, or it did.
pub(super) fn refusal<'r>(frame: &'r Frame, replies: &'r [Value], slots: &'r Slots) -> Option<&'r redis::ServerError> {
    let is_atomic = frame.unit()?.is_atomic();
    match replies.last() {
        Some(Value::ServerError(exec)) if is_atomic && exec.code() != "EXECABORT" => {
            redirects(frame, replies, slots).last()?.filter(|last| std::ptr::eq(*last, exec))
        }
        Some(Value::ServerError(_)) => redirects(frame, replies, slots).flatten().next(),
        Some(_) if is_atomic => None,
        _ => redirects(frame, replies, slots).flatten().next(),
    }
}

/// Of each reply to a unit, the error in it if it proves that the command has to be sent elsewhere, or later.
pub(super) fn redirects<'r>(
    frame: &'r Frame,
    replies: &'r [Value],
    slots: &'r Slots,
) -> impl Iterator<Item = Option<&'r redis::ServerError>> {
    let mut judged = frame
        .unit()
        .into_iter()
        .flat_map(move |unit| unit_errors_in(unit, replies, move |at| slot_of_view(&unit.view(at)?, slots)));
    replies.iter().map(move |reply| match reply {
        Value::ServerError(error) => {
            let (_, facts) = judged.next()?;
            not_run(reply, facts).is_some_and(ServerRefusal::is_redirect).then_some(error)
        }
        _ => None,
    })
}

/// An answer in the words of the server.
pub(super) fn error_of(error: &redis::ServerError) -> Error {
    Error::server(error.code(), error.details())
}
