//! Back-pressure for callers: a bound on how many commands of one connection are under way, that waits
//! instead of failing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Counts callers in. Uncontended it costs two atomic additions, where a semaphore takes a lock.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    room: usize,
    left: Notify,
}

/// One caller inside; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { inside: AtomicUsize::new(0), room: room.max(1), left: Notify::new() })
    }

    /// Goes in if there is room now.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        if self.inside.fetch_add(1, Ordering::AcqRel) < self.room {
            return Some(Pass(self.clone()));
        }
        // Whoever left while we were counted saw a full house and called somebody; that call must not be lost.
        self.leave();
        None
    }

    /// Waits for room.
    ///
    /// # Cancel safety
    /// Giving up takes no room, and a call for this caller goes to the next.
    pub(crate) async fn enter(self: Arc<Self>) -> Pass {
        loop {
            let called = self.left.notified();
            if let Some(pass) = self.try_enter() {
                return pass;
            }
            called.await;
        }
    }

    fn leave(&self) {
        if self.inside.fetch_sub(1, Ordering::AcqRel) >= self.room {
            self.left.notify_one();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.leave();
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
