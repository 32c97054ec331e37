//! What comes next, and when.

use super::*;

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
        let setup = (self.phase != ConsumerPhase::Live).then(|| self.paces.setup.wake_at()).flatten();
        let read = if live { self.paces.read.wake_at() } else { None };
        let lease = if self.unrenewed.is_empty() { None } else { self.paces.lease.wake_at() };
        let dead_letter = if self.dead_letter_requests.is_empty() { None } else { self.paces.dead_letter.wake_at() };
        let stuck = self.stuck.keys().next().map(|(at, _)| *at).filter(|_| !self.paces.dead_letter.is_under_way());
        let peek = if self.unkeyed.is_empty() { None } else { self.paces.peek.wake_at() };
        let may_take = open && self.free_to_take() > 0 && !self.paces.take.is_under_way();
        let due = if may_take { self.book.next_due() } else { None };
        let take = if may_take { self.paces.take.wake_at() } else { None };
        let may_sweep = (live || self.sweeps_early()) && self.sweep_count() > 0 && !self.paces.sweep.is_under_way();
        let sweep = may_sweep.then(|| self.paces.sweep.wake_at().map_or(self.next_sweep, |at| at.max(self.next_sweep)));
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
    pub(super) fn notice_late(&mut self, now: Instant) {
        let spare = self.terms.min_idle / 10;
        let Some(looked) = self.looked.filter(|looked| now.saturating_duration_since(*looked) > spare) else { return };
        if self.wake_at().is_some_and(|meant| now.saturating_duration_since(meant.max(looked)) > spare) {
            self.reads.iter_mut().for_each(|read| read.since = read.since.or(Some(looked)));
        }
    }

    /// Whoever was frozen, or starved of its processor, has what it read before, and what waits in its sockets.
    pub(super) fn notice_stand_still(&mut self, now: Instant) {
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
    pub(super) fn free_again(&self) -> usize {
        let second = self.asked().saturating_sub(self.terms.batch);
        self.window().saturating_sub(self.in_hand() + second)
    }

    /// How many entries may be in hand: with handlers, and waiting for one.
    pub(super) fn window(&self) -> usize {
        self.terms.max_in_flight + self.ahead
    }

    /// How many entries may wait for a handler: as many as handlers take in a moment. Where they are slow, or nothing is
    /// known of them yet, entries are left to peers that are idle.
    pub(super) fn read_ahead_of_handlers(&self, now: Instant) -> usize {
        let Some(average) = self.handler_time else { return 0 };
        let silent =
            if self.book.running() > 0 { now.saturating_duration_since(self.last_answer) } else { Duration::ZERO };
        let slowest = average.max(silent).max(Duration::from_micros(1));
        let in_time = AHEAD.as_nanos() * self.terms.max_in_flight as u128 / slowest.as_nanos();
        usize::try_from(in_time).unwrap_or(usize::MAX).min(self.terms.batch)
    }

    pub(super) fn in_hand(&self) -> usize {
        self.book.held() + self.arriving.entries + self.taking.len()
    }

    /// How many may be taken that are ours: one at least when nothing is ready, for all that is in hand may
    /// wait behind the very one that is due.
    pub(super) fn free_to_take(&self) -> usize {
        self.free_again().max(usize::from(!self.keyed_queue.has_ready()))
    }

    pub(super) fn tick(&mut self, now: Instant) {
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

    pub(super) fn is_drained(&self) -> bool {
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
            && !self.paces.dead_letter.is_under_way()
    }

    pub(super) fn next_ack(&mut self, now: Instant) -> Option<Action<P>> {
        let (flight, ids) = self.acks.next(now)?;
        Some(Action::Ack { flight, ids })
    }

    pub(super) fn next_run(&mut self, now: Instant) -> Option<Action<P>> {
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

    pub(super) fn next_dead_letter(&mut self, now: Instant) -> Option<Action<P>> {
        if !self.paces.dead_letter.may_start(now) {
            return None;
        }
        let due = self.stuck.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        let stuck = if due { self.stuck.pop_first().map(|(_, dead_letter_request)| dead_letter_request) } else { None };
        let dead_letter_request = stuck.or_else(|| self.dead_letter_requests.pop_front())?;
        self.dead_lettering = Some(dead_letter_request.id);
        self.paces.dead_letter.start();
        Some(Action::DeadLetter(dead_letter_request))
    }

    pub(super) fn next_upkeep(&mut self, now: Instant) -> Option<Action<P>> {
        let named = self.name == Name::Ours && self.phase != ConsumerPhase::Setup(SetupStep::Name);
        if named && self.next_name <= now && self.paces.rename.may_start(now) {
            self.next_name = now + NAME_HELD / 3;
            self.paces.rename.start();
            return Some(Action::HoldName);
        }
        if self.phase != ConsumerPhase::Live || matches!(self.flow, Flow::Draining(_)) {
            return None;
        }
        if self.next_check <= now && self.paces.look.may_start(now) {
            // A group that nothing happens to is looked at less often: the server lists all groups of the stream for it.
            let idle = self.book.len() == 0 && self.tally.read == self.read_at_look;
            self.read_at_look = self.tally.read;
            self.next_check =
                now + if idle { self.terms.look_every.max(self.terms.idle_look) } else { self.terms.look_every };
            self.paces.look.start();
            return Some(Action::RefreshTopology {
                delivered: self.group_position.map(|group_position| group_position.last_id),
            });
        }
        let idle = self.terms.forget_after?;
        if self.next_forget > now || !self.paces.forget.may_start(now) {
            return None;
        }
        self.next_forget = now + FORGET_EVERY.min(idle);
        self.paces.forget.start();
        Some(Action::Forget { idle })
    }

    pub(super) fn upkeep_at(&self) -> [Option<Instant>; 3] {
        let at = |pace: &Pace, next: Instant, wanted: bool| {
            (wanted && self.phase == ConsumerPhase::Live && !pace.is_under_way())
                .then(|| pace.wake_at().map_or(next, |pause| pause.max(next)))
        };
        let works = !matches!(self.flow, Flow::Draining(_));
        [
            (self.name == Name::Ours && !self.paces.rename.is_under_way())
                .then(|| self.paces.rename.wake_at().map_or(self.next_name, |pause| pause.max(self.next_name))),
            at(&self.paces.look, self.next_check, works),
            at(&self.paces.forget, self.next_forget, works && self.terms.forget_after.is_some()),
        ]
    }
}
