//! The reports of the driver: events, the status, the rate of errors, and the report of a shutdown.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Driver;
use crate::clock::FOREVER;
use crate::connection::admission::AdmissionCounters;
use crate::connection::link_state::Event;
use crate::events::{Cause, ConnectionEvent, ConnectionState};

/// What a shutdown left behind. Together these are all the commands that were admitted and not answered yet
/// when it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Commands that the server answered while the connection was draining.
    pub completed: u64,
    /// Commands that ended unsent at the deadline.
    pub failed: u64,
    /// Commands that ended at the deadline with their bytes sent and no answer.
    pub unknown: u64,
    /// Commands whose deadline passed, or whose callers went away, while the connection was draining.
    pub abandoned: u64,
    /// Commands that waited by design (`BLPOP`), were called off by the shutdown, and took nothing.
    pub called_off: u64,
}

impl From<ShutdownReport> for AdmissionCounters {
    fn from(report: ShutdownReport) -> Self {
        let ShutdownReport { completed, failed, unknown, abandoned, .. } = report;
        Self { completed, failed, unknown, abandoned }
    }
}

impl ShutdownReport {
    /// What came since.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            completed: self.completed.saturating_sub(earlier.completed),
            failed: self.failed.saturating_sub(earlier.failed),
            unknown: self.unknown.saturating_sub(earlier.unknown),
            abandoned: self.abandoned.saturating_sub(earlier.abandoned),
            called_off: self.called_off.saturating_sub(earlier.called_off),
        }
    }

    /// What another connection left behind.
    pub(crate) fn add(&mut self, other: Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.abandoned += other.abandoned;
        self.called_off += other.called_off;
    }
}

#[derive(Default)]
pub(super) struct Drain {
    report: ShutdownReport,
    /// The outcomes before the shutdown began, if it has.
    at_start: Option<AdmissionCounters>,
    waiting: Vec<oneshot::Sender<ShutdownReport>>,
}

impl Driver {
    /// Admits nothing more, and reports the outcome of the rest to `done`, at the deadline at the latest.
    pub(crate) fn shut_down(&mut self, within: Duration, done: oneshot::Sender<ShutdownReport>) {
        if self.link.state() == ConnectionState::Closed {
            let _ = done.send(self.drain.report);
            return;
        }
        self.drain.waiting.push(done);
        let deadline = self.now() + within.min(FOREVER);
        self.feed(Event::Shutdown { deadline });
    }

    pub(super) fn start_draining(&mut self) {
        self.drain.at_start = Some(self.admission.tally());
        self.emit(ConnectionEvent::Draining);
    }

    pub(super) fn finish(&mut self, cause: Cause) {
        self.dialling = None;
        self.admission.fail_queued(&cause, ConnectionState::Closed);
        // A connection that ends by itself was not shut down: a later shutdown finds nothing to complete.
        if let Some(at_start) = self.drain.at_start {
            let AdmissionCounters { completed, failed, unknown, abandoned } = self.admission.tally().since(at_start);
            self.drain.report = ShutdownReport { completed, failed, unknown, abandoned, called_off: 0 };
        }
        self.emit(ConnectionEvent::Closed { cause });
        for waiting in self.drain.waiting.drain(..) {
            let _ = waiting.send(self.drain.report);
        }
        self.fanout.release();
    }

    /// Logs the event, updates the status, and sends it to the subscribers.
    pub(crate) fn emit(&mut self, event: ConnectionEvent) {
        let (state, cause) = (self.link.state(), self.link.cause().cloned());
        let (generation, attempt) = (self.link.generation(), self.link.attempt());
        let now = self.now();
        self.fanout.update(|status| {
            if status.state != state {
                status.since = now;
            }
            (status.state, status.cause) = (state, cause);
            (status.generation, status.attempt) = (generation, attempt);
        });
        self.fanout.log(&event);
        if let Some(listener) = &mut self.listener {
            listener.on_event(&event, self.server_info.protocol, self.located.as_ref());
        }
        self.fanout.publish(&event);
    }

    /// As [`measure`](Self::measure), at the end: the actor may not be polled again.
    #[cold]
    #[inline(never)]
    pub(super) fn measure_at_end(&mut self) {
        self.measure();
    }

    /// Once a turn: a thousand commands that ended in it cost one addition. Inlined, because a caller alone has a turn for each
    /// command.
    #[inline(always)]
    pub(super) fn measure(&mut self) {
        self.gauges.set(self.admission.queued(), self.admission.in_flight());
        let tally = self.admission.tally();
        let ended = tally.since(self.measured);
        let ended = AdmissionCounters { failed: ended.failed + std::mem::take(&mut self.refused), ..ended };
        if ended != AdmissionCounters::default() {
            self.measured = tally;
            let now = self.now();
            self.gauges.record(ended, now);
        }
    }
}
