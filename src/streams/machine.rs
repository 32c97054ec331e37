//! A stream consumer's decisions: what to ask the server next, which entry goes to a handler, and what its
//! answer means.
//!
//! Every entry in hand is in one stage of the [`LeaseBook`]; it leaves when the server has said what became of
//! it. Whatever is forgotten on the way (a lost link, a restart) is still pending on the server, and comes
//! back: nothing is acknowledged but what a handler has acknowledged.

pub(crate) mod ack_coalescer;
mod claims;
mod dead_lettering;
pub(crate) mod failure;
pub(crate) mod fair_turns;
pub(crate) mod group_position;
pub(crate) mod ids;
pub(crate) mod keyed_queue;
pub(crate) mod lease_book;
mod leases;
pub(crate) mod pace;
mod reads;
mod replies;
mod reports;
mod schedule;
pub(crate) mod server_clock;
mod settle;
mod setup;
mod stall;
mod terms;
#[cfg(test)]
mod tests;
mod unread;

pub(crate) use replies::{ClaimReply, ClaimedEntry, DeadLetterOutcome, LeaseReply, SweepReply};
pub(crate) use settle::Handled;
pub(crate) use setup::Holder;
pub(crate) use terms::{Action, Arrival, DeadLetterRequest, LeaseTerm, OrderPosition, TakeReply, Terms, UnreadEntries};

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ack_coalescer::AckCoalescer;
use group_position::{GroupPosition, LastEntry};
use keyed_queue::KeyedQueue;
use lease_book::{Attempts, EntryStage, LeaseBook, ReleaseReason};
use pace::Pace;
use server_clock::ServerClock;
use stall::Stall;

use crate::messages::stream_id::StreamId;
use crate::streams::events::{DeadLetterReason, StreamEventKind as Notice};
use crate::streams::outcome::Outcome;

/// How many entries may be in hand before reading stops, not counted those without a payload: so many wait for a
/// server that takes no acknowledgements or dead letters.
const MOST: usize = 16 * 1024;
/// How many entries may wait without a payload, for another attempt or for their key, before reading stops.
const MOST_WITHOUT_PAYLOAD: usize = 256 * 1024;
/// How many entries may be parked because their keys have to wait while handlers are idle.
const MOST_BEHIND: usize = 4096;
/// So far it is looked for parked entries that may be delivered behind one that has to wait.
const LOOK: usize = 1024;
/// Entries are read ahead of the handlers for about so long: what waits longer would be handled sooner by a peer.
const AHEAD: Duration = Duration::from_millis(100);
/// So many entries in one errand that is not a read.
const CHUNK: usize = 128;
/// So many ids on one page of what is pending.
const LIST: usize = 1024;
/// How long a consumer's name is held, and after what part of that it is renewed. Somebody else gets it sooner,
/// when the server knows no client of the holder any more.
pub(crate) const NAME_HELD: Duration = Duration::from_secs(15);
/// How often it is looked for consumers that have died.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How long after the end of its BLOCK a read may be silent before somebody looks after it.
const MARGIN: Duration = Duration::from_secs(1);
/// So many reads may be under way at once, that the server need not wait for the next one while it has entries.
const READS: usize = 2;

/// The steps before entries are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetupStep {
    Connect,
    Name,
    Reap,
    EnsureGroup,
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConsumerPhase {
    Setup(SetupStep),
    Live,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// Until `resume`, or until that moment.
    Paused(Option<Instant>),
    Draining(Instant),
}

/// A read that is under way, and who looks after it when.
#[derive(Debug, Clone, Copy)]
struct PendingRead {
    count: usize,
    sent: Instant,
    /// Since when it is the next one to be answered.
    front_since: Instant,
    /// For entries to come. Whatever is sent behind it on its link waits as well.
    blocks: bool,
    look_at: Instant,
    unblocked: bool,
    ownership_suspect: bool,
    /// This process was late since then: what the read brings may have been in its socket all the time.
    since: Option<Instant>,
}

/// What came, and is yet to be decoded.
#[derive(Debug, Clone, Copy, Default)]
struct ReceivedPage {
    entries: usize,
    bytes: usize,
    ownership_suspect: bool,
    /// Since when the server may have delivered it.
    since: Option<Instant>,
}

/// How far the pending entries of this consumer have been looked through.
#[derive(Debug, Default)]
struct Recovery {
    after: Option<StreamId>,
    listed_all: bool,
    /// Nothing is left of what other consumers have handed back.
    returned_all: bool,
    recovered: u64,
}

/// Whose name it is that this consumer bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Unasked,
    Ours,
    /// And whoever asked for events was told.
    TakeReply,
}

/// Counts over the life of a consumer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConsumerCounters {
    pub(crate) read: u64,
    pub(crate) recovered: u64,
    pub(crate) claimed: u64,
    pub(crate) acked: u64,
    pub(crate) retried: u64,
    pub(crate) released: u64,
    /// Those that the server has heard of.
    pub(crate) handed_back: u64,
    /// Those that wait for another attempt and that the server has heard of.
    pub(crate) handed_over: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) timed_out: u64,
    pub(crate) lease_lost: u64,
    pub(crate) trimmed: u64,
    pub(crate) disconnects: u64,
}

/// The pace of each kind of request.
#[derive(Debug, Default)]
struct Paces {
    setup: Pace,
    read: Pace,
    take: Pace,
    sweep: Pace,
    peek: Pace,
    ack: Pace,
    lease: Pace,
    renew_unread: Pace,
    dead_letter: Pace,
    look: Pace,
    rename: Pace,
    forget: Pace,
}

/// What recipients of events know already.
#[derive(Debug, Default)]
struct Notified {
    /// Dead letters cannot be written.
    stuck: bool,
    /// So many entries wait that reading will stop.
    backlog: bool,
    /// Round trips are too long for `min_idle`.
    distance: bool,
}

/// See the module.
pub(crate) struct Consumer<P> {
    terms: Terms,
    phase: ConsumerPhase,
    flow: Flow,
    /// The link that the reader has, and the one before it, if that may still be blocked on the server.
    reader: Option<i64>,
    stale_client: Option<i64>,
    reads: VecDeque<PendingRead>,
    /// Entries of full pages in a row: with many of them there is a backlog, and no read need wait.
    streak: usize,
    /// When the last page came, all of the full one before it was with the server again, or about to be.
    keeps_up: bool,
    name: Name,
    recovery: Recovery,
    /// The one entry in hand of which an attempt may have ended with its process.
    suspect: Option<StreamId>,
    /// The last entry that this consumer has received, or found pending when it began. What is pending for it behind that
    /// was on its way to it: no handler can have had it.
    received: Option<StreamId>,
    unread: unread::Unread,
    /// Parked entries whose lane is not known yet, and those that are being looked at for that.
    unkeyed: VecDeque<StreamId>,
    keying: Vec<StreamId>,
    group_position: Option<GroupPosition>,
    sample: Option<LastEntry>,
    stall: Stall,
    server_clock: ServerClock,
    book: LeaseBook,
    keyed_queue: KeyedQueue<P>,
    acks: AckCoalescer,
    /// Entries whose terms the server does not know yet, and those it is being told of.
    unrenewed: VecDeque<StreamId>,
    /// This process stood still for so long that others may have what it has: nothing more is handed out before the
    /// server has said what is still ours.
    ownership_suspect: bool,
    /// The same of its name: nothing is handed out before the server has said that it is still ours.
    name_suspect: bool,
    /// The same of what a take brings that was under way then.
    take_suspect: bool,
    saying: Vec<LeaseTerm>,
    said_at: Instant,
    dead_letter_requests: VecDeque<DeadLetterRequest>,
    /// Burials that the server refuses, by the time of the next try.
    stuck: BTreeMap<(Instant, StreamId), DeadLetterRequest>,
    /// Whose burial is under way.
    dead_lettering: Option<StreamId>,
    /// Entries that are being taken.
    taking: Vec<(StreamId, u64)>,
    took_at: Instant,
    cursor: StreamId,
    arriving: ReceivedPage,
    /// How many entries may still be handed out, where others have their share in the handlers.
    allowance: Option<usize>,
    next_sweep: Instant,
    swept_at: Instant,
    /// How many entries had been read when the group was last looked at.
    read_at_look: u64,
    /// After a stand-still, once until the next one of them has ended.
    sweep_deferred: bool,
    next_beat: Instant,
    next_check: Instant,
    next_name: Instant,
    next_forget: Instant,
    paces: Paces,
    notified: Notified,
    /// A typical entry's size, to keep a page within the bytes that are free.
    typical: usize,
    /// The maximum size of a page: less than all bytes that may be in hand where pages take long to arrive.
    page_bytes: usize,
    /// How long handlers take, on average, and when one last answered.
    handler_time: Option<Duration>,
    last_answer: Instant,
    /// How many entries may wait for a handler, as of the last look.
    ahead: usize,
    out: VecDeque<Action<P>>,
    /// When it was last asked what to do.
    looked: Option<Instant>,
    chance: fastrand::Rng,
    tally: ConsumerCounters,
}

impl<P> Consumer<P> {
    pub(crate) fn new(terms: Terms, now: Instant, chance: fastrand::Rng) -> Self {
        Self {
            phase: ConsumerPhase::Setup(SetupStep::Connect),
            flow: Flow::Open,
            reader: None,
            stale_client: None,
            reads: VecDeque::with_capacity(READS),
            streak: 0,
            keeps_up: false,
            name: Name::Unasked,
            recovery: Recovery::default(),
            suspect: None,
            received: None,
            unread: unread::Unread::default(),
            unkeyed: VecDeque::new(),
            keying: Vec::new(),
            group_position: None,
            sample: None,
            stall: Stall::new(terms.stall_after),
            server_clock: ServerClock::default(),
            book: LeaseBook::default(),
            keyed_queue: KeyedQueue::new(),
            acks: AckCoalescer::default(),
            unrenewed: VecDeque::new(),
            ownership_suspect: false,
            name_suspect: false,
            take_suspect: false,
            saying: Vec::new(),
            said_at: now,
            dead_letter_requests: VecDeque::new(),
            stuck: BTreeMap::new(),
            dead_lettering: None,
            taking: Vec::new(),
            took_at: now,
            cursor: StreamId::MIN,
            arriving: ReceivedPage::default(),
            allowance: None,
            next_sweep: now,
            swept_at: now,
            read_at_look: 0,
            sweep_deferred: false,
            next_beat: now + terms.min_idle / 4,
            next_check: now + terms.look_every,
            next_name: now + NAME_HELD / 3,
            next_forget: now + terms.forget_after.map_or(FORGET_EVERY, |idle| idle.min(FORGET_EVERY)),
            paces: Paces::default(),
            notified: Notified::default(),
            typical: 0,
            page_bytes: terms.max_bytes,
            handler_time: None,
            last_answer: now,
            ahead: 0,
            out: VecDeque::new(),
            looked: None,
            chance,
            tally: ConsumerCounters::default(),
            terms,
        }
    }

    pub(crate) fn tally(&self) -> &ConsumerCounters {
        &self.tally
    }

    pub(crate) fn book(&self) -> &LeaseBook {
        &self.book
    }

    /// Whether the server lets this process have the consumer's name.
    pub(crate) fn has_name(&self) -> bool {
        self.name == Name::Ours && !self.is_closed()
    }

    /// The last entry that has come.
    pub(crate) fn read_last(&mut self, sample: Option<LastEntry>) {
        self.sample = sample.or(self.sample);
    }

    /// What is known of the group.
    pub(crate) fn group_position(&self) -> Option<GroupPosition> {
        self.group_position
    }

    /// Whether the server may still be about to hand entries out to us.
    pub(crate) fn is_reading(&self) -> bool {
        !self.reads.is_empty()
    }

    /// How many dead letters could not be written yet.
    pub(crate) fn unwritten(&self) -> usize {
        self.dead_letter_requests.len() + self.stuck.len() + usize::from(self.dead_lettering.is_some())
    }

    /// How many entries wait for a handler.
    pub(crate) fn waiting(&self) -> usize {
        self.keyed_queue.len()
    }

    /// How many entries could go to a handler now.
    pub(crate) fn ready(&self) -> usize {
        if self.flow == Flow::Open { self.keyed_queue.ready() } else { 0 }
    }

    /// Hands out that many entries more, then waits to be allowed again.
    pub(crate) fn allow(&mut self, entries: usize) {
        self.allowance = Some(entries);
    }

    /// How many of these are left.
    pub(crate) fn allowance(&self) -> usize {
        self.allowance.unwrap_or_default()
    }

    /// How many acknowledgements the server has not confirmed yet.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.acks.len()
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.flow, Flow::Draining(_))
    }

    /// An earlier life of this consumer may have left a read under way on that link, and knew the group.
    pub(crate) fn succeed(
        &mut self,
        client: Option<i64>,
        group_position: Option<GroupPosition>,
        tally: ConsumerCounters,
    ) {
        (self.stale_client, self.group_position, self.tally) = (client, group_position, tally);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == ConsumerPhase::Closed
    }

    /// What it is doing, as one lower-case word.
    pub(crate) fn state(&self) -> &'static str {
        match (self.phase, self.flow) {
            (ConsumerPhase::Closed, _) => "closed",
            (_, Flow::Draining(_)) => "draining",
            (_, Flow::Paused(_)) => "paused",
            (ConsumerPhase::Setup(SetupStep::Name), _) if self.name == Name::TakeReply => "waiting for its name",
            (ConsumerPhase::Setup(SetupStep::Connect | SetupStep::Name | SetupStep::Reap), _) => "connecting",
            (ConsumerPhase::Setup(SetupStep::EnsureGroup), _) => "ensuring the group",
            (ConsumerPhase::Setup(SetupStep::List), _) => "recovering",
            (ConsumerPhase::Live, _) => "live",
        }
    }

    /// Reads and hands out nothing until [`resume`](Self::resume). What waits goes back for others; with an order it
    /// stays, for whoever got it would be overtaken here, or overtake what is at work.
    pub(crate) fn pause(&mut self, now: Instant) {
        if matches!(self.flow, Flow::Open | Flow::Paused(Some(_))) && !self.is_closed() {
            self.flow = Flow::Paused(None);
            self.notify(Notice::Paused { lasts: None });
            if !self.terms.ordered {
                self.return_waiting();
                // The server cannot keep a delay that is longer than `min_idle`.
                self.hand_over_delayed(now + self.terms.min_idle);
            }
            self.unblock();
        }
    }

    pub(crate) fn resume(&mut self, now: Instant) {
        if matches!(self.flow, Flow::Paused(_)) && !self.is_closed() {
            self.flow = Flow::Open;
            self.next_sweep = self.next_sweep.min(now);
            self.notify(Notice::Resumed);
        }
    }

    /// Reads and hands out nothing any more, and finishes at the deadline at the latest.
    pub(crate) fn drain(&mut self, deadline: Instant) {
        if self.is_closed() {
            return;
        }
        if let Flow::Draining(earlier) = self.flow {
            self.flow = Flow::Draining(earlier.min(deadline));
            return;
        }
        self.flow = Flow::Draining(deadline);
        self.notify(Notice::Draining);
        self.return_waiting();
        self.hand_over_delayed(deadline + crate::clock::FOREVER);
        // The last chance of what the server has refused so far.
        self.dead_letter_requests.extend(std::mem::take(&mut self.stuck).into_values());
        self.unblock();
    }

    /// The handler's actor has ended: nobody can take what is in hand.
    pub(crate) fn handler_gone(&mut self, deadline: Instant) {
        if !matches!(self.flow, Flow::Draining(_)) && !self.is_closed() {
            self.notify(Notice::HandlerGone);
        }
        self.drain(deadline);
    }

    /// What it would know after some time.
    #[cfg(test)]
    fn assume(&mut self, typical: usize, handler_time: Duration) {
        (self.typical, self.handler_time) = (typical, Some(handler_time));
    }

    fn return_waiting(&mut self) {
        let unkeyed = std::mem::take(&mut self.unkeyed);
        for id in self.keyed_queue.drain().into_iter().chain(unkeyed) {
            let Some(hold) = self.book.get_mut(id) else { continue };
            // It gives up its place in its order, which it had not come to the head of.
            hold.order_key = None;
            if std::mem::take(&mut hold.attempts.recorded) {
                hold.attempts.started = hold.attempts.started.saturating_sub(1);
            }
            let parting = match (hold.attempts.suspect, hold.attempts.started, hold.due, self.looked) {
                (true, ..) => ReleaseReason::Suspect,
                (false, 0, None, _) => ReleaseReason::Unstarted,
                (false, _, Some(due), _) | (false, _, None, Some(due)) => ReleaseReason::Recorded { due },
                (false, _, None, None) => ReleaseReason::Unstarted,
            };
            self.leave(id, parting);
        }
    }

    /// Lets others have the entries whose next attempt is due before `until`.
    fn hand_over_delayed(&mut self, until: Instant) {
        for id in self.book.ids() {
            if let Some(EntryStage::Delayed { due }) = self.book.stage(id)
                && due < until
            {
                self.settled_order_key(id);
                self.leave(id, ReleaseReason::Recorded { due });
            }
        }
    }

    /// A read must never be cancelled, or what it was about to bring is pending for nobody; letting it go by
    /// CLIENT UNBLOCK makes it answer.
    fn unblock(&mut self) {
        if let (Some(reading), Some(client)) = (self.reads.front_mut(), self.reader)
            && reading.blocks
            && !reading.unblocked
        {
            reading.unblocked = true;
            self.out.push_back(Action::Unblock { client });
        }
    }

    fn notify(&mut self, what: Notice) {
        self.out.push_back(Action::PublishEvent(what));
    }

    /// Lets others have an entry.
    fn leave(&mut self, id: StreamId, parting: ReleaseReason) {
        self.book.set(id, EntryStage::Leaving(parting));
        self.unrenewed.push_back(id);
    }
}
