//! The commands that wait on connections of their own, as a whole.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::connection::driver::ShutdownReport;

/// Counts the commands that wait, and calls them off together.
#[derive(Debug, Clone)]
pub(crate) struct BlockingCalls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    now: watch::Sender<usize>,
    called_off: watch::Sender<bool>,
    /// How those ended that were called off together.
    report: Mutex<ShutdownReport>,
}

impl Default for BlockingCalls {
    fn default() -> Self {
        let (now, called_off) = (watch::Sender::new(0), watch::Sender::new(false));
        Self(Arc::new(Inner { now, called_off, report: Mutex::default() }))
    }
}

/// One of them; it ends when this is dropped.
pub(crate) struct BlockingCallGuard(BlockingCalls);

impl BlockingCalls {
    /// One more, if there are fewer than `most`.
    pub(crate) fn begin(&self, most: usize) -> Option<BlockingCallGuard> {
        let one_more = |now: &mut usize| {
            let room = *now < most;
            *now += usize::from(room);
            room
        };
        self.0.now.send_if_modified(one_more).then(|| BlockingCallGuard(self.clone()))
    }

    /// Requests all of them to end.
    pub(crate) fn cancel(&self) {
        self.0.called_off.send_replace(true);
    }

    pub(crate) fn is_called_off(&self) -> bool {
        *self.0.called_off.borrow()
    }

    /// Turns true when all are requested to end.
    pub(crate) fn called_off(&self) -> watch::Receiver<bool> {
        self.0.called_off.subscribe()
    }

    /// Waits until there are none.
    pub(crate) async fn ended(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.0.now.subscribe().wait_for(|now| *now == 0).await;
    }

    /// Adds to what [`report`](Self::report) says.
    pub(crate) fn count(&self, one: impl FnOnce(&mut ShutdownReport)) {
        one(&mut self.0.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How those ended that were called off together.
    pub(crate) fn report(&self) -> ShutdownReport {
        *self.0.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BlockingCallGuard {
    fn drop(&mut self) {
        self.0.0.now.send_modify(|now| *now -= 1);
    }
}
