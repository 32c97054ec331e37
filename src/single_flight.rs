//! One request serves all concurrent callers, and continues if they leave.
//!
//! All links of a handle use the same credentials and files. A provider that is slower than the timeout of one
//! connection attempt would otherwise never complete, and a read that hangs in the kernel would block one more thread
//! per attempt.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

/// See the module documentation.
pub(crate) struct SingleFlight<T>(Mutex<Option<watch::Receiver<Option<T>>>>);

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// The result of the running request, or of a new one from `start`. `None` if the request ended without a result:
    /// it panicked, or its runtime has ended.
    pub(crate) async fn run<F>(&self, start: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (joined, mut result) = self.join(&start);
        if let Some(found) = wait(&mut result).await {
            return Some(found);
        }
        // The request may have ended with another thread's runtime; this runtime is still running.
        if joined { wait(&mut self.join(&start).1).await } else { None }
    }

    /// Like [`run`](Self::run), with a new request: a running one may have begun before a change that the caller
    /// knows of.
    pub(crate) async fn run_again<F>(&self, start: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.run(start).await
    }

    /// Whether there was a running request, and the receiver of its result.
    fn join<F>(&self, start: &impl Fn() -> F) -> (bool, watch::Receiver<Option<T>>)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) =
            current.as_ref().filter(|result| result.borrow().is_none() && result.has_changed().is_ok())
        {
            return (true, under_way.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let request = start();
        tokio::spawn(async move {
            let result = request.await;
            // All callers may have left.
            let _ = sender.send(Some(result));
        });
        *current = Some(receiver.clone());
        (false, receiver)
    }
}

async fn wait<T: Clone>(result: &mut watch::Receiver<Option<T>>) -> Option<T> {
    result.wait_for(Option::is_some).await.ok()?.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };
    use tokio::{sync::Notify, time::timeout};

    #[tokio::test]
    async fn one_request_serves_all_callers_and_outlives_them() {
        let (flight, begun, in_flight_limit) =
            (SingleFlight::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let start = || {
            let (begun, in_flight_limit) = (begun.clone(), in_flight_limit.clone());
            async move {
                let nth = begun.fetch_add(1, Ordering::SeqCst);
                in_flight_limit.notified().await;
                nth
            }
        };
        assert!(timeout(Duration::from_millis(10), flight.run(start)).await.is_err(), "there is no result yet");
        let (one, other) = (flight.run(start), flight.run(start));
        let answer = async {
            tokio::task::yield_now().await;
            in_flight_limit.notify_one();
        };
        let (one, other, ()) = tokio::join!(one, other, answer);
        assert_eq!((one, other, begun.load(Ordering::SeqCst)), (Some(0), Some(0), 1));
        // A result is delivered to its waiters, and not to later callers.
        in_flight_limit.notify_one();
        assert_eq!(flight.run(start).await, Some(1));
    }

    #[tokio::test]
    async fn a_request_that_panics_ends_and_a_new_request_does_not_join() {
        let flight = SingleFlight::default();
        let failing: Option<u8> = flight.run(|| async { panic!("injected") }).await;
        assert_eq!(failing, None);
        let never = flight.run(std::future::pending);
        assert!(timeout(Duration::from_millis(10), never).await.is_err());
        assert_eq!(flight.run_again(|| std::future::ready(7)).await, Some(7));
    }
}
