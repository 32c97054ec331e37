//! What the server answered.

use super::failure::{Failure, FailureKind};
use super::*;

/// Of an entry that was delivered as often as allowed and is still there.
const UNANSWERED: &str = "its handler never answered";
/// How soon a dead letter that the server refuses is tried again, at first (twice that) and at last.
const FIRST_RETRY: Duration = Duration::from_millis(125);
const LAST_RETRY: Duration = Duration::from_secs(10);

impl<P> Consumer<P> {
    /// Entries of ours, delivered again.
    pub(crate) fn took(&mut self, answer: Result<Vec<TakeReply<P>>, Failure>, now: Instant) {
        let asked = std::mem::take(&mut self.taking);
        let ownership_suspect = std::mem::take(&mut self.take_suspect);
        match answer {
            Ok(taken) => {
                self.take.succeeded();
                let mut gone = Vec::new();
                for entry in taken {
                    match entry {
                        TakeReply::Entry(arrival) => self.admit(arrival, self.took_at),
                        TakeReply::Gone(id) => gone.push(id),
                    }
                }
                if ownership_suspect {
                    self.suspect_ownership();
                }
                self.trimmed(gone);
                // What is in none of the answers is somebody else's by now.
                for (id, _) in asked {
                    if self.book.stage(id) == Some(EntryStage::Taking) {
                        self.put_down(id);
                    }
                }
            }
            Err(failure) => {
                self.take.failed(now, &mut self.chance);
                // Whether they were delivered is unknown; asking again for the same count is the same as once.
                for (id, _) in asked {
                    if self.book.stage(id) == Some(EntryStage::Taking) {
                        self.park(id);
                    }
                }
                self.command_failed(failure);
                if matches!(self.flow, Flow::Draining(_)) {
                    self.return_waiting();
                }
            }
        }
    }

    /// Where parked entries belong in the order. Those that are in no answer are looked at again.
    pub(crate) fn peeked(&mut self, answer: Result<Vec<(StreamId, OrderPosition)>, Failure>, now: Instant) {
        let asked = std::mem::take(&mut self.keying);
        match answer {
            Ok(peeked) => {
                self.peek.succeeded();
                let mut gone = Vec::new();
                for (id, peeked) in peeked {
                    match (peeked, self.book.get_mut(id)) {
                        (OrderPosition::Lane { order_key, size }, Some(hold)) if hold.stage == EntryStage::Parked => {
                            (hold.order_key, hold.size) = (order_key, size);
                            self.keyed_queue.push(keyed_queue::KeyedEntry { id, order_key, payload: None });
                        }
                        (OrderPosition::Gone, Some(_)) => gone.push(id),
                        _ => {}
                    }
                }
                self.removed(gone);
                if matches!(self.flow, Flow::Draining(_)) {
                    self.return_waiting();
                }
                self.go_live_when_recovered();
            }
            Err(failure) => {
                self.peek.failed(now, &mut self.chance);
                asked.into_iter().rev().for_each(|id| self.unkeyed.push_front(id));
                self.command_failed(failure);
            }
        }
    }

    /// A page of new entries came, that of the read which is under way for longest, and is yet to be decoded. Returns
    /// the read that may be sent before that, so that the server works meanwhile.
    pub(crate) fn page_came(&mut self, entries: usize, bytes: usize, now: Instant) -> Option<Action<P>> {
        let read = self.next_answered(now);
        self.read.succeeded();
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
    fn next_answered(&mut self, now: Instant) -> Option<PendingRead> {
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
        let first = self.reads.is_empty() && self.read.failed(now, &mut self.chance);
        match failure.kind {
            FailureKind::Closed | FailureKind::NoGroup => self.command_failed(failure),
            // The next read tells more.
            FailureKind::Unblocked => self.read.succeeded(),
            _ if first => self.notify(Notice::Trouble { error: failure.error }),
            _ => {}
        }
    }

    /// Entries that others left, and where to look next.
    pub(crate) fn swept(&mut self, answer: Result<SweepReply, Failure>, now: Instant) {
        match answer {
            Ok(SweepReply { clock, returned, claims }) => {
                self.sweep.succeeded();
                self.sweep_deferred = false;
                self.server_clock.saw(clock, self.swept_at, now);
                self.notice_distance();
                let Some(claims) = claims else {
                    self.took_back(returned, now);
                    // Its clock jumped, so idle times tell nothing before every live owner has renewed its leases.
                    self.next_sweep = now + self.terms.min_idle;
                    return;
                };
                self.cursor = claims.cursor;
                let more = claims.cursor != StreamId::MIN || returned.len() >= CHUNK;
                let mut entries = self.took_back(returned, now);
                for ClaimedEntry { id, deliveries, is_unread } in claims.entries {
                    let attempts = self.attempts_of(deliveries, is_unread);
                    entries += usize::from(self.claim(id, attempts, None, now));
                }
                self.unread.swept(self.swept_at, self.cursor == StreamId::MIN);
                let pause = if more { Duration::from_millis(10) } else { self.sweep_pause() };
                self.next_sweep = now + pause;
                if entries > 0 {
                    self.tally.claimed += entries as u64;
                    self.notify(Notice::Claimed { entries });
                }
                self.trimmed(claims.gone);
                self.go_live_when_recovered();
            }
            Err(failure) => {
                self.sweep.failed(now, &mut self.chance);
                // Entries of others may be this consumer's now.
                self.unread.sweep_failed(now + self.server_clock.claim_after(self.terms.min_idle));
                self.command_failed(failure);
            }
        }
    }

    /// Where answers take so long that leases cannot be renewed in `min_idle`, entries are taken over later, and whoever
    /// asked for events is told.
    fn notice_distance(&mut self) {
        let (round_trip, min_idle) = (self.server_clock.round_trip(), self.terms.min_idle);
        let claims_after = self.server_clock.claim_after(min_idle);
        if claims_after == min_idle {
            self.told_distance = false;
        } else if !std::mem::replace(&mut self.told_distance, true) {
            self.notify(Notice::SlowRoundTrips { round_trip, claims_after });
        }
    }

    /// Takes over what other consumers have handed back: its attempts are known, and so is when the next one is due.
    fn took_back(&mut self, returned: Vec<(StreamId, u64, Duration)>, now: Instant) -> usize {
        self.recovery.returned_all |= returned.is_empty();
        let mut entries = 0;
        for (id, deliveries, idle) in returned {
            let left = self.terms.min_idle.saturating_sub(idle);
            let due = (!left.is_zero()).then(|| now + left);
            entries += usize::from(self.claim(id, Attempts::recorded(deliveries), due, now));
        }
        entries
    }

    /// Takes an entry over that is ours now and that nobody has in hand. Returns whether that is so.
    pub(super) fn claim(&mut self, id: StreamId, attempts: Attempts, due: Option<Instant>, now: Instant) -> bool {
        if self.book.contains(id) {
            return false;
        }
        // Since when it is ours is not known.
        let renewed = now.checked_sub(self.terms.min_idle).unwrap_or(now);
        self.book.insert(id, EntryStage::Parked, attempts, None, 0, renewed);
        if let Some(hold) = self.book.get_mut(id) {
            hold.due = due;
        }
        if attempts.started >= self.terms.max_deliveries {
            // Whoever had it last may have died of it: no handler sees it again.
            self.dead_letter(id, DeadLetterReason::MaxDeliveries, Some(UNANSWERED.to_owned()));
        } else if self.terms.ordered {
            self.unkeyed.push_back(id);
        } else {
            self.keyed_queue.push(keyed_queue::KeyedEntry { id, order_key: None, payload: None });
        }
        true
    }

    /// Puts an entry back that is not delivered again after all, or not yet. It keeps its lane.
    pub(super) fn park(&mut self, id: StreamId) {
        if self.suspect == Some(id) {
            self.suspect = None;
        }
        let (order_key, dropped) = self.book.get(id).map_or((None, false), |hold| (hold.order_key, hold.dropped));
        if dropped {
            // It is not pending for anybody before the server has heard of it.
            self.unrenewed.push_back(id);
        }
        self.book.set(id, EntryStage::Parked);
        self.keyed_queue.park_in_front(id, order_key);
    }

    /// An XACK was answered. What was not pending any more is acknowledged too.
    pub(crate) fn acked(&mut self, flight: u64, answer: Result<(), Failure>, now: Instant) {
        match answer {
            Ok(()) => {
                self.ack.succeeded();
                let ids = self.acks.returned(flight);
                self.tally.acked += ids.len() as u64;
                for id in ids {
                    if self.book.stage(id) == Some(EntryStage::Acking) {
                        self.book.remove(id);
                    }
                }
            }
            Err(failure) => {
                let first = self.ack.failed(now, &mut self.chance);
                self.acks.failed(flight, self.ack.wake_at().unwrap_or(now));
                self.settling_failed(failure, first);
            }
        }
    }

    /// The server knows the terms, except for entries that are no longer ours.
    pub(crate) fn leased(&mut self, answer: Result<LeaseReply, Failure>, now: Instant) {
        let said = std::mem::take(&mut self.saying);
        match answer {
            Ok(LeaseReply { lost, absent, gone }) => {
                self.lease.succeeded();
                self.ownership_suspect &= !self.unrenewed.is_empty();
                self.removed(gone);
                let (lost, absent) = self.without_owner(lost, absent, now);
                for term in said {
                    if lost.contains(&term.id) || absent.contains(&term.id) {
                        continue;
                    }
                    self.confirmed(term);
                }
                for id in lost {
                    self.lost(id);
                }
            }
            Err(failure) => {
                let first = self.lease.failed(now, &mut self.chance);
                let gone = failure.kind == FailureKind::NoGroup && matches!(self.flow, Flow::Draining(_));
                if gone {
                    // Nothing is pending in a group that is not there, and a consumer that ends makes no other.
                    self.unrenewed.clear();
                    self.book.ids().into_iter().for_each(|id| self.lost(id));
                } else {
                    self.unrenewed.extend(said.iter().map(|term| term.id));
                }
                self.settling_failed(failure, first && !gone);
            }
        }
    }

    /// Entries that are pending for nobody. While their lease held nobody else could take them over and settle them: then
    /// another client has removed this consumer from the group, and they are handled all the same.
    fn without_owner(
        &mut self,
        mut lost: Vec<StreamId>,
        absent: Vec<StreamId>,
        now: Instant,
    ) -> (Vec<StreamId>, Vec<StreamId>) {
        let (mut dropped, mut unclear) = (Vec::new(), Vec::new());
        for id in absent {
            let Some(hold) = self.book.get_mut(id) else { continue };
            if now.saturating_duration_since(hold.renewed()) >= self.terms.min_idle {
                lost.push(id);
                continue;
            }
            let (stage, started) = (hold.stage, hold.attempts.started > 0);
            let in_hand = matches!(stage, EntryStage::KeyedEntry | EntryStage::Running { .. });
            if started && !in_hand {
                // Its handler may have acknowledged it itself, with its effects: it must not come again.
                lost.push(id);
                continue;
            }
            hold.dropped = true;
            if started {
                unclear.push(id);
                continue;
            }
            dropped.push(id);
            // What no handler has had has to be pending again before anything can become of it.
            if !in_hand {
                self.unrenewed.push_back(id);
            }
        }
        if !dropped.is_empty() {
            self.notify(Notice::Dropped { entries: dropped.len() + unclear.len() });
        }
        dropped.extend(unclear);
        (lost, dropped)
    }

    /// The server has done what it was told about an entry.
    fn confirmed(&mut self, term: LeaseTerm) {
        if let Some(hold) = self.book.get_mut(term.id) {
            // It is pending for this consumer, whether this made it so or a group that was made again did.
            hold.dropped = false;
        }
        self.book.renew(term.id, self.said_at);
        // Who parts while a renewal is under way has not been heard yet, and is still among the unsaid. Those
        // under suspicion have no renewals.
        if let Some(EntryStage::Leaving(parting)) = self.book.stage(term.id)
            && (term.returned || parting == ReleaseReason::Suspect)
        {
            match parting {
                ReleaseReason::Unstarted => self.tally.handed_back += 1,
                ReleaseReason::Recorded { .. } => self.tally.handed_over += 1,
                ReleaseReason::Released | ReleaseReason::Suspect => {}
            }
            self.put_down(term.id);
        }
    }

    /// Entries of ours were removed from the stream. What is in hand of them is worth no less to a handler.
    fn removed(&mut self, mut ids: Vec<StreamId>) {
        ids.retain(|id| {
            let stage = self.book.stage(*id);
            let in_hand =
                matches!(stage, Some(EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Burying));
            if in_hand && let Some(hold) = self.book.get_mut(*id) {
                hold.trimmed = true;
            }
            stage.is_some_and(|stage| !in_hand && stage != EntryStage::Acking)
        });
        self.trimmed(ids);
    }

    pub(super) fn lost(&mut self, id: StreamId) {
        match self.book.stage(id) {
            Some(EntryStage::Running { .. }) => {
                // Its handler may end well: then it is acknowledged all the same. But it is neither retried
                // nor moved to the dead letters by us, for that is for its new owner to decide.
                self.tally.lease_lost += 1;
                if let Some(hold) = self.book.get_mut(id) {
                    hold.lost = true;
                }
                self.out.push_back(Action::SignalLost { id });
                self.notify(Notice::LeaseLost { id });
            }
            Some(EntryStage::KeyedEntry) => {
                self.tally.lease_lost += 1;
                self.put_down(id);
            }
            Some(EntryStage::Parked) => self.put_down(id),
            // The answer to the burial that is under way says the same, and only then may the entry come back.
            Some(EntryStage::Burying) if self.dead_lettering == Some(id) => {}
            Some(EntryStage::Burying) => {
                self.dead_letter_requests.retain(|dead_letter_request| dead_letter_request.id != id);
                self.stuck.retain(|(_, stuck), _| *stuck != id);
                self.put_down(id);
            }
            Some(EntryStage::Delayed { .. }) => self.put_down(id),
            // It has left already, where the answer to that was lost.
            Some(EntryStage::Leaving(_)) => self.put_down(id),
            Some(EntryStage::Taking | EntryStage::Acking) | None => {}
        }
    }

    /// A dead letter is written, or it is none: the entry was not ours, or not there, any more.
    pub(crate) fn was_dead_lettered(
        &mut self,
        dead_letter_request: DeadLetterRequest,
        answer: Result<DeadLetterOutcome, Failure>,
        now: Instant,
    ) {
        self.dead_lettering = None;
        match answer {
            Ok(was_dead_lettered) => {
                self.dead_letter.succeeded();
                self.told_stuck &= was_dead_lettered != DeadLetterOutcome::Written;
                match was_dead_lettered {
                    DeadLetterOutcome::Written => {
                        self.tally.dead_lettered += 1;
                        self.notify(Notice::DeadLettered {
                            id: dead_letter_request.id,
                            reason: dead_letter_request.reason,
                        });
                    }
                    DeadLetterOutcome::Gone => self.trimmed(vec![dead_letter_request.id]),
                    DeadLetterOutcome::NotOurs
                        if self.book.get(dead_letter_request.id).is_some_and(|hold| hold.trimmed) =>
                    {
                        self.trimmed(vec![dead_letter_request.id]);
                    }
                    DeadLetterOutcome::NotOurs => {}
                }
                self.put_down(dead_letter_request.id);
            }
            Err(failure) => self.dead_letter_failed(dead_letter_request, failure, now),
        }
    }

    /// A dead letter that the server refuses is tried again ever more slowly, and keeps no other from being written.
    fn dead_letter_failed(&mut self, dead_letter_request: DeadLetterRequest, failure: Failure, now: Instant) {
        let concerns_all = matches!(
            failure.kind,
            FailureKind::Link | FailureKind::NoGroup | FailureKind::Closed | FailureKind::Busy | FailureKind::ReadOnly
        );
        if concerns_all {
            let first = self.dead_letter.failed(now, &mut self.chance);
            if first && matches!(failure.kind, FailureKind::Busy | FailureKind::ReadOnly) {
                self.notify(Notice::DeadLetterFailed { id: dead_letter_request.id, error: failure.error.clone() });
            }
            self.dead_letter_requests.push_front(dead_letter_request);
        } else {
            self.dead_letter.succeeded();
            if !std::mem::replace(&mut self.told_stuck, true) {
                self.notify(Notice::DeadLetterFailed { id: dead_letter_request.id, error: failure.error.clone() });
            }
            let tries = dead_letter_request.tries + 1;
            let pause = FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LAST_RETRY);
            self.stuck
                .insert((now + pause, dead_letter_request.id), DeadLetterRequest { tries, ..dead_letter_request });
        }
        self.settling_failed(failure, false);
    }

    pub(super) fn trimmed(&mut self, ids: Vec<StreamId>) {
        if ids.is_empty() {
            return;
        }
        for id in &ids {
            self.put_down(*id);
        }
        self.tally.trimmed += ids.len() as u64;
        self.notify(Notice::Trimmed { ids });
    }

    /// Takes an entry into hand, unless it is there already. It is certainly ours since `renewed`.
    fn admit(&mut self, arrival: Arrival<P>, renewed: Instant) {
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

    /// An errand of a live consumer failed in a way that may concern all of them.
    pub(super) fn command_failed(&mut self, failure: Failure) {
        let reads = matches!(self.phase, ConsumerPhase::Live | ConsumerPhase::Setup(SetupStep::List));
        match failure.kind {
            FailureKind::Closed => self.close(),
            // A read that is under way hears of it too, and must end first.
            FailureKind::NoGroup if reads && self.reads.is_empty() => {
                self.setup = Pace::default();
                self.phase = ConsumerPhase::Setup(SetupStep::EnsureGroup);
            }
            _ => {}
        }
    }

    /// An errand that settles entries failed: it is repeated, as long as there is a connection to come.
    fn settling_failed(&mut self, failure: Failure, notify: bool) {
        let told = !matches!(failure.kind, FailureKind::Link | FailureKind::NoGroup | FailureKind::Closed);
        if notify && told {
            self.notify(Notice::Trouble { error: failure.error.clone() });
        }
        self.command_failed(failure);
    }

    /// The reader's link is gone, and with it the answer to what it read. What that took is found by listing
    /// what is pending for us, once the old link can take no more.
    fn reader_lost(&mut self, failure: Failure, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.tally.disconnects += 1;
        self.stale_client = self.reader.take().or(self.stale_client);
        self.notify(Notice::Disconnected { cause: failure.error });
        // Before the first look at it: a server that accepts and closes must not be asked in a circle.
        self.setup = Pace::default();
        self.setup.pause(now, &mut self.chance);
        self.phase = ConsumerPhase::Setup(SetupStep::Connect);
    }

    pub(super) fn close(&mut self) {
        if !self.is_closed() {
            self.phase = ConsumerPhase::Closed;
            self.notify(Notice::Closed);
            self.out.push_back(Action::Finish);
        }
    }

    pub(super) fn sweep_pause(&mut self) -> Duration {
        self.terms.sweep_every.mul_f64(0.75 + self.chance.f64() / 2.0)
    }
}

/// What a sweep brought.
#[derive(Debug)]
pub(crate) struct SweepReply {
    /// The server's clock, in milliseconds since the Unix epoch.
    pub(crate) clock: u64,
    /// What other consumers have handed back, with the counts of its deliveries and how long it is idle.
    pub(crate) returned: Vec<(StreamId, u64, Duration)>,
    /// Nothing where the clock was not what it should be.
    pub(crate) claims: Option<ClaimReply>,
}

/// What came of telling the server terms.
#[derive(Debug, Default)]
pub(crate) struct LeaseReply {
    /// Entries that are somebody else's.
    pub(crate) lost: Vec<StreamId>,
    /// Entries that are pending for nobody.
    pub(crate) absent: Vec<StreamId>,
    /// Entries that were removed from the stream.
    pub(crate) gone: Vec<StreamId>,
}

/// A page of entries that others had left.
#[derive(Debug, Default)]
pub(crate) struct ClaimReply {
    pub(crate) cursor: StreamId,
    pub(crate) entries: Vec<ClaimedEntry>,
    /// Entries that were removed from the stream.
    pub(crate) gone: Vec<StreamId>,
}

/// An entry that was idle for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClaimedEntry {
    pub(crate) id: StreamId,
    pub(crate) deliveries: u64,
    /// It was pending for this consumer, and its id is higher than any that this consumer has received.
    pub(crate) is_unread: bool,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadLetterOutcome {
    Written,
    NotOurs,
    Gone,
}
