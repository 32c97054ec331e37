//! Which reads are sent, what they brought, and what came of the reader's link.

use super::failure::{Failure, FailureKind};
use super::*;

impl<P> Consumer<P> {
    /// How many entries reads are about to bring that do not wait for any.
    pub(super) fn asked(&self) -> usize {
        self.reads.iter().filter(|read| !read.blocks).map(|read| read.count).sum()
    }

    /// A read has no deadline of its own. One that is late is let go; one that does not answer even then is
    /// on a dead link.
    pub(super) fn watch_read(&mut self, now: Instant) {
        let Some(reading) = self.reads.front_mut() else { return };
        if reading.look_at > now {
            return;
        }
        reading.look_at = now + MARGIN;
        let waited = std::mem::replace(&mut reading.unblocked, true);
        match self.reader.filter(|_| !waited) {
            Some(client) if reading.blocks => self.out.push_back(Action::Unblock { client }),
            // Its answer may be in our socket: this process may have stood still.
            Some(_) => {}
            None => {
                let why = "a read did not end in time: the link is given up";
                self.out.push_back(Action::Disconnect { why });
            }
        }
    }

    pub(super) fn next_read(&mut self, now: Instant) -> Option<Action<P>> {
        let may = self.phase == ConsumerPhase::Live && self.flow == Flow::Open && self.has_room();
        if may && self.reads.is_empty() {
            self.make_room();
        }
        let count = may.then(|| if self.reads.is_empty() { self.first_read(now) } else { self.read_ahead() })??;
        let (blocks, look_at) = (self.streak < self.terms.backlog, self.check_read_liveness(now));
        self.paces.read.start();
        self.reads.push_back(PendingRead {
            count,
            sent: now,
            front_since: now,
            blocks,
            look_at,
            unblocked: false,
            ownership_suspect: false,
            since: None,
        });
        Some(Action::Read { count, blocks })
    }

    /// Whether there is room for what reads bring. Whoever asked for events is told before there is none.
    pub(super) fn has_room(&mut self) -> bool {
        let without = self.book.without_payload();
        if without < MOST_WITHOUT_PAYLOAD / 4 {
            self.notified.backlog = false;
        } else if without >= MOST_WITHOUT_PAYLOAD / 2 && !std::mem::replace(&mut self.notified.backlog, true) {
            self.notify(Notice::ManyDelayed { entries: without, most: MOST_WITHOUT_PAYLOAD });
        }
        without < MOST_WITHOUT_PAYLOAD && self.book.len() - without < MOST
    }

    /// While handlers are idle and all that is in hand waits behind other entries of its keys, it gives its room up for
    /// entries of other keys.
    pub(super) fn make_room(&mut self) {
        let full = self.free_again() < self.terms.batch.div_ceil(2) || self.free_bytes() == 0;
        if !full || self.keyed_queue.has_ready() || self.book.running() >= self.terms.max_in_flight {
            return;
        }
        for (id, payload) in self.keyed_queue.park(1, MOST_BEHIND) {
            self.book.set(id, EntryStage::Parked);
            drop(payload);
        }
    }

    /// How many entries to ask for, where nothing is asked for yet.
    pub(super) fn first_read(&self, now: Instant) -> Option<usize> {
        let free = self.free_again();
        // Many small pages cost more than a few large ones: only who has nothing to do reads a small one.
        let worth_it = free > 0 && (free >= self.terms.batch.div_ceil(2) || self.keyed_queue.is_empty());
        let free_bytes = self.free_bytes();
        let room = free_bytes > 0 || self.book.held() + self.arriving.entries == 0;
        if !self.paces.read.may_start(now) || !worth_it || !room {
            return None;
        }
        // One entry tells how large they are.
        let fitting = free_bytes.min(self.page_bytes).checked_div(self.typical).unwrap_or(1);
        Some(free.min(self.terms.batch).min(fitting).max(1))
    }

    /// The same behind a read that is under way. Only who keeps up with full pages reads two ahead, or entries
    /// would wait here for a handler that others have. Where there is an order, two answers must not change places,
    /// as they do when a cluster has one of them asked for again.
    pub(super) fn read_ahead(&self) -> Option<usize> {
        let (asked, batch) = (self.asked(), self.terms.batch);
        let keeps_up = self.keeps_up && self.streak >= self.terms.backlog && self.paces.read.wake_at().is_none();
        let behind_none = self.reads.len() < READS && self.reads.iter().all(|read| !read.blocks);
        let room = self.in_hand() + asked <= self.window()
            && self.free_bytes() >= (asked + batch).saturating_mul(self.typical.max(1))
            && self.page_bytes >= batch.saturating_mul(self.typical);
        (keeps_up && behind_none && room && !self.terms.ordered).then_some(batch)
    }

    /// When somebody looks after a read that is the next to be answered from now on.
    pub(super) fn check_read_liveness(&self, now: Instant) -> Instant {
        now + self.terms.block + MARGIN
    }

    pub(super) fn free_bytes(&self) -> usize {
        self.terms.max_bytes.saturating_sub(self.book.bytes() + self.arriving.bytes)
    }

    /// A page of new entries came, that of the read which is under way for longest, and is yet to be decoded. Returns
    /// the read that may be sent before that, so that the server works meanwhile.
    pub(crate) fn page_came(&mut self, entries: usize, bytes: usize, now: Instant) -> Option<Action<P>> {
        let read = self.next_answered(now);
        self.paces.read.succeeded();
        let is_full = read.is_some_and(|read| entries >= read.count);
        self.keeps_up = is_full && self.streak > 0 && self.book.held() == 0;
        self.streak = if is_full { self.streak + entries } else { 0 };
        if entries == 0 {
            return None;
        }
        self.tally.read += entries as u64;
        self.arriving.entries += entries;
        self.arriving.bytes += bytes;
        self.adapt_page_size(read, bytes, now);
        self.arriving.since = self.arriving.since.or(self.delivered_since(read, bytes));
        self.arriving.ownership_suspect |= read.is_some_and(|read| read.ownership_suspect);
        // Who has asked for larger ones than it knew asks for fewer of them.
        self.typical = self.typical.max(bytes / entries);
        self.next_check = self.next_check.min(now + self.terms.look_every);
        self.stall.delivered();
        self.next_read(now)
    }

    /// The read that was under way for longest has its answer. The patience with the one behind it begins.
    pub(super) fn next_answered(&mut self, now: Instant) -> Option<PendingRead> {
        let answered = self.reads.pop_front();
        let look_at = self.check_read_liveness(now);
        if let Some(next) = self.reads.front_mut() {
            (next.look_at, next.front_since) = (look_at, now);
        }
        answered
    }

    /// All that came is decoded.
    pub(crate) fn page_read(&mut self, page: Vec<Arrival<P>>, now: Instant) {
        let ReceivedPage { ownership_suspect, since, .. } = std::mem::take(&mut self.arriving);
        for arrival in page {
            self.received = self.received.max(Some(arrival.id));
            self.admit(arrival, since.unwrap_or(now));
        }
        if ownership_suspect {
            self.suspect_ownership();
        }
    }

    /// A read brought nothing.
    pub(crate) fn read_failed(&mut self, failure: Failure, now: Instant) {
        self.next_answered(now);
        (self.streak, self.keeps_up) = (0, false);
        if failure.kind.ends_the_link() {
            // Nobody waits for the answer behind it any more: it went with the link, or will be reaped with it.
            self.reads.clear();
        }
        if failure.kind == FailureKind::Link {
            return self.reader_lost(failure, now);
        }
        // Two that failed together are one failure.
        let first = self.reads.is_empty() && self.paces.read.failed(now, &mut self.chance);
        match failure.kind {
            FailureKind::Closed | FailureKind::NoGroup => self.command_failed(failure),
            // The next read tells more.
            FailureKind::Unblocked => self.paces.read.succeeded(),
            _ if first => self.notify(Notice::Trouble { error: failure.error }),
            _ => {}
        }
    }

    /// The reader's link is gone, and with it the answer to what it read. What that took is found by listing
    /// what is pending for us, once the old link can take no more.
    pub(super) fn reader_lost(&mut self, failure: Failure, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.tally.disconnects += 1;
        self.stale_client = self.reader.take().or(self.stale_client);
        self.notify(Notice::Disconnected { cause: failure.error });
        // Before the first look at it: a server that accepts and closes must not be asked in a circle.
        self.paces.setup = Pace::default();
        self.paces.setup.pause(now, &mut self.chance);
        self.phase = ConsumerPhase::Setup(SetupStep::Connect);
    }

    /// Takes an entry into hand, unless it is there already. It is certainly ours since `renewed`.
    pub(super) fn admit(&mut self, arrival: Arrival<P>, renewed: Instant) {
        let Arrival { id, order_key, size, payload } = arrival;
        let known = self.book.get(id).map(|hold| (hold.stage, hold.order_key, hold.attempts));
        let (order_key, mut attempts, again) = match known {
            Some((EntryStage::Taking, known, attempts)) => (known, attempts, true),
            Some(_) => return,
            None => (order_key, Attempts::NONE, false),
        };
        if attempts.suspect && !attempts.recorded {
            // The server counts this attempt already.
            (attempts.started, attempts.recorded) = (attempts.started + 1, true);
        }
        self.typical = if self.typical == 0 { size } else { (self.typical * 7 + size) / 8 };
        // An entry that never gets in line must not close the line behind it.
        let keeps_order_key = again || payload.is_ok();
        self.book.insert(id, EntryStage::KeyedEntry, attempts, order_key.filter(|_| keeps_order_key), size, renewed);
        match payload {
            Err(error) => self.dead_letter(id, DeadLetterReason::Decode, Some(error)),
            Ok(payload) => {
                let waiting = keyed_queue::KeyedEntry { id, order_key, payload: Some(payload) };
                // It had its place in its lane all the time.
                if again && order_key.is_some() {
                    self.keyed_queue.push_back_in_front(waiting);
                } else {
                    self.keyed_queue.push(waiting);
                }
                let hands_back = match self.flow {
                    Flow::Draining(_) => true,
                    Flow::Paused(None) => !self.terms.ordered,
                    Flow::Open | Flow::Paused(Some(_)) => false,
                };
                if hands_back || self.name == Name::TakeReply {
                    self.return_waiting();
                }
            }
        }
    }
}
