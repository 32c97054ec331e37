//! Back-pressure for callers: a bound on how many commands of one connection are under way, and on their
//! bytes, that waits instead of failing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::{Mutex, Notify};

/// The lower bits of the count hold bytes, the rest commands: one atomic addition enters with both.
const BYTES: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES) - 1;
/// Fewer than the bits could hold, so that the last one in cannot overflow them.
const MOST_COMMANDS: u64 = 1 << 22;
const MOST_BYTES: u64 = 1 << (BYTES - 1);

/// Counts callers in. Uncontended it costs three atomic operations, where a semaphore takes a lock.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: AtomicU64,
    /// Callers in [`enter`](Self::enter); whoever leaves calls one of them.
    waiting: AtomicUsize,
    commands: u64,
    bytes: u64,
    /// Held by the first of those who wait, so that they go in as they came.
    turn: Mutex<()>,
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
            waiting: AtomicUsize::new(0),
            commands: (commands as u64).clamp(1, MOST_COMMANDS),
            bytes: (bytes as u64).clamp(1, MOST_BYTES),
            turn: Mutex::new(()),
            left: Notify::new(),
        })
    }

    /// Goes in with `bytes` if there is room now and nobody came before. The last one in may bring more than
    /// there is room for: a command larger than all the room must not wait for ever.
    pub(crate) fn try_enter(self: &Arc<Self>, bytes: usize) -> Option<Pass> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.go_in(bytes)
    }

    fn go_in(self: &Arc<Self>, bytes: usize) -> Option<Pass> {
        let share = (1 << BYTES) | (bytes as u64).min(u32::MAX.into());
        // Never counted in beyond the room, not even for a moment: callers who count themselves in, find the
        // house full and leave again would keep each other out for ever.
        let one_more = |inside: u64| (!self.is_full(inside)).then_some(inside + share);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Pass { gate: self.clone(), share })
    }

    /// Waits for room, behind those who wait already.
    ///
    /// # Cancel safety
    /// Giving up takes no room and makes way for the next.
    pub(crate) async fn enter(self: Arc<Self>, bytes: usize) -> Pass {
        let _waiting = Waiting::new(&self);
        let _turn = self.turn.lock().await;
        loop {
            let called = self.left.notified();
            if let Some(pass) = self.go_in(bytes) {
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
        self.gate.inside.fetch_sub(self.share, Ordering::SeqCst);
        if self.gate.waiting.load(Ordering::SeqCst) > 0 {
            self.gate.left.notify_one();
        }
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
    use std::{
        future::Future,
        pin::pin,
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
        assert!(gate.try_enter(1).is_none(), "nobody overtakes those who wait");
        assert!(two.as_mut().poll(&mut cx).is_pending(), "nor do they each other");
        let Poll::Ready(pass) = one.as_mut().poll(&mut cx) else { panic!("the first in line goes in") };
        drop(pass);
        assert!(two.as_mut().poll(&mut cx).is_ready());
    }
}
