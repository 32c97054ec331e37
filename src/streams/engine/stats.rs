//! What a consumer tells of itself in numbers, and how many handlers it may have.

use std::time::{Duration, Instant, SystemTime};

use super::ConsumerEngine;
use super::shared_state::open;
use crate::messages::stream_id::StreamId;
use crate::streams::delivery::FromEntry;
use crate::streams::machine::lease_book::EntryStage;
use crate::streams::stats::ConsumerStats;

impl<T: FromEntry> ConsumerEngine<T> {
    pub(crate) fn stats(&mut self) -> ConsumerStats {
        let engine_state = open(&self.engine_state);
        let (book, tally) = (engine_state.machine.book(), engine_state.machine.tally());
        let rates = self.meters.rates([tally.read, self.delivered, tally.acked], Instant::now());
        ConsumerStats {
            stream: self.stream.clone(),
            rates,
            oldest: book.oldest().map(age_of),
            handler_latency: self.meters.handler_latency(),
            ack_latency: self.meters.ack_latency(),
            state: engine_state.machine.state(),
            in_flight: book.running(),
            waiting: engine_state.machine.waiting(),
            delayed: book
                .count(|stage| matches!(stage, EntryStage::Delayed { .. } | EntryStage::Parked | EntryStage::Taking)),
            unacknowledged: engine_state.machine.unacknowledged(),
            read: tally.read,
            recovered: tally.recovered,
            claimed: tally.claimed,
            delivered: self.delivered,
            acked: tally.acked,
            retried: tally.retried,
            released: tally.released,
            dead_lettered: tally.dead_lettered,
            timed_out: tally.timed_out,
            lease_lost: tally.lease_lost,
            trimmed: tally.trimmed,
            disconnects: tally.disconnects,
            lag: engine_state.machine.group_position().and_then(|group_position| group_position.lag),
            pending: engine_state.machine.group_position().map(|group_position| group_position.pending),
        }
    }

    /// Until when a handler asked for nothing to be handed out.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        if self.owned_state.is_some() { open(&self.engine_state).machine.paused_until() } else { None }
    }

    /// The handler that all streams share asked on another stream for nothing to be handed out.
    pub(crate) fn pause_until(&mut self, until: Instant, now: Instant) {
        if self.owned_state.is_some() {
            open(&self.engine_state).machine.pause_for(until.saturating_duration_since(now), now);
        }
    }

    /// How many more handlers could be given something, if there was room for them.
    pub(crate) fn ready(&self) -> usize {
        if self.owned_state.is_some() { open(&self.engine_state).machine.ready() } else { 0 }
    }

    pub(crate) fn running(&self) -> usize {
        open(&self.engine_state).machine.book().running()
    }

    /// Lets it hand out that many entries more, and no others.
    pub(crate) fn allow(&mut self, entries: usize) {
        open(&self.engine_state).machine.allow(entries);
    }

    /// How many of them it has not handed out.
    pub(crate) fn allowance(&self) -> usize {
        open(&self.engine_state).machine.allowance()
    }
}

/// How long ago an entry was added, by the server's clock then and this machine's now.
fn age_of(id: StreamId) -> Duration {
    let added = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(id.ms));
    added.and_then(|added| SystemTime::now().duration_since(added).ok()).unwrap_or_default()
}
