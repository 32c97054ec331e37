//! Numbers that may be read from any thread while the connection works.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

use crate::core::rate::{ErrorRate, Window};

/// How full a connection is, and how it did lately. Written by its actor once a turn.
#[derive(Debug)]
pub(crate) struct Gauges {
    queued: AtomicUsize,
    in_flight: AtomicUsize,
    pub(crate) disconnects: AtomicU64,
    started: Instant,
    window: Window,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        Self {
            queued: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            disconnects: AtomicU64::new(0),
            started: Instant::now(),
            window: Window::default(),
        }
    }

    pub(crate) fn set(&self, queued: usize, in_flight: usize) {
        self.queued.store(queued, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    /// So many commands ended since the last call. For the actor alone.
    pub(crate) fn record(&self, answered: u64, failed: u64, now: Instant) {
        self.window.record(answered, failed, now.saturating_duration_since(self.started));
    }

    pub(crate) fn error_rate(&self, now: Instant) -> ErrorRate {
        self.window.read(now.saturating_duration_since(self.started))
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}
