//! From an entry to its handler, one by one or in batches, and back with the answer.

use std::time::Instant;

use super::shared_state::EngineState;
use super::{ConsumerEngine, DecodedEntry, FAREWELL, OwnedEngineState};
use crate::error::{Error, Result};
use crate::messages::{stream_id::StreamId, streams_replies::StreamEntry};
use crate::streams::consumer_commands::Counted;
use crate::streams::delivery::{Delivery, FromEntry, RawFields};
use crate::streams::fence::fence;
use crate::streams::inbox::{Answered, Run, Unanswered};
use crate::streams::lease::{Held, Lease};
use crate::streams::machine::lease_book::EntryStage;
use crate::streams::machine::{Arrival, Handled, OrderPosition, TakeReply};
use crate::streams::outcome::Outcome;

/// An entry whose handler is about to get it.
pub(super) struct CommandsQueued<T> {
    run: Run,
    attempt: u64,
    decoded_entry: DecodedEntry<T>,
}

impl<T: FromEntry> ConsumerEngine<T> {
    pub(super) fn taken(&self, (entry, _): Counted) -> TakeReply<DecodedEntry<T>> {
        if entry.is_deleted() { TakeReply::Gone(entry.id) } else { TakeReply::Entry(self.arrival(entry)) }
    }

    pub(super) fn peeked(&self, entry: StreamEntry) -> (StreamId, OrderPosition) {
        if entry.is_deleted() {
            return (entry.id, OrderPosition::Gone);
        }
        let Arrival { id, order_key, size, .. } = self.arrival(entry);
        (id, OrderPosition::Lane { order_key, size })
    }

    /// Decodes an entry, and finds its lane. Both are the user's code: a payload on which that panics must
    /// not take the consumer down, nor its neighbours.
    pub(super) fn arrival(&self, entry: StreamEntry) -> Arrival<DecodedEntry<T>> {
        let StreamEntry { id, fields } = entry;
        let size = size_of_fields(&fields);
        let order_key_of = self.owned_state.as_ref().and_then(|owned_state| owned_state.shared.order_key.as_ref());
        let decoded = fence(|| {
            let payload = T::from_entry(id, &fields)?;
            let order_key = order_key_of.map(|order_key_of| order_key_of(&payload));
            Ok::<_, Error>((payload, order_key))
        });
        let (payload, order_key) = match decoded {
            Some(Ok((payload, order_key))) => (Ok(DecodedEntry { fields, payload: Some(payload) }), order_key),
            Some(Err(error)) => (Err(error.message().to_owned()), None),
            None => (Err("decoding it panicked".to_owned()), None),
        };
        Arrival { id, order_key, size, payload }
    }

    pub(super) fn run(
        &mut self,
        engine_state: &mut EngineState<T>,
        run: Run,
        attempt: u64,
        alone: bool,
        decoded_entry: DecodedEntry<T>,
        now: Instant,
    ) {
        let Some(owned_state) = &self.owned_state else { return };
        if owned_state.shared.inbox.takes_batches() {
            // What may have taken its last consumer down, or has failed before, gets a batch of its own: whatever comes of
            // it, its neighbours have no part in it.
            let alone = alone || attempt > 1;
            if alone {
                self.deliver_ready(engine_state, now);
            }
            self.gathered.push(CommandsQueued { run, attempt, decoded_entry });
            if alone || self.gathered.len() >= self.terms.batch {
                self.deliver_ready(engine_state, now);
            }
            return;
        }
        let lease = Lease::new(now);
        engine_state.leases.insert(run.0, lease.clone());
        self.delivered += 1;
        let Some(mut delivery) = owned_state.delivery(run.0, attempt, decoded_entry, lease) else { return };
        self.process_spans.begin(&mut delivery);
        self.handlers.push(owned_state.shared.inbox.deliver(run, delivery));
    }

    /// Gives what is gathered to the handler, as one batch.
    pub(super) fn deliver_ready(&mut self, engine_state: &mut EngineState<T>, now: Instant) {
        let Some(owned_state) = self.owned_state.as_ref().filter(|_| !self.gathered.is_empty()) else { return };
        let lease = Lease::of_many(now, self.gathered.len());
        let mut runs = Vec::with_capacity(self.gathered.len());
        let mut deliveries = Vec::with_capacity(self.gathered.len());
        for (nth, CommandsQueued { run, attempt, decoded_entry }) in self.gathered.drain(..).enumerate() {
            let lease = lease.nth(nth);
            engine_state.leases.insert(run.0, lease.clone());
            runs.push(run);
            if let Some(mut delivery) = owned_state.delivery(run.0, attempt, decoded_entry, lease) {
                self.process_spans.begin(&mut delivery);
                deliveries.push(delivery);
            }
        }
        self.delivered += runs.len() as u64;
        self.handlers.push(owned_state.shared.inbox.deliver_all(runs, deliveries));
    }

    pub(super) fn all_answered(&mut self, engine_state: &mut EngineState<T>, answered: Answered, now: Instant) {
        match answered {
            Answered::One(run, answer) => self.answered(engine_state, run, answer, now),
            Answered::Batch(runs, Ok(outcomes)) => {
                let outcomes = outcomes.spread(runs.len());
                for (run, outcome) in runs.into_iter().zip(outcomes) {
                    self.answered(engine_state, run, Ok(outcome), now);
                }
            }
            Answered::Batch(runs, Err(unanswered)) => {
                for run in runs {
                    self.answered(engine_state, run, Err(unanswered), now);
                }
            }
        }
    }

    /// A handler's deadline has passed. It counts from the start of the handler; a message that waits in the mailbox has
    /// none as long as the handler's actor takes others out.
    pub(super) fn check_progress(&mut self, engine_state: &mut EngineState<T>, (id, run): Run, now: Instant) {
        let Some(lease) = engine_state.leases.get(&id) else {
            return engine_state.machine.overdue(id, run, None, true, now);
        };
        if let Some(at) = lease.last_progress() {
            return engine_state.machine.overdue(id, run, Some(at), true, now);
        }
        // Mailboxes keep their order: whatever was put in before a message that was started was started too.
        let begun = engine_state.leases.values().filter_map(Lease::last_progress).max();
        let (heard, last) = self.heard;
        let heard = begun.map_or(heard, |begun| begun.max(heard)).max(lease.begun());
        let started = run < last;
        engine_state.machine.overdue(id, run, (!started).then_some(heard), started, now);
    }

    pub(super) fn answered(
        &mut self,
        engine_state: &mut EngineState<T>,
        (id, run): Run,
        answer: Result<Outcome, Unanswered>,
        now: Instant,
    ) {
        if answer == Err(Unanswered::GivenUp) {
            // Its slot is another run's by now.
            return;
        }
        let gone = answer == Err(Unanswered::Gone)
            && self.owned_state.as_ref().is_some_and(|owned_state| owned_state.shared.inbox.is_gone());
        self.process_spans.end(id, answer.as_ref().ok());
        let mut started = true;
        if engine_state.machine.book().stage(id) == Some(EntryStage::Running { run })
            && let Some(lease) = engine_state.leases.remove(&id)
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
        engine_state.machine.handled(id, run, handled, now);
        if gone {
            engine_state.machine.handler_gone(now + FAREWELL);
        }
    }
}

impl<T> OwnedEngineState<T> {
    fn delivery(
        &self,
        id: StreamId,
        attempt: u64,
        mut decoded_entry: DecodedEntry<T>,
        lease: Lease,
    ) -> Option<Delivery<T>> {
        let (fields, payload) = (std::mem::take(&mut decoded_entry.fields), decoded_entry.payload.take()?);
        Some(Delivery {
            id,
            name: self.name.clone(),
            attempt,
            fields,
            payload,
            lease: Held(lease),
            span: tracing::Span::none(),
            answer: std::marker::PhantomData,
        })
    }
}

pub(super) fn size_of_fields(fields: &RawFields) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}
