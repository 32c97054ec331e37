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

/// The lease on an entry: while a handler works, its consumer keeps others from claiming the entry.
///
/// Cloning is cheap; a clone may go to another task or thread.
#[derive(Clone)]
pub struct Lease(Arc<Inner>, usize);

/// What the entries that were handed over together share.
struct Inner {
    begun: Instant,
    /// One bit for each entry that is lost, 64 of them here, the rest behind.
    lost: AtomicU64,
    more_lost: Box<[AtomicU64]>,
    changed: Notify,
    /// Milliseconds since `begun` of the last progress, plus one; 0 is none. The start of the handler is progress.
    progress: AtomicU64,
    /// What the handler has done with the message.
    seen: AtomicU8,
    given_up: AtomicU8,
    waiting: AtomicWaker,
}

/// The message waits in the mailbox, as far as can be seen.
const WAITS: u8 = 0;
/// It was dropped without being looked at: by a handler that does not need it, or with its mailbox.
const DROPPED: u8 = 1;
/// The handler has looked at it.
const STARTED: u8 = 2;

/// The lease as the message has it: whoever looks at the message has been started.
///
/// actix does not say when it takes a message out of a mailbox. A handler that is started looks at its message first of
/// all, and one that does not care for it drops it.
pub(crate) struct Held(pub(crate) Lease);

impl Held {
    /// The handler looks at the message.
    pub(crate) fn start(&self) {
        self.0.see(STARTED);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.see(if std::thread::panicking() { STARTED } else { DROPPED });
    }
}

impl Lease {
    fn see(&self, seen: u8) {
        let before = self.0.seen.load(Ordering::Relaxed);
        if before < seen {
            if before == WAITS {
                self.progress();
            }
            self.0.seen.fetch_max(seen, Ordering::AcqRel);
        }
    }

    /// Whether the handler has looked at its message.
    pub(crate) fn is_started(&self) -> bool {
        self.0.seen.load(Ordering::Acquire) == STARTED
    }

    pub(crate) fn new(now: Instant) -> Self {
        Self::of_many(now, 1)
    }

    /// That of the first of so many entries.
    pub(crate) fn of_many(now: Instant, entries: usize) -> Self {
        let inner = Inner {
            begun: now,
            lost: AtomicU64::new(0),
            more_lost: (1..entries.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            changed: Notify::new(),
            progress: AtomicU64::new(0),
            seen: AtomicU8::new(WAITS),
            given_up: AtomicU8::new(0),
            waiting: AtomicWaker::new(),
        };
        Self(Arc::new(inner), 0)
    }

    /// That of the nth of the entries, from 0 on.
    pub(crate) fn nth(&self, entry: usize) -> Self {
        Self(self.0.clone(), entry)
    }

    pub(crate) fn begun(&self) -> Instant {
        self.0.begun
    }

    fn word(&self) -> &AtomicU64 {
        (self.1 / 64).checked_sub(1).and_then(|word| self.0.more_lost.get(word)).unwrap_or(&self.0.lost)
    }

    /// Says that the handler gets on: its deadline begins anew, that of its whole batch. It begins when the handler
    /// first looks at its message, and not while that waits in the mailbox.
    pub fn progress(&self) {
        let since = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.0.progress.store(since + 1, Ordering::Release);
    }

    /// Whether the entry is not this handler's any more: somebody else has taken it over, because this process or its link was
    /// stalled for longer than `min_idle`, or the handler's deadline has passed. What the handler does from now on may be done
    /// twice, and its answer counts no more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.word().load(Ordering::Acquire) & (1 << (self.1 % 64)) != 0
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
        self.word().fetch_or(1 << (self.1 % 64), Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }

    /// When the handler last gave a sign: its start, or its last progress. None where its message waits in the mailbox.
    pub(crate) fn last_progress(&self) -> Option<Instant> {
        let since = self.0.progress.load(Ordering::Acquire).checked_sub(1)?;
        self.0.begun.checked_add(Duration::from_millis(since))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_of_a_batch_is_lost_alone_and_makes_progress_with_all() {
        let first = Lease::of_many(Instant::now(), 200);
        for lost in [0, 63, 64, 130, 199] {
            first.nth(lost).lose();
        }
        let lost: Vec<_> = (0..200).filter(|nth| first.nth(*nth).is_lost()).collect();
        assert_eq!(lost, [0, 63, 64, 130, 199]);
        first.nth(150).progress();
        assert!(first.last_progress().is_some());
    }
}
