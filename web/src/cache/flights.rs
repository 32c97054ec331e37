//! One computation a key at a time in this process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

type Landing = watch::Receiver<Option<Bytes>>;
type Current = Arc<Mutex<HashMap<String, Landing>>>;

/// The computations under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights(Current);

/// What a caller does.
pub(super) enum Flight {
    /// It computes.
    Lead(Leader),
    /// Another caller has computed the value.
    Landed(Bytes),
}

/// The right to compute. Dropped without a value it goes to the next caller.
pub(super) struct Leader {
    current: Current,
    key: String,
    landed: watch::Sender<Option<Bytes>>,
}

fn lock(current: &Current) -> MutexGuard<'_, HashMap<String, Landing>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flights {
    /// Waits for the computation of `key` that is under way, or begins one.
    pub(super) async fn join(&self, key: &str) -> Flight {
        loop {
            let mut landing = match lock(&self.0).entry(key.to_owned()) {
                Entry::Occupied(entry) => entry.get().clone(),
                Entry::Vacant(entry) => {
                    let (landed, landing) = watch::channel(None);
                    entry.insert(landing);
                    return Flight::Lead(Leader { current: self.0.clone(), key: key.to_owned(), landed });
                }
            };
            // An error: its leader has gone without a value.
            if let Ok(landed) = landing.wait_for(Option::is_some).await
                && let Some(value) = landed.clone()
            {
                return Flight::Landed(value);
            }
        }
    }
}

impl Leader {
    /// Passes the value on to the callers that wait.
    pub(super) fn land(self, value: Bytes) {
        self.landed.send_replace(Some(value));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Before the channel closes: a caller that wakes finds the way free.
        lock(&self.current).remove(&self.key);
    }
}
