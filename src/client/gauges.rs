//! Gauges and counters that any thread can read while the connection is running.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

use crate::connection::admission::AdmissionCounters;
use crate::connection::error_rate::{ErrorRate, Window};
use crate::events::CauseKind;

/// Queue lengths and recent outcomes of a connection. The actor updates them once per poll.
#[derive(Debug)]
pub(crate) struct Gauges {
    queued: AtomicUsize,
    in_flight: AtomicUsize,
    ended: [AtomicU64; 4],
    /// Commands that a handle refused because there was no room. The actor never gets them.
    turned_away: AtomicU64,
    started: Instant,
    window: Window,
    /// The recent part of `turned_away`, which has many writers.
    turned_away_window: Window,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        Self {
            queued: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            ended: Default::default(),
            turned_away: AtomicU64::new(0),
            started: Instant::now(),
            window: Window::default(),
            turned_away_window: Window::default(),
        }
    }

    pub(crate) fn set(&self, queued: usize, in_flight: usize) {
        self.queued.store(queued, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    /// Adds the commands that ended since the last call. Called by the actor only.
    pub(crate) fn record(&self, ended: AdmissionCounters, now: Instant) {
        let AdmissionCounters { completed, failed, unknown, abandoned } = ended;
        for (total, more) in self.ended.iter().zip([completed, failed, unknown, abandoned]) {
            // There is one writer, so no atomic read-modify-write is needed.
            total.store(total.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        }
        self.window.record(completed, failed + unknown + abandoned, now.saturating_duration_since(self.started));
    }

    /// Counts a command that a handle refused. Any thread may call it.
    #[cold]
    pub(crate) fn count_turned_away(&self, now: Instant) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        self.turned_away_window.record_failure(now.saturating_duration_since(self.started));
    }

    /// The outcomes of all commands so far.
    pub(crate) fn ended(&self) -> AdmissionCounters {
        let [completed, failed, unknown, abandoned] = self.ended.each_ref().map(|total| total.load(Ordering::Relaxed));
        let failed = failed + self.turned_away.load(Ordering::Relaxed);
        AdmissionCounters { completed, failed, unknown, abandoned }
    }

    pub(crate) fn error_rate(&self, now: Instant) -> ErrorRate {
        let at = now.saturating_duration_since(self.started);
        let rate = self.window.read(at);
        ErrorRate { failed: rate.failed + self.turned_away_window.read(at).failed, ..rate }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// The lost links, counted over all connections of one handle.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    by_kind: [AtomicU64; CauseKind::ALL.len()],
    replays: AtomicU64,
}

impl Losses {
    pub(crate) fn count(&self, kind: CauseKind, replayed: usize) {
        if let Some(count) = self.by_kind.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.replays.fetch_add(replayed as u64, Ordering::Relaxed);
    }

    pub(crate) fn replays(&self) -> u64 {
        self.replays.load(Ordering::Relaxed)
    }

    /// Only kinds that occurred.
    pub(crate) fn by_kind(&self) -> Vec<(CauseKind, u64)> {
        let counts = CauseKind::ALL.into_iter().zip(&self.by_kind);
        counts.map(|(kind, count)| (kind, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_cause_has_a_separate_count() {
        let losses = Losses::default();
        for (times, kind) in CauseKind::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| losses.count(kind, 2));
        }
        let expected: Vec<_> = CauseKind::ALL.into_iter().zip(1..).collect();
        assert_eq!(losses.by_kind(), expected);
        assert_eq!(losses.replays(), expected.iter().map(|(_, count)| 2 * count).sum::<u64>());
    }
}
