//! Back-pressure for callers: a bound on how many commands of one connection are under way, that waits
//! instead of failing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Counts callers in. Uncontended it costs three atomic operations, where a semaphore takes a lock.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    /// Callers in [`enter`](Self::enter); whoever leaves calls one of them.
    waiting: AtomicUsize,
    room: usize,
    left: Notify,
}

/// One caller inside; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            inside: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: room.max(1),
            left: Notify::new(),
        })
    }

    /// Goes in if there is room now.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        // Never counted in beyond the room, not even for a moment: callers who count themselves in, find the
        // house full and leave again would keep each other out for ever.
        let one_more = |inside: usize| (inside < self.room).then_some(inside + 1);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Pass(self.clone()))
    }

    /// Waits for room.
    ///
    /// # Cancel safety
    /// Giving up takes no room, and a call for this caller goes to the next.
    pub(crate) async fn enter(self: Arc<Self>) -> Pass {
        let _waiting = Waiting::new(&self);
        loop {
            let called = self.left.notified();
            if let Some(pass) = self.try_enter() {
                // Of several calls that find nobody listening yet only one is kept: pass it on.
                if self.inside.load(Ordering::SeqCst) < self.room {
                    self.left.notify_one();
                }
                return pass;
            }
            called.await;
        }
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.left.notify_one();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Counts a caller who waits, however the waiting ends.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.waiting.fetch_add(1, Ordering::SeqCst);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_more_than_room_inside_and_nobody_is_forgotten() {
        let gate = Gate::new(3);
        let most = Arc::new(AtomicUsize::new(0));
        let inside = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (gate, most, inside) = (gate.clone(), most.clone(), inside.clone());
                tokio::spawn(async move {
                    for _ in 0..200 {
                        let pass = gate.clone().enter().await;
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(pass);
                    }
                })
            })
            .collect();
        let all = async {
            for caller in callers {
                caller.await.expect("no panic");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("somebody waits for ever");
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(gate.inside.load(Ordering::SeqCst), 0);
    }
}
