//! The log events of a consumer. `docs/log-events.md` lists their names, levels and fields, and a test compares.

use super::{StreamEvent, StreamEventKind as Kind};
use crate::events::millis;

impl StreamEvent {
    /// Logs the event.
    pub(crate) fn log(&self) {
        match &self.kind {
            Kind::GroupCreated
            | Kind::Connected { .. }
            | Kind::Paused { .. }
            | Kind::Resumed
            | Kind::Draining
            | Kind::Closed
            | Kind::ConsumerRemoved { .. }
            | Kind::Claimed { .. } => self.log_progress(),
            Kind::Trimmed { .. }
            | Kind::LeaseLost { .. }
            | Kind::TimedOut { .. }
            | Kind::DeadLettered { .. }
            | Kind::DeadLetterFailed { .. }
            | Kind::ScheduleRefused { .. }
            | Kind::ManyDelayed { .. }
            | Kind::Dropped { .. } => self.log_entries(),
            _ => self.log_failure(),
        }
    }

    fn log_progress(&self) {
        let consumer = &self.consumer;
        match &self.kind {
            Kind::GroupCreated => tracing::info!(event = "consumer.group_created", %consumer, "created the group"),
            Kind::Connected { recovered } => {
                tracing::info!(event = "consumer.connected", %consumer, recovered, "reading the stream");
            }
            Kind::Paused { lasts } => {
                let pause_ms = lasts.map(millis);
                tracing::info!(event = "consumer.paused", %consumer, pause_ms, "paused");
            }
            Kind::Resumed => tracing::info!(event = "consumer.resumed", %consumer, "resumed"),
            Kind::Draining => {
                tracing::info!(event = "consumer.draining", %consumer, "completing the entries in hand");
            }
            Kind::Closed => tracing::info!(event = "consumer.closed", %consumer, "closed"),
            Kind::ConsumerRemoved { name } => {
                tracing::debug!(event = "consumer.dead_removed", %consumer, removed = name, "removed a dead consumer");
            }
            Kind::Claimed { entries } => {
                tracing::debug!(event = "consumer.claimed", %consumer, entries, "claimed idle entries of others");
            }
            _ => {}
        }
    }

    fn log_entries(&self) {
        let consumer = &self.consumer;
        match &self.kind {
            Kind::Trimmed { ids } => {
                let entries = ids.len();
                tracing::error!(event = "entry.trimmed", %consumer, entries, "entries were trimmed before they were handled");
            }
            Kind::LeaseLost { id } => {
                tracing::warn!(event = "entry.lease_lost", %consumer, %id, "another consumer has claimed the entry");
            }
            Kind::TimedOut { id, attempt } => {
                tracing::warn!(event = "entry.timed_out", %consumer, %id, attempt, "the handler exceeded its deadline");
            }
            Kind::DeadLettered { id, reason } => {
                tracing::warn!(event = "entry.dead_lettered", %consumer, %id, %reason, "moved an entry to the dead letters");
            }
            Kind::DeadLetterFailed { id, error } => {
                tracing::error!(event = "entry.dead_letter_failed", %consumer, %id, %error, "a dead letter could not be written");
            }
            Kind::ScheduleRefused { messages, error } => {
                tracing::error!(event = "schedule.refused", %consumer, messages, %error, "the server refused scheduled messages");
            }
            Kind::ManyDelayed { entries, most } => {
                tracing::error!(event = "consumer.many_delayed", %consumer, entries, limit = most, "many entries wait for another attempt");
            }
            Kind::Dropped { entries } => {
                tracing::warn!(event = "consumer.dropped", %consumer, entries, "another client removed the consumer from its group");
            }
            _ => {}
        }
    }

    fn log_failure(&self) {
        let consumer = &self.consumer;
        match &self.kind {
            Kind::Healed { after } => {
                tracing::error!(event = "consumer.group_recreated", %consumer, %after, "the group was lost and created again");
            }
            Kind::NameTaken { holder } => {
                tracing::error!(event = "consumer.name_taken", %consumer, holder, "the consumer name is already in use");
            }
            Kind::Stalled { lag, lasts } => {
                let stalled_ms = millis(*lasts);
                tracing::error!(event = "consumer.stalled", %consumer, lag, stalled_ms, "no entries arrive, reconnecting");
            }
            Kind::Degraded { missing } => {
                tracing::warn!(event = "consumer.degraded", %consumer, %missing, "the server lacks or forbids a feature, continuing without it");
            }
            Kind::Disconnected { cause } => {
                tracing::warn!(event = "consumer.disconnected", %consumer, %cause, "the reader lost its link");
            }
            Kind::SlowRoundTrips { round_trip, claims_after } => {
                let (round_trip_ms, claims_after_ms) = (millis(*round_trip), millis(*claims_after));
                tracing::warn!(event = "consumer.slow_round_trips", %consumer, round_trip_ms, claims_after_ms, "min_idle is too short for the round trips");
            }
            Kind::Trouble { error } => {
                tracing::error!(event = "consumer.failing", %consumer, %error, "the stream cannot be consumed");
            }
            Kind::HandlerGone => {
                tracing::error!(event = "consumer.handler_gone", %consumer, "the actor of the handler has ended, closing the consumer");
            }
            Kind::Restarted { reason } => {
                tracing::error!(event = "consumer.restarted", %consumer, reason, "the consumer was restarted");
            }
            _ => {}
        }
    }
}
