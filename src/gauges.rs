//! Numbers that may be read from any thread while the connection works.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How full a connection is. Written by its actor once a turn.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    queued: AtomicUsize,
    in_flight: AtomicUsize,
    pub(crate) disconnects: AtomicU64,
}

impl Gauges {
    pub(crate) fn set(&self, queued: usize, in_flight: usize) {
        self.queued.store(queued, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}
