//! The order in which elements go back that several callers left behind. The server serves those that wait in the order in
//! which they began to, so what the last one took goes back first.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// The waits whose callers have left, by the order in which they began.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReturnOrder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: AtomicU64,
    /// Each with the keys that it may have taken something from.
    leaving: Mutex<BTreeMap<u64, Vec<Vec<u8>>>>,
    left: Notify,
}

/// One of them, until what it took is back.
#[derive(Debug)]
pub(crate) struct Leaving {
    order: ReturnOrder,
    number: u64,
}

impl ReturnOrder {
    /// The number of a wait that begins now.
    pub(crate) fn begin(&self) -> u64 {
        self.0.begun.fetch_add(1, Ordering::Relaxed)
    }

    /// The caller of the wait of this number, which takes from these keys, is gone.
    pub(crate) fn leave(&self, number: u64, keys: Vec<Vec<u8>>) -> Leaving {
        self.leaving().insert(number, keys);
        Leaving { order: self.clone(), number }
    }

    fn leaving(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Vec<u8>>>> {
        self.0.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leaving {
    /// Waits until whatever was taken later from one of the same keys is back.
    pub(crate) async fn turn(&self) {
        loop {
            let left = self.order.0.left.notified();
            let is_last = {
                let leaving = self.order.leaving();
                let keys = leaving.get(&self.number);
                let shares = |other: &Vec<Vec<u8>>| keys.is_some_and(|keys| keys.iter().any(|key| other.contains(key)));
                !leaving.range(self.number + 1..).any(|(_, other)| shares(other))
            };
            if is_last {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.order.leaving().remove(&self.number);
        self.order.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Waker},
    };

    fn keys(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_was_taken_last_goes_back_first_for_each_key() {
        let order = ReturnOrder::default();
        let numbers: Vec<_> = (0..3).map(|_| order.begin()).collect();
        let first = order.leave(numbers[0], keys(&["a", "b"]));
        let other = order.leave(numbers[1], keys(&["c"]));
        let last = order.leave(numbers[2], keys(&["b"]));
        let mut cx = Context::from_waker(Waker::noop());
        let mut turn = pin!(first.turn());
        assert!(turn.as_mut().poll(&mut cx).is_pending());
        assert!(pin!(other.turn()).poll(&mut cx).is_ready() && pin!(last.turn()).poll(&mut cx).is_ready());
        drop(last);
        assert!(turn.as_mut().poll(&mut cx).is_ready());
    }
}
