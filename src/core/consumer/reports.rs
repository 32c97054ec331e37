//! What the server answered.

use super::failure::{Failure, FailureKind};
use super::*;

/// Of an entry that was delivered as often as allowed and is still there.
const UNANSWERED: &str = "its handler never answered";

impl<P> Consumer<P> {
    /// Entries of ours, delivered again.
    pub(crate) fn took(&mut self, answer: Result<Vec<Taken<P>>, Failure>, now: Instant) {
        let asked = std::mem::take(&mut self.taking);
        let doubtful = std::mem::take(&mut self.doubtful_take);
        match answer {
            Ok(taken) => {
                self.take.succeeded();
                let mut gone = Vec::new();
                for entry in taken {
                    match entry {
                        Taken::Entry(arrival) => self.admit(arrival, now),
                        Taken::Gone(id) => gone.push(id),
                    }
                }
                if doubtful {
                    self.doubt();
                }
                self.trimmed(gone);
                // What is in none of the answers is somebody else's by now.
                for (id, _) in asked {
                    if self.book.stage(id) == Some(Stage::Taking) {
                        self.put_down(id);
                    }
                }
                self.go_live_when_recovered();
            }
            Err(failure) => {
                self.take.failed(now, &mut self.chance);
                // Whether they were delivered is unknown; asking again for the same count is the same as once.
                for (id, count) in asked {
                    match self.book.stage(id) {
                        Some(Stage::Taking) => self.book.set(id, Stage::Delayed { due: now }),
                        _ => self.quarantine.back(id, count.saturating_sub(1)),
                    }
                }
                self.errand_failed(failure);
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
        self.arriving.doubtful |= read.is_some_and(|read| read.doubtful);
        // Who has asked for larger ones than it knew asks for fewer of them.
        self.typical = self.typical.max(bytes / entries);
        self.stall.delivered();
        self.next_read(now)
    }

    /// The read that was under way for longest has its answer. The patience with the one behind it begins.
    fn next_answered(&mut self, now: Instant) -> Option<Reading> {
        let answered = self.reads.pop_front();
        let look_at = self.look_after_read(now);
        if let Some(next) = self.reads.front_mut() {
            next.look_at = look_at;
        }
        answered
    }

    /// All that came is decoded.
    pub(crate) fn page_read(&mut self, page: Vec<Arrival<P>>, now: Instant) {
        let Arriving { doubtful, .. } = std::mem::take(&mut self.arriving);
        for arrival in page {
            self.admit(arrival, now);
        }
        if doubtful {
            self.doubt();
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
            FailureKind::Closed | FailureKind::NoGroup => self.errand_failed(failure),
            // The next read tells more.
            FailureKind::Unblocked => self.read.succeeded(),
            _ if first => self.tell(Told::Trouble { error: failure.error }),
            _ => {}
        }
    }

    /// Entries that others left, and where to look next.
    pub(crate) fn swept(&mut self, answer: Result<Swept, Failure>, now: Instant) {
        match answer {
            Ok(Swept { clock, claims }) => {
                self.sweep.succeeded();
                self.sweep_put_off = false;
                self.server_clock.saw(clock, now);
                let Some(claims) = claims else {
                    // Its clock jumped, so idle times tell nothing before every live owner has renewed its leases.
                    self.next_sweep = now + self.terms.min_idle;
                    return;
                };
                self.cursor = claims.cursor;
                let more = claims.cursor != StreamId::MIN;
                let pause = if more { Duration::ZERO } else { self.sweep_pause() };
                self.next_sweep = now + pause;
                let mut entries = 0;
                for (id, deliveries) in claims.entries {
                    entries += usize::from(self.claim(id, deliveries, now));
                }
                if entries > 0 {
                    self.tally.claimed += entries as u64;
                    self.tell(Told::Claimed { entries });
                }
                self.trimmed(claims.gone);
            }
            Err(failure) => {
                self.sweep.failed(now, &mut self.chance);
                self.errand_failed(failure);
            }
        }
    }

    /// Takes an entry over that is ours now and that nobody has in hand. Returns whether that is so.
    pub(super) fn claim(&mut self, id: StreamId, deliveries: u64, now: Instant) -> bool {
        if self.book.contains(id) || self.taking.iter().any(|(taking, _)| *taking == id) {
            return false;
        }
        if deliveries < self.terms.max_deliveries {
            self.quarantine.push(id, deliveries);
        } else {
            // Whoever had it last may have died of it: no handler sees it again.
            self.book.insert(id, deliveries, None, 0, now);
            self.bury(id, DeadLetterReason::MaxDeliveries, Some(UNANSWERED.to_owned()));
        }
        true
    }

    /// An XACK was answered. What was not pending any more is acknowledged too.
    pub(crate) fn acked(&mut self, flight: u64, answer: Result<(), Failure>, now: Instant) {
        match answer {
            Ok(()) => {
                self.ack.succeeded();
                let ids = self.acks.returned(flight);
                self.tally.acked += ids.len() as u64;
                for id in ids {
                    if self.book.stage(id) == Some(Stage::Acking) {
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
    pub(crate) fn leased(&mut self, answer: Result<Renewed, Failure>, now: Instant) {
        let said = std::mem::take(&mut self.saying);
        match answer {
            Ok(Renewed { lost, gone }) => {
                self.lease.succeeded();
                self.doubtful &= !self.unsaid.is_empty();
                self.removed(gone);
                for term in said {
                    // Who parts while a renewal is under way has not been heard yet, and is still among the unsaid. Those
                    // under suspicion have no renewals.
                    if let Some(Stage::Leaving(parting)) = self.book.stage(term.id)
                        && (term.release || parting == Parting::Suspect)
                    {
                        self.tally.handed_back += u64::from(parting == Parting::Unstarted);
                        self.put_down(term.id);
                    }
                }
                for id in lost {
                    self.lost(id);
                }
            }
            Err(failure) => {
                let first = self.lease.failed(now, &mut self.chance);
                self.unsaid.extend(said.iter().map(|term| term.id));
                self.settling_failed(failure, first);
            }
        }
    }

    /// Entries of ours were removed from the stream. What is in hand of them is worth no less to a handler.
    fn removed(&mut self, mut ids: Vec<StreamId>) {
        ids.retain(|id| {
            let stage = self.book.stage(*id);
            let in_hand = matches!(stage, Some(Stage::Waiting | Stage::Running { .. } | Stage::Burying));
            if in_hand && let Some(hold) = self.book.get_mut(*id) {
                hold.trimmed = true;
            }
            stage.is_some_and(|stage| !in_hand && stage != Stage::Acking)
        });
        self.trimmed(ids);
    }

    pub(super) fn lost(&mut self, id: StreamId) {
        match self.book.stage(id) {
            Some(Stage::Running { .. }) => {
                // Its handler may end well: then it is acknowledged all the same. But it is neither retried
                // nor moved to the dead letters by us, for that is for its new owner to decide.
                self.tally.lease_lost += 1;
                if let Some(hold) = self.book.get_mut(id) {
                    hold.lost = true;
                }
                self.out.push_back(Action::SignalLost { id });
                self.tell(Told::LeaseLost { id });
            }
            Some(Stage::Waiting) => {
                self.tally.lease_lost += 1;
                self.lanes.remove(id);
                self.book.remove(id);
            }
            // The answer to the burial that is under way says the same, and only then may the entry come back.
            Some(Stage::Burying) if self.burying == Some(id) => {}
            Some(Stage::Burying) => {
                self.burials.retain(|burial| burial.id != id);
                self.put_down(id);
            }
            Some(Stage::Delayed { .. }) => self.put_down(id),
            Some(Stage::Taking | Stage::Acking | Stage::Leaving(_)) | None => {}
        }
    }

    /// A dead letter is written, or it is none: the entry was not ours, or not there, any more.
    pub(crate) fn buried(&mut self, burial: Burial, answer: Result<Buried, Failure>, now: Instant) {
        self.burying = None;
        match answer {
            Ok(buried) => {
                self.bury.succeeded();
                match buried {
                    Buried::Written => {
                        self.tally.dead_lettered += 1;
                        self.tell(Told::DeadLettered { id: burial.id, reason: burial.reason });
                    }
                    Buried::Gone => self.trimmed(vec![burial.id]),
                    Buried::NotOurs if self.book.get(burial.id).is_some_and(|hold| hold.trimmed) => {
                        self.trimmed(vec![burial.id]);
                    }
                    Buried::NotOurs => {}
                }
                self.put_down(burial.id);
            }
            Err(failure) => {
                let first = self.bury.failed(now, &mut self.chance);
                if !matches!(failure.kind, FailureKind::Link | FailureKind::NoGroup) && first {
                    self.tell(Told::DeadLetterFailed { id: burial.id, error: failure.error.clone() });
                }
                self.burials.push_back(burial);
                self.settling_failed(failure, false);
            }
        }
    }

    pub(super) fn trimmed(&mut self, ids: Vec<StreamId>) {
        if ids.is_empty() {
            return;
        }
        for id in &ids {
            self.quarantine.remove(*id);
            self.put_down(*id);
        }
        self.tally.trimmed += ids.len() as u64;
        self.tell(Told::Trimmed { ids });
    }

    /// Takes an entry into hand, unless it is there already.
    fn admit(&mut self, arrival: Arrival<P>, now: Instant) {
        let Arrival { id, attempt, lane, size, payload } = arrival;
        let known = self.book.get(id).map(|hold| (hold.stage, hold.lane));
        let (lane, again) = match known {
            Some((Stage::Taking, lane)) => (lane, true),
            Some(_) => return,
            None => (lane, false),
        };
        self.typical = (self.typical * 7 + size) / 8;
        let worn_out = attempt > self.terms.max_deliveries;
        // An entry that never gets in line must not close the line behind it.
        let keeps_lane = again || !(worn_out || payload.is_err());
        self.book.insert(id, attempt, lane.filter(|_| keeps_lane), size, now);
        match payload {
            Err(error) => self.bury(id, DeadLetterReason::Decode, Some(error)),
            Ok(_) if worn_out => {
                self.bury(id, DeadLetterReason::MaxDeliveries, Some(UNANSWERED.to_owned()));
            }
            Ok(payload) => {
                let waiting = lanes::Waiting { id, lane, payload };
                // It had its place in its lane all the time.
                if again && lane.is_some() {
                    self.lanes.push_back_in_front(waiting);
                } else {
                    self.lanes.push(waiting);
                }
                if matches!(self.flow, Flow::Draining(_) | Flow::Paused(None)) || self.name == Name::Taken {
                    self.hand_back_waiting();
                }
            }
        }
    }

    /// An errand of a live consumer failed in a way that may concern all of them.
    pub(super) fn errand_failed(&mut self, failure: Failure) {
        let reads = matches!(self.phase, Phase::Live | Phase::Setup(Step::List));
        match failure.kind {
            FailureKind::Closed => self.close(),
            // A read that is under way hears of it too, and must end first.
            FailureKind::NoGroup if reads && self.reads.is_empty() => {
                self.setup = Pace::default();
                self.phase = Phase::Setup(Step::EnsureGroup);
            }
            _ => {}
        }
    }

    /// An errand that settles entries failed: it is repeated, as long as there is a connection to come.
    fn settling_failed(&mut self, failure: Failure, tell: bool) {
        let told = !matches!(failure.kind, FailureKind::Link | FailureKind::NoGroup | FailureKind::Closed);
        if tell && told {
            self.tell(Told::Trouble { error: failure.error.clone() });
        }
        self.errand_failed(failure);
    }

    /// The reader's link is gone, and with it the answer to what it read. What that took is found by listing
    /// what is pending for us, once the old link can take no more.
    fn reader_lost(&mut self, failure: Failure, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.tally.disconnects += 1;
        self.zombie = self.reader.take().or(self.zombie);
        self.tell(Told::Disconnected { cause: failure.error });
        // Before the first look at it: a server that accepts and closes must not be asked in a circle.
        self.setup = Pace::default();
        self.setup.pause(now, &mut self.chance);
        self.phase = Phase::Setup(Step::Connect);
    }

    pub(super) fn close(&mut self) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            self.tell(Told::Closed);
            self.out.push_back(Action::Finish);
        }
    }

    pub(super) fn sweep_pause(&mut self) -> Duration {
        self.terms.sweep_every.mul_f64(0.75 + self.chance.f64() / 2.0)
    }
}

/// What a sweep brought.
#[derive(Debug)]
pub(crate) struct Swept {
    /// The server's clock, in milliseconds since the Unix epoch.
    pub(crate) clock: u64,
    /// Nothing where the clock was not what it should be.
    pub(crate) claims: Option<Claims>,
}

/// What came of telling the server terms.
#[derive(Debug, Default)]
pub(crate) struct Renewed {
    /// Entries that are no longer ours.
    pub(crate) lost: Vec<StreamId>,
    /// Entries that were removed from the stream.
    pub(crate) gone: Vec<StreamId>,
}

/// A page of entries that others had left.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) cursor: StreamId,
    /// With the counts of their deliveries.
    pub(crate) entries: Vec<(StreamId, u64)>,
    /// Entries that were removed from the stream.
    pub(crate) gone: Vec<StreamId>,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buried {
    Written,
    NotOurs,
    Gone,
}
