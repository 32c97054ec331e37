//! Back-pressure for callers: a bound on how many commands of one connection are under way, and on their
//! bytes, that waits instead of failing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// The lower bits of the count hold bytes, the rest commands: one atomic addition enters with both.
const BYTES: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES) - 1;
/// Counted in fewer bits than there are, so that callers who are being turned away cannot overflow them.
const MOST_COMMANDS: u64 = 1 << 22;
const MOST_BYTES: u64 = 1 << (BYTES - 1);

/// Counts callers in. Uncontended it costs two atomic additions, where a semaphore takes a lock.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: AtomicU64,
    commands: u64,
    bytes: u64,
    left: Notify,
}

/// One caller inside; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    share: u64,
}

impl Gate {
    pub(crate) fn new(commands: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            inside: AtomicU64::new(0),
            commands: (commands as u64).clamp(1, MOST_COMMANDS),
            bytes: (bytes as u64).clamp(1, MOST_BYTES),
            left: Notify::new(),
        })
    }

    /// Goes in with `bytes` if there is room now. The last one in may bring more than there is room for: a
    /// command larger than all the room must not wait for ever.
    pub(crate) fn try_enter(self: &Arc<Self>, bytes: usize) -> Option<Pass> {
        let share = (1 << BYTES) | (bytes as u64).min(u32::MAX.into());
        if !self.is_full(self.inside.fetch_add(share, Ordering::AcqRel)) {
            return Some(Pass { gate: self.clone(), share });
        }
        // While we were counted, somebody who was called may have been turned away because of us: that call
        // must not be lost. A house that is still full calls nobody, or those who wait would wake each other
        // for ever.
        if !self.is_full(self.inside.fetch_sub(share, Ordering::AcqRel) - share) {
            self.left.notify_one();
        }
        None
    }

    /// Waits for room.
    ///
    /// # Cancel safety
    /// Giving up takes no room, and a call for this caller goes to the next.
    pub(crate) async fn enter(self: Arc<Self>, bytes: usize) -> Pass {
        loop {
            let called = self.left.notified();
            if let Some(pass) = self.try_enter(bytes) {
                // One large command that left made room for many.
                if !self.is_full(self.inside.load(Ordering::Acquire)) {
                    self.left.notify_one();
                }
                return pass;
            }
            called.await;
        }
    }

    fn is_full(&self, inside: u64) -> bool {
        inside >> BYTES >= self.commands || inside & BYTES_MASK >= self.bytes
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.gate.is_full(self.gate.inside.fetch_sub(self.share, Ordering::AcqRel)) {
            self.gate.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        sync::atomic::AtomicUsize,
        task::{Context, Poll, Wake},
        time::Duration,
    };

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn crowd(gate: Arc<Gate>, bytes: usize) -> usize {
        let most = Arc::new(AtomicUsize::new(0));
        let inside = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (gate, most, inside) = (gate.clone(), most.clone(), inside.clone());
                tokio::spawn(async move {
                    for _ in 0..200 {
                        let pass = gate.clone().enter(bytes).await;
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
        assert_eq!(gate.inside.load(Ordering::SeqCst), 0);
        most.load(Ordering::SeqCst)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_more_than_room_inside_and_nobody_is_forgotten() {
        assert_eq!(crowd(Gate::new(3, usize::MAX), 1).await, 3);
        assert_eq!(crowd(Gate::new(usize::MAX, 300), 100).await, 3, "bounded by bytes");
        assert_eq!(crowd(Gate::new(usize::MAX, 300), 1 << 30).await, 1, "larger than all the room");
    }

    /// Ablation: calling somebody whenever a try failed makes those who wait wake each other for ever.
    #[test]
    fn those_who_wait_sleep_until_somebody_leaves() {
        let gate = Gate::new(1, usize::MAX);
        let inside = gate.try_enter(1).expect("room");
        let calls = Arc::new(Calls::default());
        let waker = calls.clone().into();
        let mut cx = Context::from_waker(&waker);
        let (mut one, mut two) = (pin!(gate.clone().enter(1)), pin!(gate.clone().enter(1)));
        for _ in 0..10 {
            assert!(one.as_mut().poll(&mut cx).is_pending() && two.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(calls.0.load(Ordering::SeqCst), 0);
        drop(inside);
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        let Poll::Ready(pass) = one.as_mut().poll(&mut cx) else { panic!("the first in line goes in") };
        drop(pass);
        assert!(two.as_mut().poll(&mut cx).is_ready());
    }
}
