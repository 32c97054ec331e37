//! From an entry to its handler, one by one or in batches, and back with the answer.

use std::time::Instant;

use super::shared_state::Desk;
use super::{ConsumerEngine, FAREWELL, Living, Parcel};
use crate::error::{Error, Result};
use crate::messages::{stream_id::StreamId, streams_replies::StreamEntry};
use crate::streams::consumer_commands::Counted;
use crate::streams::delivery::{Delivery, FromEntry, RawFields};
use crate::streams::fence::fence;
use crate::streams::inbox::{Answered, Run, Unanswered};
use crate::streams::lease::{Held, Lease};
use crate::streams::machine::lease_book::Stage;
use crate::streams::machine::{Arrival, Handled, Peeked, Taken};
use crate::streams::outcome::Outcome;

/// An entry whose handler is about to get it.
pub(super) struct Gathered<T> {
    run: Run,
    attempt: u64,
    parcel: Parcel<T>,
}

impl<T: FromEntry> ConsumerEngine<T> {
    pub(super) fn taken(&self, (entry, _): Counted) -> Taken<Parcel<T>> {
        if entry.is_deleted() { Taken::Gone(entry.id) } else { Taken::Entry(self.arrival(entry)) }
    }

    pub(super) fn peeked(&self, entry: StreamEntry) -> (StreamId, Peeked) {
        if entry.is_deleted() {
            return (entry.id, Peeked::Gone);
        }
        let Arrival { id, lane, size, .. } = self.arrival(entry);
        (id, Peeked::Lane { lane, size })
    }

    /// Decodes an entry, and finds its lane. Both are the user's code: a payload on which that panics must
    /// not take the consumer down, nor its neighbours.
    pub(super) fn arrival(&self, entry: StreamEntry) -> Arrival<Parcel<T>> {
        let StreamEntry { id, fields } = entry;
        let size = size_of_fields(&fields);
        let lane_of = self.living.as_ref().and_then(|living| living.shared.lane.as_ref());
        let decoded = fence(|| {
            let payload = T::from_entry(id, &fields)?;
            let lane = lane_of.map(|lane_of| lane_of(&payload));
            Ok::<_, Error>((payload, lane))
        });
        let (payload, lane) = match decoded {
            Some(Ok((payload, lane))) => (Ok(Parcel { fields, payload: Some(payload) }), lane),
            Some(Err(error)) => (Err(error.message().to_owned()), None),
            None => (Err("decoding it panicked".to_owned()), None),
        };
        Arrival { id, lane, size, payload }
    }

    pub(super) fn run(
        &mut self,
        desk: &mut Desk<T>,
        run: Run,
        attempt: u64,
        alone: bool,
        parcel: Parcel<T>,
        now: Instant,
    ) {
        let Some(living) = &self.living else { return };
        if living.shared.inbox.takes_batches() {
            // What may have taken its last consumer down, or has failed before, gets a batch of its own: whatever comes of
            // it, its neighbours have no part in it.
            let alone = alone || attempt > 1;
            if alone {
                self.hand_over(desk, now);
            }
            self.gathered.push(Gathered { run, attempt, parcel });
            if alone || self.gathered.len() >= self.terms.batch {
                self.hand_over(desk, now);
            }
            return;
        }
        let lease = Lease::new(now);
        desk.leases.insert(run.0, lease.clone());
        self.delivered += 1;
        let Some(delivery) = living.delivery(run.0, attempt, parcel, lease) else { return };
        self.handlers.push(living.shared.inbox.deliver(run, delivery));
    }

    /// Gives what is gathered to the handler, as one batch.
    pub(super) fn hand_over(&mut self, desk: &mut Desk<T>, now: Instant) {
        let Some(living) = self.living.as_ref().filter(|_| !self.gathered.is_empty()) else { return };
        let lease = Lease::of_many(now, self.gathered.len());
        let mut runs = Vec::with_capacity(self.gathered.len());
        let mut deliveries = Vec::with_capacity(self.gathered.len());
        for (nth, Gathered { run, attempt, parcel }) in self.gathered.drain(..).enumerate() {
            let lease = lease.nth(nth);
            desk.leases.insert(run.0, lease.clone());
            runs.push(run);
            deliveries.extend(living.delivery(run.0, attempt, parcel, lease));
        }
        self.delivered += runs.len() as u64;
        self.handlers.push(living.shared.inbox.deliver_all(runs, deliveries));
    }

    pub(super) fn all_answered(&mut self, desk: &mut Desk<T>, answered: Answered, now: Instant) {
        match answered {
            Answered::One(run, answer) => self.answered(desk, run, answer, now),
            Answered::Batch(runs, Ok(outcomes)) => {
                let outcomes = outcomes.spread(runs.len());
                for (run, outcome) in runs.into_iter().zip(outcomes) {
                    self.answered(desk, run, Ok(outcome), now);
                }
            }
            Answered::Batch(runs, Err(unanswered)) => {
                for run in runs {
                    self.answered(desk, run, Err(unanswered), now);
                }
            }
        }
    }

    /// A handler's deadline has passed. It counts from the start of the handler; a message that waits in the mailbox has
    /// none as long as the handler's actor takes others out.
    pub(super) fn check_progress(&mut self, desk: &mut Desk<T>, (id, run): Run, now: Instant) {
        let Some(lease) = desk.leases.get(&id) else { return desk.machine.overdue(id, run, None, true, now) };
        if let Some(at) = lease.last_progress() {
            return desk.machine.overdue(id, run, Some(at), true, now);
        }
        // Mailboxes keep their order: whatever was put in before a message that was started was started too.
        let begun = desk.leases.values().filter_map(Lease::last_progress).max();
        let (heard, last) = self.heard;
        let heard = begun.map_or(heard, |begun| begun.max(heard)).max(lease.begun());
        let started = run < last;
        desk.machine.overdue(id, run, (!started).then_some(heard), started, now);
    }

    pub(super) fn answered(
        &mut self,
        desk: &mut Desk<T>,
        (id, run): Run,
        answer: Result<Outcome, Unanswered>,
        now: Instant,
    ) {
        if answer == Err(Unanswered::GivenUp) {
            // Its slot is another run's by now.
            return;
        }
        let gone =
            answer == Err(Unanswered::Gone) && self.living.as_ref().is_some_and(|living| living.shared.inbox.is_gone());
        let mut started = true;
        if desk.machine.book().stage(id) == Some(Stage::Running { run })
            && let Some(lease) = desk.leases.remove(&id)
        {
            started = lease.is_started() || !gone;
            self.meters.handled(now.saturating_duration_since(lease.begun()));
        }
        self.heard = (now, self.heard.1.max(run));
        let handled = match answer {
            Ok(outcome) => Handled::Done(outcome),
            Err(_) if started => Handled::Unanswered,
            // It went with its mailbox.
            Err(_) => Handled::Unstarted,
        };
        desk.machine.handled(id, run, handled, now);
        if gone {
            desk.machine.handler_gone(now + FAREWELL);
        }
    }
}

impl<T> Living<T> {
    fn delivery(&self, id: StreamId, attempt: u64, mut parcel: Parcel<T>, lease: Lease) -> Option<Delivery<T>> {
        let (fields, payload) = (std::mem::take(&mut parcel.fields), parcel.payload.take()?);
        Some(Delivery {
            id,
            name: self.name.clone(),
            attempt,
            fields,
            payload,
            lease: Held(lease),
            answer: std::marker::PhantomData,
        })
    }
}

pub(super) fn size_of_fields(fields: &RawFields) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}
