//! Entries that were pending before: taken over from other consumers, or delivered again.

use super::failure::Failure;
use super::*;

/// Of an entry that was delivered as often as allowed and is still there.
const UNANSWERED: &str = "its handler never answered";

impl<P> Consumer<P> {
    pub(super) fn next_peek(&mut self, now: Instant) -> Option<Action<P>> {
        if matches!(self.flow, Flow::Draining(_)) || self.unkeyed.is_empty() || !self.paces.peek.may_start(now) {
            return None;
        }
        let ids: Vec<StreamId> = self.unkeyed.drain(..self.unkeyed.len().min(CHUNK)).collect();
        self.keying.clone_from(&ids);
        self.paces.peek.start();
        Some(Action::Peek { ids })
    }

    pub(super) fn next_take(&mut self, now: Instant) -> Option<Action<P>> {
        if self.flow != Flow::Open || !self.paces.take.may_start(now) {
            return None;
        }
        for id in self.book.due(now, CHUNK) {
            self.park(id);
        }
        if self.suspect.is_some_and(|suspect| self.has_ended(suspect)) {
            self.suspect = None;
        }
        let entries = self.choose(now);
        if entries.is_empty() {
            return None;
        }
        for (id, _) in &entries {
            self.keyed_queue.unpark(*id);
            self.book.set(*id, EntryStage::Taking);
        }
        self.taking.clone_from(&entries);
        self.paces.take.start();
        self.took_at = now;
        Some(Action::Take { entries })
    }

    /// Whether the attempt at a suspect has an outcome that the server knows. What was handled and not acknowledged yet
    /// comes back, if the next one takes the process down.
    pub(super) fn has_ended(&self, suspect: StreamId) -> bool {
        match self.book.stage(suspect) {
            Some(EntryStage::Taking | EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Acking) => {
                false
            }
            // Its dead letter cannot be written: nobody else has to wait for that.
            Some(EntryStage::Burying) => self.stuck.keys().any(|(_, id)| *id == suspect),
            _ => true,
        }
    }

    /// The parked entries that may be delivered again now, with the counts that the server is to have. A suspect is tried
    /// with no other suspect beside it, and its attempt is counted before it starts: if it takes this process down, only
    /// its own count has grown. All others go at full width.
    pub(super) fn choose(&mut self, now: Instant) -> Vec<(StreamId, u64)> {
        let most = self.free_to_take().min(CHUNK);
        let (mut bytes, mut free_bytes) = (0, self.free_bytes());
        let (mut entries, mut later, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        let empty = self.book.held() + self.arriving.entries == 0;
        for id in self.keyed_queue.parked().take(LOOK) {
            if entries.len() >= most {
                break;
            }
            let Some(hold) = self.book.get(id) else { continue };
            if let Some(due) = hold.due.filter(|due| *due > now) {
                later.push((id, due));
                continue;
            }
            let suspect = hold.attempts.suspect;
            if hold.dropped {
                dropped.push(id);
                continue;
            }
            if suspect && self.suspect.is_some() {
                continue;
            }
            // How large it is is known, or likely; one that is too large goes alone.
            bytes += if hold.size > 0 { hold.size } else { self.typical.max(1) };
            let first = entries.is_empty() && (empty || (self.book.running() == 0 && !self.keyed_queue.has_ready()));
            if bytes > free_bytes && !first {
                break;
            }
            if hold.size == 0 && self.typical == 0 {
                // One entry tells how large they are.
                free_bytes = bytes;
            }
            if suspect {
                self.suspect = Some(id);
            }
            entries.push((id, hold.attempts.deliveries() + u64::from(suspect && !hold.attempts.recorded)));
        }
        if self.unrenewed.is_empty() && self.saying.is_empty() {
            // They are pending for nobody before the server has heard of them.
            self.unrenewed.extend(dropped);
        }
        for (id, due) in later {
            self.keyed_queue.unpark(id);
            self.book.set(id, EntryStage::Delayed { due });
        }
        entries
    }

    /// With an order, what others have handed back comes before what is new.
    pub(super) fn sweeps_early(&self) -> bool {
        let listed =
            self.phase == ConsumerPhase::Setup(SetupStep::List) && self.recovery.listed_all && self.flow == Flow::Open;
        listed && self.terms.ordered && !self.recovery.returned_all
    }

    pub(super) fn sweep_count(&self) -> usize {
        let room = if self.sweeps_early() { CHUNK } else { self.free_again() };
        CHUNK.saturating_sub(self.keyed_queue.turns()).min(room)
    }

    pub(super) fn next_sweep(&mut self, now: Instant) -> Option<Action<P>> {
        let early = self.sweeps_early();
        let may =
            (early || self.phase == ConsumerPhase::Live) && self.flow == Flow::Open && self.paces.sweep.may_start(now);
        let count = if early { CHUNK } else { self.sweep_count() };
        if !may || (self.next_sweep > now && !early) || count == 0 {
            return None;
        }
        self.paces.sweep.start();
        self.swept_at = now;
        let min_idle = self.server_clock.claim_after(self.terms.min_idle);
        let clock = self.server_clock.expected(self.terms.min_idle, now);
        let unread = self.received.and_then(StreamId::next);
        Some(Action::Sweep { cursor: self.cursor, count, min_idle, clock, unread })
    }

    /// Entries of ours, delivered again.
    pub(crate) fn took(&mut self, answer: Result<Vec<TakeReply<P>>, Failure>, now: Instant) {
        let asked = std::mem::take(&mut self.taking);
        let ownership_suspect = std::mem::take(&mut self.take_suspect);
        match answer {
            Ok(taken) => {
                self.paces.take.succeeded();
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
                self.removed(gone);
                // What is in none of the answers is somebody else's by now.
                for (id, _) in asked {
                    if self.book.stage(id) == Some(EntryStage::Taking) {
                        self.put_down(id);
                    }
                }
            }
            Err(failure) => {
                self.paces.take.failed(now, &mut self.chance);
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
                self.paces.peek.succeeded();
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
                self.paces.peek.failed(now, &mut self.chance);
                asked.into_iter().rev().for_each(|id| self.unkeyed.push_front(id));
                self.command_failed(failure);
            }
        }
    }

    /// Entries that others left, and where to look next.
    pub(crate) fn swept(&mut self, answer: Result<SweepReply, Failure>, now: Instant) {
        match answer {
            Ok(SweepReply { clock, returned, claims }) => {
                self.paces.sweep.succeeded();
                self.sweep_deferred = false;
                self.server_clock.saw(clock, self.swept_at, now);
                self.notice_distance();
                let Some(claims) = claims else {
                    self.took_back(returned, now);
                    // Its clock jumped, so idle times tell nothing before every live owner has renewed its leases.
                    self.next_sweep = now + self.terms.min_idle;
                    self.go_live_when_recovered();
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
                // Those with a handler keep their place until it answers.
                let (in_hand, others) = claims.gone.into_iter().partition(|id| self.book.contains(*id));
                self.removed(in_hand);
                self.trimmed(others);
                self.go_live_when_recovered();
            }
            Err(failure) => {
                self.paces.sweep.failed(now, &mut self.chance);
                // Entries of others may be this consumer's now.
                self.unread.sweep_failed(now + self.server_clock.claim_after(self.terms.min_idle));
                self.command_failed(failure);
            }
        }
    }

    /// Where answers take so long that leases cannot be renewed in `min_idle`, entries are taken over later, and whoever
    /// asked for events is told.
    pub(super) fn notice_distance(&mut self) {
        let (round_trip, min_idle) = (self.server_clock.round_trip(), self.terms.min_idle);
        let claims_after = self.server_clock.claim_after(min_idle);
        if claims_after == min_idle {
            self.notified.distance = false;
        } else if !std::mem::replace(&mut self.notified.distance, true) {
            self.notify(Notice::SlowRoundTrips { round_trip, claims_after });
        }
    }

    /// Takes over what other consumers have handed back: its attempts are known, and so is when the next one is due.
    pub(super) fn took_back(&mut self, returned: Vec<(StreamId, u64, Duration)>, now: Instant) -> usize {
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

    pub(super) fn sweep_pause(&mut self) -> Duration {
        self.terms.sweep_every.mul_f64(0.75 + self.chance.f64() / 2.0)
    }
}
