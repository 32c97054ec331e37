//! Keeps a panic in the user's code from reaching the consumer.
//!
//! Decoding, ordering keys, `Display` of a handler's error and `Drop` of payloads are the user's code, run by the
//! consumer. A panic there concerns one entry; it must not restart the consumer and redeliver all others.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// What `work` returns, or `None` where it panics.
pub(crate) fn fence<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // What it panicked with is a value of the user's as well, and its drop may panic in turn.
            std::mem::forget(panic);
            None
        }
    }
}

/// As [`fence`], for a future. It is dropped inside the fence too.
pub(crate) async fn fenced<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut slot = pin!(Some(future));
    let output = poll_fn(|cx| match slot.as_mut().as_pin_mut() {
        Some(future) => match fence(|| future.poll(cx)) {
            Some(poll) => poll.map(Some),
            None => Poll::Ready(None),
        },
        None => Poll::Ready(None),
    })
    .await;
    fence(|| slot.set(None));
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    struct FailsWhenDropped;

    impl Drop for FailsWhenDropped {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("injected"));
        }
    }

    #[test]
    fn a_panic_ends_at_the_fence() {
        assert_eq!(fence(|| 1), Some(1));
        assert_eq!(fence(|| drop(FailsWhenDropped)), None);
        assert_eq!(fenced(async { 1 }).now_or_never(), Some(Some(1)));
        let fails = async {
            let _held = FailsWhenDropped;
        };
        assert_eq!(fenced(fails).now_or_never(), Some(None));
        let keeps = FailsWhenDropped;
        let never_ends = async move {
            let _held = keeps;
            std::future::pending::<()>().await;
        };
        // Dropped before it has ended, by whoever gives up on it.
        let given_up = fence(|| drop(Box::pin(fenced(never_ends))));
        assert_eq!(given_up, None);
    }
}
