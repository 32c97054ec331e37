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
            .or_else(|| self.next_burial(now))
            .or_else(|| self.next_take(now))
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
        let live = self.phase == Phase::Live && open;
        let flow = match self.flow {
            Flow::Open | Flow::Paused(None) => None,
            Flow::Paused(Some(at)) | Flow::Draining(at) => Some(at),
        };
        let setup = (self.phase != Phase::Live).then(|| self.setup.wake_at()).flatten();
        let read = if live { self.read.wake_at() } else { None };
        let lease = if self.unsaid.is_empty() { None } else { self.lease.wake_at() };
        let bury = if self.burials.is_empty() { None } else { self.bury.wake_at() };
        let may_take = open && self.free_to_take() > 0 && !self.take.is_under_way();
        let due = if may_take { self.book.next_due() } else { None };
        let take = if may_take { self.take.wake_at() } else { None };
        let may_sweep = live && self.free_again() > 0 && !self.sweep.is_under_way();
        let sweep = may_sweep.then(|| self.sweep.wake_at().map_or(self.next_sweep, |at| at.max(self.next_sweep)));
        let upkeep = self.upkeep_at();
        let beat = (self.book.len() > 0).then_some(self.next_beat);
        let look = self.reads.front().map(|reading| reading.look_at);
        [self.acks.wake_at(), flow, setup, read, lease, bury, due.map(|due| take.map_or(due, |at| at.max(due))), take]
            .into_iter()
            .chain([sweep, beat, look, self.book.next_deadline()])
            .chain(upkeep)
            .flatten()
            // What was due at the last look and was not done waits for something else than the clock.
            .filter(|at| self.looked.is_none_or(|looked| *at > looked))
            .min()
    }

    /// Whoever was frozen, or starved of its processor, has what it read before, and what waits in its sockets.
    fn notice_stand_still(&mut self, now: Instant) {
        let spare = self.terms.min_idle / 2;
        let Some(looked) = self.looked.filter(|looked| now.saturating_duration_since(*looked) > spare) else { return };
        // Who had nothing to do slept for as long as it meant to.
        if self.wake_at().is_none_or(|meant| now.saturating_duration_since(meant.max(looked)) <= spare) {
            return;
        }
        self.doubt();
        // Others may have stood still with us, on the same thread or machine. They renew what they have first.
        if !self.sweep_put_off {
            self.sweep_put_off = true;
            self.next_sweep = self.next_sweep.max(now + self.terms.min_idle / 3);
        }
        self.reads.iter_mut().for_each(|reading| reading.doubtful = true);
        self.arriving.doubtful = self.arriving.entries > 0;
        self.doubtful_take = !self.taking.is_empty();
    }

    pub(super) fn doubt(&mut self) {
        self.unsaid.extend(self.book.leased());
        self.doubtful = !self.unsaid.is_empty();
    }

    /// How many entries may be asked for that were delivered before. A read that waits for new ones does not
    /// keep their room: it may wait for long, and they are due.
    fn free_again(&self) -> usize {
        let second = self.asked().saturating_sub(self.terms.batch);
        self.terms.window().saturating_sub(self.in_hand() + second)
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
        self.free_again().max(usize::from(!self.lanes.has_ready()))
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
            let beat = self.terms.min_idle / 3;
            self.next_beat = now + beat;
            if let Some(before) = now.checked_sub(self.terms.min_idle / 4) {
                self.unsaid.extend(self.book.aging(before, now));
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
                self.out.push_back(Action::Sever { why });
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.book.running() == 0
            && self.reads.is_empty()
            && self.arriving.entries == 0
            && self.acks.is_empty()
            && self.unsaid.is_empty()
            && self.saying.is_empty()
            && self.taking.is_empty()
            && self.burials.is_empty()
            && !self.bury.is_under_way()
    }

    fn next_ack(&mut self, now: Instant) -> Option<Action<P>> {
        let (flight, ids) = self.acks.next(now)?;
        Some(Action::Ack { flight, ids })
    }

    fn next_run(&mut self, now: Instant) -> Option<Action<P>> {
        let allowed = self.allowance.is_none_or(|entries| entries > 0) && !self.doubtful;
        if self.flow != Flow::Open || !allowed || self.book.running() >= self.terms.max_in_flight {
            return None;
        }
        let lanes::Waiting { id, payload, .. } = self.lanes.pop()?;
        self.allowance = self.allowance.map(|entries| entries - 1);
        let attempt = self.book.get(id).map_or(1, |hold| hold.attempt);
        let run = self.book.run(id, now + self.terms.handler_deadline);
        Some(Action::Run { id, run, attempt, payload })
    }

    pub(super) fn next_read(&mut self, now: Instant) -> Option<Action<P>> {
        let may = self.phase == Phase::Live && self.flow == Flow::Open && self.book.len() < MOST;
        let count = may.then(|| if self.reads.is_empty() { self.first_read(now) } else { self.read_ahead() })??;
        let (blocks, look_at) = (self.streak < self.terms.backlog, self.look_after_read(now));
        self.read.start();
        self.reads.push_back(Reading { count, blocks, look_at, unblocked: false, doubtful: false });
        Some(Action::Read { count, blocks })
    }

    /// How many entries to ask for, where nothing is asked for yet.
    fn first_read(&self, now: Instant) -> Option<usize> {
        let free = self.free_again();
        // Many small pages cost more than a few large ones: only who has nothing to do reads a small one.
        let worth_it = free > 0 && (free >= self.terms.batch.div_ceil(2) || self.lanes.is_empty());
        let free_bytes = self.free_bytes();
        let room = free_bytes > 0 || self.book.held() + self.arriving.entries == 0;
        if !self.read.may_start(now) || !worth_it || !room {
            return None;
        }
        let fitting = free_bytes.checked_div(self.typical).unwrap_or(usize::MAX);
        Some(free.min(self.terms.batch).min(fitting).max(1))
    }

    /// The same behind a read that is under way. Only who keeps up with full pages reads two ahead, or entries
    /// would wait here for a handler that others have. Where there is an order, two answers must not change places,
    /// as they do when a cluster has one of them asked for again.
    fn read_ahead(&self) -> Option<usize> {
        let (asked, batch) = (self.asked(), self.terms.batch);
        let keeps_up = self.keeps_up && self.streak >= self.terms.backlog && self.read.wake_at().is_none();
        let behind_none = self.reads.len() < READS && self.reads.iter().all(|read| !read.blocks);
        let room = self.in_hand() + asked <= self.terms.window()
            && self.free_bytes() >= (asked + batch).saturating_mul(self.typical.max(1));
        (keeps_up && behind_none && room && !self.terms.ordered).then_some(batch)
    }

    /// When somebody looks after a read that is the next to be answered from now on.
    pub(super) fn look_after_read(&self, now: Instant) -> Instant {
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
            && let Some(id) = self.unsaid.pop_front()
        {
            // By now the entry may be settled, or its terms may be others.
            if let Some(term) = self.term(id, now) {
                self.saying.push(term);
            }
        }
        if self.saying.is_empty() {
            self.doubtful = false;
            return None;
        }
        self.lease.start();
        Some(Action::Lease { terms: self.saying.clone() })
    }

    /// What the server is to know about an entry: a lease that begins now, a delay, or that anybody may have
    /// it at once.
    fn term(&mut self, id: StreamId, now: Instant) -> Option<LeaseTerm> {
        let min_idle = self.terms.min_idle;
        let hold = self.book.get_mut(id)?;
        let (idle, count) = match hold.stage {
            _ if hold.lost || hold.trimmed => return None,
            Stage::Waiting | Stage::Running { .. } | Stage::Burying => (Duration::ZERO, None),
            Stage::Delayed { due } => {
                let left = due.saturating_duration_since(now);
                let uncounted = std::mem::take(&mut hold.uncounted);
                (min_idle.saturating_sub(left), uncounted.then_some(hold.attempt))
            }
            Stage::Leaving(Parting::Suspect) => (min_idle, None),
            Stage::Leaving(Parting::Unstarted | Parting::Released) => (min_idle, Some(hold.attempt.saturating_sub(1))),
            Stage::Taking | Stage::Acking => return None,
        };
        let release = matches!(hold.stage, Stage::Leaving(Parting::Unstarted | Parting::Released));
        Some(LeaseTerm { id, idle, count, release })
    }

    fn next_burial(&mut self, now: Instant) -> Option<Action<P>> {
        if !self.bury.may_start(now) {
            return None;
        }
        let burial = self.burials.pop_front()?;
        self.burying = Some(burial.id);
        self.bury.start();
        Some(Action::Bury(burial))
    }

    fn next_take(&mut self, now: Instant) -> Option<Action<P>> {
        if self.flow != Flow::Open || !self.take.may_start(now) {
            return None;
        }
        // What was handled and not acknowledged yet comes back, if the next one takes the process down.
        if let Some(outside) = self.quarantine.outside()
            && !matches!(
                self.book.stage(outside),
                Some(Stage::Waiting | Stage::Running { .. } | Stage::Acking | Stage::Burying)
            )
        {
            self.quarantine.settled(outside);
        }
        let most = self.free_to_take().min(CHUNK);
        // A delivery counts even if no handler ever starts: no more than there are handlers to start.
        let idle = self.terms.max_in_flight.saturating_sub(self.book.running()).max(1);
        let mut entries: Vec<(StreamId, u64)> = Vec::new();
        for id in self.book.due(now, most.min(idle)) {
            let attempt = self.book.get(id).map_or(0, |hold| hold.attempt);
            self.book.set(id, Stage::Taking);
            entries.push((id, attempt + 1));
        }
        for (id, deliveries) in self.quarantine.let_out(most - entries.len(), self.terms.ordered) {
            // It may have come into hand on another way meanwhile.
            if !self.book.contains(id) {
                entries.push((id, deliveries + 1));
            }
        }
        if entries.is_empty() {
            self.go_live_when_recovered();
            return self.out.pop_front();
        }
        self.taking.clone_from(&entries);
        self.take.start();
        Some(Action::Take { entries })
    }

    fn next_sweep(&mut self, now: Instant) -> Option<Action<P>> {
        let may = self.phase == Phase::Live && self.flow == Flow::Open && self.sweep.may_start(now);
        let count = CHUNK.saturating_sub(self.quarantine.len()).min(self.free_again());
        if !may || self.next_sweep > now || count == 0 {
            return None;
        }
        self.sweep.start();
        Some(Action::Sweep { cursor: self.cursor, count, clock: self.server_clock.expected(now) })
    }

    fn next_upkeep(&mut self, now: Instant) -> Option<Action<P>> {
        if self.phase != Phase::Live {
            return None;
        }
        if self.next_name <= now && self.rename.may_start(now) {
            self.next_name = now + NAME_HELD / 3;
            self.rename.start();
            return Some(Action::HoldName);
        }
        if matches!(self.flow, Flow::Draining(_)) {
            return None;
        }
        if self.next_look <= now && self.look.may_start(now) {
            self.next_look = now + self.terms.look_every;
            self.look.start();
            return Some(Action::Look { delivered: self.ground.map(|ground| ground.last_id) });
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
            (wanted && self.phase == Phase::Live && !pace.is_under_way())
                .then(|| pace.wake_at().map_or(next, |pause| pause.max(next)))
        };
        let works = !matches!(self.flow, Flow::Draining(_));
        [
            at(&self.rename, self.next_name, true),
            at(&self.look, self.next_look, works),
            at(&self.forget, self.next_forget, works && self.terms.forget_after.is_some()),
        ]
    }
}
