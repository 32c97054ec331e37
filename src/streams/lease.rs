//! What a handler and its consumer tell each other while the handler works.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

const OURS: u8 = 0;
const LOST: u8 = 1;

/// The lease on an entry: while a handler works, its consumer keeps others from claiming the entry.
///
/// Cloning is cheap; a clone may go to another task or thread.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    begun: Instant,
    state: AtomicU8,
    changed: Notify,
    /// Milliseconds since `begun` of the last progress, plus one; 0 is none.
    progress: AtomicU64,
    given_up: AtomicU8,
    waiting: AtomicWaker,
}

impl Lease {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Arc::new(Inner {
            begun: now,
            state: AtomicU8::new(OURS),
            changed: Notify::new(),
            progress: AtomicU64::new(0),
            given_up: AtomicU8::new(0),
            waiting: AtomicWaker::new(),
        }))
    }

    /// Says that the handler gets on: its deadline begins anew.
    pub fn progress(&self) {
        let since = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.0.progress.store(since + 1, Ordering::Release);
    }

    /// Whether somebody else has taken the entry over, because this process or its link was stalled for
    /// longer than `min_idle`. What the handler does from now on may be done twice.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == LOST
    }

    /// Waits until the lease is lost; for ever, if it is not.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn lost(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.is_lost() {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn lose(&self) {
        self.0.state.store(LOST, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    pub(crate) fn last_progress(&self) -> Option<Instant> {
        let since = self.0.progress.load(Ordering::Acquire).checked_sub(1)?;
        self.0.begun.checked_add(Duration::from_millis(since))
    }

    /// When the handler last gave a sign: its last progress, or its start.
    pub(crate) fn last_sign(&self) -> Instant {
        self.last_progress().unwrap_or(self.0.begun)
    }

    /// Ends the wait for a handler that is of no interest any more.
    pub(crate) fn give_up(&self) {
        self.0.given_up.store(1, Ordering::Release);
        self.0.waiting.wake();
    }

    pub(crate) async fn given_up(&self) {
        poll_fn(|cx| {
            self.0.waiting.register(cx.waker());
            if self.0.given_up.load(Ordering::Acquire) == 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("lost", &self.is_lost()).finish_non_exhaustive()
    }
}
