//! Counters with blocking and asynchronous waits.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A value with waiters. Both kinds of waits exist because a blocking wait inside a current-thread runtime would stop the
/// client under test.
#[derive(Debug)]
pub(crate) struct Tally<T> {
    value: Mutex<T>,
    blocked: Condvar,
    changed: watch::Sender<()>,
}

impl<T> Tally<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), blocked: Condvar::new(), changed: watch::Sender::new(()) }
    }

    pub(crate) fn get<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.value))
    }

    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut lock(&self.value));
        self.blocked.notify_all();
        self.changed.send_replace(());
        result
    }

    /// Blocks until `done` holds; `what` says in the error what did not come.
    pub(crate) fn wait(
        &self,
        within: Duration,
        done: impl Fn(&T) -> bool,
        what: impl Fn(&T) -> String,
    ) -> io::Result<()> {
        let start = Instant::now();
        let mut value = lock(&self.value);
        while !done(&value) {
            let left = within.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(late(within, &what(&value)));
            }
            value = self.blocked.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// The same without blocking.
    pub(crate) async fn until(
        &self,
        within: Duration,
        done: impl Fn(&T) -> bool,
        what: impl Fn(&T) -> String,
    ) -> io::Result<()> {
        let mut changed = self.changed.subscribe();
        let reached = async {
            while !self.get(&done) {
                // The sender lives as long as `self`.
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        match tokio::time::timeout(within, reached).await {
            Ok(()) => Ok(()),
            Err(_) if self.get(&done) => Ok(()),
            Err(_) => Err(late(within, &self.get(what))),
        }
    }
}

/// A lock that a panicking test left behind is still good: the values below are whole at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn late(within: Duration, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("waited {within:?} in vain: {what}"))
}
