//! What a handler's answer means.

use super::*;
use crate::clock::FOREVER;

impl<P> Consumer<P> {
    /// A handler answered. An answer to an earlier run, or about an entry that is no longer ours, changes
    /// nothing, except that what was done is acknowledged all the same.
    pub(crate) fn handled(&mut self, id: StreamId, run: u64, outcome: Handled, now: Instant) {
        if self.book.stage(id) != Some(EntryStage::Running { run }) {
            return;
        }
        self.learn_handler_time(id, now);
        if self.book.get(id).is_some_and(|hold| hold.lost) && !matches!(outcome, Handled::Done(Outcome::Ack)) {
            return self.put_down(id);
        }
        if self.book.get(id).is_some_and(|hold| hold.trimmed) && !matches!(outcome, Handled::Done(Outcome::Ack)) {
            return self.trimmed(vec![id]);
        }
        match outcome {
            Handled::Done(Outcome::Ack) => self.acknowledge(id, now),
            Handled::Done(Outcome::Retry) => self.retry(id, None, None, now),
            Handled::Done(Outcome::RetryAfter(delay)) => self.retry(id, Some(delay), None, now),
            Handled::Done(Outcome::Failed(error)) => self.retry(id, None, Some(error), now),
            Handled::Done(Outcome::Reject(error)) => self.dead_letter(id, DeadLetterReason::Rejected, Some(error)),
            Handled::Done(Outcome::Release) => self.release(id, now),
            // Without its payload there is nothing to keep: it comes back from the server after the pause.
            Handled::Done(Outcome::PauseFor(pause)) => {
                let pause = pause.min(FOREVER);
                self.pause_for(pause, now);
                self.uncount(id);
                self.delay(id, now + pause);
            }
            // Its handler's actor was gone before it came to it.
            Handled::Unstarted => {
                self.uncount(id);
                self.delay(id, now);
            }
            Handled::Unanswered => {
                self.retry(id, None, Some("the handler ended without an answer".to_owned()), now);
            }
        }
    }

    /// A handler's deadline has passed. `progress` is when it last made some, or was last seen to take other messages
    /// where it has not `started` with this one.
    pub(crate) fn overdue(&mut self, id: StreamId, run: u64, progress: Option<Instant>, started: bool, now: Instant) {
        if self.book.stage(id) != Some(EntryStage::Running { run }) {
            return;
        }
        let deadline = progress.map(|at| at + self.terms.handler_deadline).filter(|deadline| *deadline > now);
        if let Some(deadline) = deadline {
            return self.book.extend(id, run, deadline);
        }
        self.learn_handler_time(id, now);
        let attempt = self.book.get(id).map_or(0, |hold| hold.attempts.number);
        self.tally.timed_out += 1;
        self.out.push_back(Action::GiveUp { id });
        self.notify(Notice::TimedOut { id, attempt });
        if self.book.get(id).is_some_and(|hold| hold.lost) {
            return self.put_down(id);
        }
        if self.book.get(id).is_some_and(|hold| hold.trimmed) {
            return self.trimmed(vec![id]);
        }
        if !started {
            // It is dropped when its turn comes, and no attempt was made.
            self.uncount(id);
            return self.delay(id, now + self.terms.delay(1));
        }
        self.retry(id, None, Some("the handler did not answer within its deadline".to_owned()), now);
    }

    pub(super) fn acknowledge(&mut self, id: StreamId, now: Instant) {
        self.settled_order_key(id);
        self.book.set(id, EntryStage::Acking);
        self.acks.push(id, now);
    }

    fn retry(&mut self, id: StreamId, delay: Option<Duration>, error: Option<String>, now: Instant) {
        let Some(hold) = self.book.get_mut(id) else { return };
        let started = hold.attempts.started;
        if started >= self.terms.max_deliveries {
            return self.dead_letter(id, DeadLetterReason::MaxDeliveries, error);
        }
        hold.attempts = Attempts { number: hold.attempts.number + 1, suspect: false, recorded: false, ..hold.attempts };
        self.tally.retried += 1;
        self.delay(id, now + delay.unwrap_or_else(|| self.terms.delay(started)).min(FOREVER));
    }

    /// Others may have the entry, and this attempt does not count. With an order it keeps its place until somebody has
    /// taken it, or it comes back here.
    fn release(&mut self, id: StreamId, now: Instant) {
        self.tally.released += 1;
        self.uncount(id);
        if !self.terms.ordered {
            self.settled_order_key(id);
            return self.leave(id, ReleaseReason::Released);
        }
        if let Some(hold) = self.book.get_mut(id) {
            hold.offered = true;
        }
        self.delay(id, now + self.terms.sweep_every * 2);
    }

    /// How long handlers take decides how far is read ahead of them.
    fn learn_handler_time(&mut self, id: StreamId, now: Instant) {
        self.last_answer = now;
        let Some(begun) = self.book.get(id).and_then(|hold| hold.begun) else { return };
        let took = now.saturating_duration_since(begun);
        self.handler_time = Some(self.handler_time.map_or(took, |average| (average * 7 + took) / 8));
    }

    /// The entry keeps its lane: what comes after it in its order waits for it.
    fn delay(&mut self, id: StreamId, due: Instant) {
        self.book.set(id, EntryStage::Delayed { due });
        self.unrenewed.push_back(id);
    }

    pub(super) fn dead_letter(&mut self, id: StreamId, reason: DeadLetterReason, error: Option<String>) {
        // Whether its letter is written or not: no handler will have it again, and its key need not wait.
        self.settled_order_key(id);
        self.book.set(id, EntryStage::Burying);
        self.dead_letter_requests.push_back(DeadLetterRequest { id, reason, error, tries: 0 });
    }

    /// Until when a handler asked for nothing to be handed out.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        match self.flow {
            Flow::Paused(until) => until,
            Flow::Open | Flow::Draining(_) => None,
        }
    }

    pub(crate) fn pause_for(&mut self, pause: Duration, now: Instant) {
        let until = now + pause;
        let longer = match self.flow {
            Flow::Open => true,
            Flow::Paused(Some(earlier)) => earlier < until,
            Flow::Paused(None) | Flow::Draining(_) => false,
        };
        if longer {
            self.flow = Flow::Paused(Some(until));
            self.notify(Notice::Paused { lasts: Some(pause) });
            self.unblock();
        }
    }

    fn uncount(&mut self, id: StreamId) {
        if let Some(hold) = self.book.get_mut(id) {
            let started = hold.attempts.started.saturating_sub(1);
            hold.attempts = Attempts { started, suspect: false, recorded: false, ..hold.attempts };
        }
    }

    /// The entry's place in its order is free for the next one.
    pub(super) fn settled_order_key(&mut self, id: StreamId) {
        if let Some(hold) = self.book.get_mut(id) {
            let order_key = hold.order_key.take();
            self.keyed_queue.done(order_key);
        }
    }

    /// Forgets an entry: the server has said what became of it, or others will.
    pub(super) fn put_down(&mut self, id: StreamId) {
        let order_key = self.book.get(id).and_then(|hold| hold.order_key);
        if matches!(self.book.stage(id), Some(EntryStage::KeyedEntry | EntryStage::Parked)) {
            self.keyed_queue.remove(id, order_key);
        } else {
            self.settled_order_key(id);
        }
        self.book.remove(id);
    }
}

/// What became of a delivery.
#[derive(Debug)]
pub(crate) enum Handled {
    /// The handler answered.
    Done(Outcome),
    /// The handler will not answer: it panicked, or its actor ended.
    Unanswered,
    /// The handler's actor ended before it came to it.
    Unstarted,
}
