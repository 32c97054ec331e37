//! What a consumer tells of itself in numbers, and how many handlers it may have.

use std::time::{Duration, Instant, SystemTime};

use super::ConsumerEngine;
use super::shared_state::open;
use crate::messages::stream_id::StreamId;
use crate::streams::delivery::FromEntry;
use crate::streams::machine::lease_book::Stage;
use crate::streams::stats::ConsumerStats;

impl<T: FromEntry> ConsumerEngine<T> {
    pub(crate) fn stats(&mut self) -> ConsumerStats {
        let desk = open(&self.desk);
        let (book, tally) = (desk.machine.book(), desk.machine.tally());
        let rates = self.meters.rates([tally.read, self.delivered, tally.acked], Instant::now());
        ConsumerStats {
            stream: self.stream.clone(),
            rates,
            oldest: book.oldest().map(age_of),
            handler_latency: self.meters.handler_latency(),
            ack_latency: self.meters.ack_latency(),
            state: desk.machine.state(),
            in_flight: book.running(),
            waiting: desk.machine.waiting(),
            delayed: book.count(|stage| matches!(stage, Stage::Delayed { .. } | Stage::Parked | Stage::Taking)),
            unacknowledged: desk.machine.unacknowledged(),
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
            lag: desk.machine.ground().and_then(|ground| ground.lag),
            pending: desk.machine.ground().map(|ground| ground.pending),
        }
    }

    /// Until when a handler asked for nothing to be handed out.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        if self.living.is_some() { open(&self.desk).machine.paused_until() } else { None }
    }

    /// The handler that all streams share asked on another stream for nothing to be handed out.
    pub(crate) fn pause_until(&mut self, until: Instant, now: Instant) {
        if self.living.is_some() {
            open(&self.desk).machine.pause_for(until.saturating_duration_since(now), now);
        }
    }

    /// How many more handlers could be given something, if there was room for them.
    pub(crate) fn ready(&self) -> usize {
        if self.living.is_some() { open(&self.desk).machine.ready() } else { 0 }
    }

    pub(crate) fn running(&self) -> usize {
        open(&self.desk).machine.book().running()
    }

    /// Lets it hand out that many entries more, and no others.
    pub(crate) fn allow(&mut self, entries: usize) {
        open(&self.desk).machine.allow(entries);
    }

    /// How many of them it has not handed out.
    pub(crate) fn allowance(&self) -> usize {
        open(&self.desk).machine.allowance()
    }
}

/// How long ago an entry was added, by the server's clock then and this machine's now.
fn age_of(id: StreamId) -> Duration {
    let added = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(id.ms));
    added.and_then(|added| SystemTime::now().duration_since(added).ok()).unwrap_or_default()
}
