//! What comes next, and when.

use super::*;

/// At most this many entries in one lease errand: a script holds up the whole server.
const LEASES: usize = 256;

impl<P> Consumer<P> {
    /// The next thing to do, until there is none. To be asked again after every report, and at
    /// [`wake_at`](Self::wake_at).
    pub(crate) fn next(&mut self, now: Instant) -> Option<Action<P>> {
        self.notice_stand_still(now);
        self.looked = Some(now);
        self.ahead = self.read_ahead_of_handlers(now);
        if self.out.is_empty() && !self.is_closed() {
            self.tick(now);
        }
        if let Some(action) = self.out.pop_front() {
            return Some(action);
        }
        if self.is_closed() {
            return None;
        }
        self.next_ack(now)
            .or_else(|| self.next_run(now))
            .or_else(|| self.next_setup(now))
            .or_else(|| self.next_lease(now))
            .or_else(|| self.next_dead_letter(now))
            .or_else(|| self.next_peek(now))
            .or_else(|| self.next_take(now))
            .or_else(|| self.next_unread_renewal(now))
            .or_else(|| self.next_upkeep(now))
            .or_else(|| self.next_sweep(now))
            .or_else(|| self.next_read(now))
    }

    /// When [`next`](Self::next) may have something without anything else happening.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        if !self.out.is_empty() || self.is_closed() {
            return None;
        }
        let open = self.flow == Flow::Open;
        let live = self.phase == ConsumerPhase::Live && open;
        let flow = match self.flow {
            Flow::Open | Flow::Paused(None) => None,
            Flow::Paused(Some(at)) | Flow::Draining(at) => Some(at),
        };
        let setup = (self.phase != ConsumerPhase::Live).then(|| self.setup.wake_at()).flatten();
        let read = if live { self.read.wake_at() } else { None };
        let lease = if self.unrenewed.is_empty() { None } else { self.lease.wake_at() };
        let dead_letter = if self.dead_letter_requests.is_empty() { None } else { self.dead_letter.wake_at() };
        let stuck = self.stuck.keys().next().map(|(at, _)| *at).filter(|_| !self.dead_letter.is_under_way());
        let peek = if self.unkeyed.is_empty() { None } else { self.peek.wake_at() };
        let may_take = open && self.free_to_take() > 0 && !self.take.is_under_way();
        let due = if may_take { self.book.next_due() } else { None };
        let take = if may_take { self.take.wake_at() } else { None };
        let may_sweep = (live || self.sweeps_early()) && self.sweep_count() > 0 && !self.sweep.is_under_way();
        let sweep = may_sweep.then(|| self.sweep.wake_at().map_or(self.next_sweep, |at| at.max(self.next_sweep)));
        let upkeep = self.upkeep_at();
        let beat = (self.book.len() > 0 || self.is_reading()).then_some(self.next_beat);
        let look = self.reads.front().map(|reading| reading.look_at);
        [
            self.acks.wake_at(),
            flow,
            setup,
            read,
            lease,
            dead_letter,
            due.map(|due| take.map_or(due, |at| at.max(due))),
            take,
        ]
        .into_iter()
        .chain([sweep, beat, look, stuck, peek, self.book.next_deadline()])
        .chain(upkeep)
        .flatten()
        // What was due at the last look and was not done waits for something else than the clock.
        .filter(|at| self.looked.is_none_or(|looked| *at > looked))
        .min()
    }

    /// A thread that was busy with something else comes to its sockets later than to this.
    fn notice_late(&mut self, now: Instant) {
        let spare = self.terms.min_idle / 10;
        let Some(looked) = self.looked.filter(|looked| now.saturating_duration_since(*looked) > spare) else { return };
        if self.wake_at().is_some_and(|meant| now.saturating_duration_since(meant.max(looked)) > spare) {
            self.reads.iter_mut().for_each(|read| read.since = read.since.or(Some(looked)));
        }
    }

    /// Whoever was frozen, or starved of its processor, has what it read before, and what waits in its sockets.
    fn notice_stand_still(&mut self, now: Instant) {
        self.notice_late(now);
        let spare = self.terms.min_idle / 2;
        let Some(looked) = self.looked.filter(|looked| now.saturating_duration_since(*looked) > spare) else { return };
        // Who had nothing to do slept for as long as it meant to.
        if self.wake_at().is_none_or(|meant| now.saturating_duration_since(meant.max(looked)) <= spare) {
            return;
        }
        self.suspect_ownership();
        if now.saturating_duration_since(looked) > NAME_HELD / 2 {
            // The name may be another process' by now, to which the server would give our entries.
            self.name_suspect = self.name == Name::Ours;
            self.next_name = now;
        }
        // Others may have stood still with us, on the same thread or machine. They renew what they have first.
        if !self.sweep_deferred {
            self.sweep_deferred = true;
            self.next_sweep = self.next_sweep.max(now + self.terms.min_idle / 3);
        }
        self.reads.iter_mut().for_each(|reading| reading.ownership_suspect = true);
        self.arriving.ownership_suspect = self.arriving.entries > 0;
        self.take_suspect = !self.taking.is_empty();
    }

    pub(super) fn suspect_ownership(&mut self) {
        self.unrenewed.extend(self.book.leased());
        self.ownership_suspect = !self.unrenewed.is_empty();
    }

    /// How many entries may be asked for that were delivered before. A read that waits for new ones does not
    /// keep their room: it may wait for long, and they are due.
    fn free_again(&self) -> usize {
        let second = self.asked().saturating_sub(self.terms.batch);
        self.window().saturating_sub(self.in_hand() + second)
    }

    /// How many entries may be in hand: with handlers, and waiting for one.
    fn window(&self) -> usize {
        self.terms.max_in_flight + self.ahead
    }

    /// How many entries may wait for a handler: as many as handlers take in a moment. Where they are slow, or nothing is
    /// known of them yet, entries are left to peers that are idle.
    fn read_ahead_of_handlers(&self, now: Instant) -> usize {
        let Some(average) = self.handler_time else { return 0 };
        let silent =
            if self.book.running() > 0 { now.saturating_duration_since(self.last_answer) } else { Duration::ZERO };
        let slowest = average.max(silent).max(Duration::from_micros(1));
        let in_time = AHEAD.as_nanos() * self.terms.max_in_flight as u128 / slowest.as_nanos();
        usize::try_from(in_time).unwrap_or(usize::MAX).min(self.terms.batch)
    }

    fn in_hand(&self) -> usize {
        self.book.held() + self.arriving.entries + self.taking.len()
    }

    /// How many entries reads are about to bring that do not wait for any.
    fn asked(&self) -> usize {
        self.reads.iter().filter(|read| !read.blocks).map(|read| read.count).sum()
    }

    /// How many may be taken that are ours: one at least when nothing is ready, for all that is in hand may
    /// wait behind the very one that is due.
    fn free_to_take(&self) -> usize {
        self.free_again().max(usize::from(!self.keyed_queue.has_ready()))
    }

    fn tick(&mut self, now: Instant) {
        match self.flow {
            Flow::Paused(Some(until)) if until <= now => self.resume(now),
            Flow::Draining(deadline) if deadline <= now || self.is_drained() => return self.close(),
            _ => {}
        }
        while let Some((id, run)) = self.book.overdue(now) {
            self.out.push_back(Action::CheckProgress { id, run });
        }
        if self.next_beat <= now {
            self.unread.is_due = true;
            // Each lease is renewed after at most 5/12 of its time, which leaves more than half of it to answers that are late.
            self.next_beat = now + self.terms.min_idle / 4;
            if let Some(before) = now.checked_sub(self.terms.min_idle / 6) {
                self.unrenewed.extend(self.book.aging(before, now));
            }
        }
        self.watch_read(now);
    }

    /// A read has no deadline of its own. One that is late is let go; one that does not answer even then is
    /// on a dead link.
    fn watch_read(&mut self, now: Instant) {
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

    fn is_drained(&self) -> bool {
        // A dead letter that is refused again and again does not hold the end up: the report tells of it.
        let hopeless = self.stuck.values().all(|dead_letter_request| dead_letter_request.tries > 1);
        hopeless
            && self.book.running() == 0
            && self.reads.is_empty()
            && self.arriving.entries == 0
            && self.acks.is_empty()
            && self.unrenewed.is_empty()
            && self.saying.is_empty()
            && self.taking.is_empty()
            && self.dead_letter_requests.is_empty()
            && !self.dead_letter.is_under_way()
    }

    fn next_ack(&mut self, now: Instant) -> Option<Action<P>> {
        let (flight, ids) = self.acks.next(now)?;
        Some(Action::Ack { flight, ids })
    }

    fn next_run(&mut self, now: Instant) -> Option<Action<P>> {
        let allowed = self.allowance.is_none_or(|entries| entries > 0) && !self.ownership_suspect && !self.name_suspect;
        if self.flow != Flow::Open || !allowed || self.book.running() >= self.terms.max_in_flight {
            return None;
        }
        let (id, payload) = self.keyed_queue.pop()?;
        self.allowance = self.allowance.map(|entries| entries - 1);
        if self.book.running() == 0 {
            self.last_answer = now;
        }
        let (attempt, alone) =
            self.book.get(id).map_or((1, false), |hold| (hold.attempts.number, hold.attempts.suspect));
        let run = self.book.run(id, now + self.terms.handler_deadline, now);
        Some(Action::Run { id, run, attempt, alone, payload })
    }

    pub(super) fn next_read(&mut self, now: Instant) -> Option<Action<P>> {
        let may = self.phase == ConsumerPhase::Live && self.flow == Flow::Open && self.has_room();
        if may && self.reads.is_empty() {
            self.make_room();
        }
        let count = may.then(|| if self.reads.is_empty() { self.first_read(now) } else { self.read_ahead() })??;
        let (blocks, look_at) = (self.streak < self.terms.backlog, self.check_read_liveness(now));
        self.read.start();
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
    fn has_room(&mut self) -> bool {
        let without = self.book.without_payload();
        if without < MOST_WITHOUT_PAYLOAD / 4 {
            self.told_backlog = false;
        } else if without >= MOST_WITHOUT_PAYLOAD / 2 && !std::mem::replace(&mut self.told_backlog, true) {
            self.notify(Notice::ManyDelayed { entries: without, most: MOST_WITHOUT_PAYLOAD });
        }
        without < MOST_WITHOUT_PAYLOAD && self.book.len() - without < MOST
    }

    /// While handlers are idle and all that is in hand waits behind other entries of its keys, it gives its room up for
    /// entries of other keys.
    fn make_room(&mut self) {
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
    fn first_read(&self, now: Instant) -> Option<usize> {
        let free = self.free_again();
        // Many small pages cost more than a few large ones: only who has nothing to do reads a small one.
        let worth_it = free > 0 && (free >= self.terms.batch.div_ceil(2) || self.keyed_queue.is_empty());
        let free_bytes = self.free_bytes();
        let room = free_bytes > 0 || self.book.held() + self.arriving.entries == 0;
        if !self.read.may_start(now) || !worth_it || !room {
            return None;
        }
        // One entry tells how large they are.
        let fitting = free_bytes.min(self.page_bytes).checked_div(self.typical).unwrap_or(1);
        Some(free.min(self.terms.batch).min(fitting).max(1))
    }

    /// The same behind a read that is under way. Only who keeps up with full pages reads two ahead, or entries
    /// would wait here for a handler that others have. Where there is an order, two answers must not change places,
    /// as they do when a cluster has one of them asked for again.
    fn read_ahead(&self) -> Option<usize> {
        let (asked, batch) = (self.asked(), self.terms.batch);
        let keeps_up = self.keeps_up && self.streak >= self.terms.backlog && self.read.wake_at().is_none();
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

    fn free_bytes(&self) -> usize {
        self.terms.max_bytes.saturating_sub(self.book.bytes() + self.arriving.bytes)
    }

    fn next_lease(&mut self, now: Instant) -> Option<Action<P>> {
        if !self.lease.may_start(now) {
            return None;
        }
        while self.saying.len() < LEASES
            && let Some(id) = self.unrenewed.pop_front()
        {
            // By now the entry may be settled, or its terms may be others.
            if let Some(term) = self.term(id, now) {
                self.saying.push(term);
            }
        }
        if self.saying.is_empty() {
            self.ownership_suspect = false;
            return None;
        }
        self.lease.start();
        self.said_at = now;
        Some(Action::Lease { terms: self.saying.clone() })
    }

    /// What the server is to know about an entry: a lease that begins now, a delay, or that anybody may have
    /// it at once.
    fn term(&self, id: StreamId, now: Instant) -> Option<LeaseTerm> {
        let min_idle = self.terms.min_idle;
        let until = |due: Instant| min_idle.saturating_sub(due.saturating_duration_since(now));
        let hold = self.book.get(id)?;
        let attempts = hold.attempts;
        // What is known to have ended in time is told as it is, so that whoever gets the entry next knows it too.
        let ended = if attempts.started == 0 { 0 } else { attempts.deliveries() };
        let (idle, count) = match hold.stage {
            _ if hold.lost || hold.trimmed => return None,
            // Nothing can be done about what a handler works on; what it answers is told then.
            EntryStage::KeyedEntry | EntryStage::Running { .. } if hold.dropped => return None,
            EntryStage::KeyedEntry | EntryStage::Running { .. } | EntryStage::Burying | EntryStage::Parked => {
                (Duration::ZERO, None)
            }
            EntryStage::Delayed { .. } if hold.offered => (min_idle, Some(ended)),
            EntryStage::Delayed { due } => (until(due), Some(ended)),
            EntryStage::Leaving(ReleaseReason::Suspect) => (min_idle, Some(attempts.deliveries())),
            EntryStage::Leaving(ReleaseReason::Recorded { due }) => (until(due), Some(ended)),
            EntryStage::Leaving(ReleaseReason::Unstarted | ReleaseReason::Released) => (min_idle, Some(ended)),
            EntryStage::Taking | EntryStage::Acking => return None,
        };
        let returned = matches!(
            hold.stage,
            EntryStage::Leaving(ReleaseReason::Unstarted | ReleaseReason::Released | ReleaseReason::Recorded { .. })
        );
        Some(LeaseTerm { id, idle, count, returned, forced: hold.dropped && attempts.started == 0 })
    }

    /// What has to be renewed by somebody else, because this consumer's thread does not come to it: entries of which the
    /// server last confirmed a lease that began at `before` or earlier.
    pub(crate) fn renewals(&self, before: Instant, now: Instant) -> Vec<LeaseTerm> {
        self.book.overdue_leases(before, now).into_iter().filter_map(|id| self.term(id, now)).collect()
    }

    /// The server has confirmed renewals that it was asked for at `sent`.
    pub(crate) fn renewed(&mut self, ids: impl IntoIterator<Item = StreamId>, sent: Instant) {
        ids.into_iter().for_each(|id| self.book.confirm(id, sent));
    }

    fn next_dead_letter(&mut self, now: Instant) -> Option<Action<P>> {
        if !self.dead_letter.may_start(now) {
            return None;
        }
        let due = self.stuck.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        let stuck = if due { self.stuck.pop_first().map(|(_, dead_letter_request)| dead_letter_request) } else { None };
        let dead_letter_request = stuck.or_else(|| self.dead_letter_requests.pop_front())?;
        self.dead_lettering = Some(dead_letter_request.id);
        self.dead_letter.start();
        Some(Action::DeadLetter(dead_letter_request))
    }

    fn next_peek(&mut self, now: Instant) -> Option<Action<P>> {
        if matches!(self.flow, Flow::Draining(_)) || self.unkeyed.is_empty() || !self.peek.may_start(now) {
            return None;
        }
        let ids: Vec<StreamId> = self.unkeyed.drain(..self.unkeyed.len().min(CHUNK)).collect();
        self.keying.clone_from(&ids);
        self.peek.start();
        Some(Action::Peek { ids })
    }

    fn next_take(&mut self, now: Instant) -> Option<Action<P>> {
        if self.flow != Flow::Open || !self.take.may_start(now) {
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
        self.take.start();
        self.took_at = now;
        Some(Action::Take { entries })
    }

    /// Whether the attempt at a suspect has an outcome that the server knows. What was handled and not acknowledged yet
    /// comes back, if the next one takes the process down.
    fn has_ended(&self, suspect: StreamId) -> bool {
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
    fn choose(&mut self, now: Instant) -> Vec<(StreamId, u64)> {
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
    fn sweeps_early(&self) -> bool {
        let listed =
            self.phase == ConsumerPhase::Setup(SetupStep::List) && self.recovery.listed_all && self.flow == Flow::Open;
        listed && self.terms.ordered && !self.recovery.returned_all
    }

    fn sweep_count(&self) -> usize {
        let room = if self.sweeps_early() { CHUNK } else { self.free_again() };
        CHUNK.saturating_sub(self.keyed_queue.turns()).min(room)
    }

    fn next_sweep(&mut self, now: Instant) -> Option<Action<P>> {
        let early = self.sweeps_early();
        let may = (early || self.phase == ConsumerPhase::Live) && self.flow == Flow::Open && self.sweep.may_start(now);
        let count = if early { CHUNK } else { self.sweep_count() };
        if !may || (self.next_sweep > now && !early) || count == 0 {
            return None;
        }
        self.sweep.start();
        self.swept_at = now;
        let min_idle = self.server_clock.claim_after(self.terms.min_idle);
        let clock = self.server_clock.expected(self.terms.min_idle, now);
        let unread = self.received.and_then(StreamId::next);
        Some(Action::Sweep { cursor: self.cursor, count, min_idle, clock, unread })
    }

    fn next_upkeep(&mut self, now: Instant) -> Option<Action<P>> {
        let named = self.name == Name::Ours && self.phase != ConsumerPhase::Setup(SetupStep::Name);
        if named && self.next_name <= now && self.rename.may_start(now) {
            self.next_name = now + NAME_HELD / 3;
            self.rename.start();
            return Some(Action::HoldName);
        }
        if self.phase != ConsumerPhase::Live || matches!(self.flow, Flow::Draining(_)) {
            return None;
        }
        if self.next_check <= now && self.look.may_start(now) {
            // A group that nothing happens to is looked at less often: the server lists all groups of the stream for it.
            let idle = self.book.len() == 0 && self.tally.read == self.read_at_look;
            self.read_at_look = self.tally.read;
            self.next_check =
                now + if idle { self.terms.look_every.max(self.terms.idle_look) } else { self.terms.look_every };
            self.look.start();
            return Some(Action::RefreshTopology {
                delivered: self.group_position.map(|group_position| group_position.last_id),
            });
        }
        let idle = self.terms.forget_after?;
        if self.next_forget > now || !self.forget.may_start(now) {
            return None;
        }
        self.next_forget = now + FORGET_EVERY.min(idle);
        self.forget.start();
        Some(Action::Forget { idle })
    }

    fn upkeep_at(&self) -> [Option<Instant>; 3] {
        let at = |pace: &Pace, next: Instant, wanted: bool| {
            (wanted && self.phase == ConsumerPhase::Live && !pace.is_under_way())
                .then(|| pace.wake_at().map_or(next, |pause| pause.max(next)))
        };
        let works = !matches!(self.flow, Flow::Draining(_));
        [
            (self.name == Name::Ours && !self.rename.is_under_way())
                .then(|| self.rename.wake_at().map_or(self.next_name, |pause| pause.max(self.next_name))),
            at(&self.look, self.next_check, works),
            at(&self.forget, self.next_forget, works && self.terms.forget_after.is_some()),
        ]
    }
}
