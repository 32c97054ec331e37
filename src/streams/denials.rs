//! What the server forbids a consumer that can do without.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::streams::events::Missing;

/// How long it is done without before it is tried again: rights come back.
const AGAIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Denials(Mutex<DenialState>);

#[derive(Debug, Default)]
struct DenialState {
    denied: Vec<(Missing, Instant)>,
    news: Vec<Missing>,
}

impl Denials {
    fn state(&self) -> MutexGuard<'_, DenialState> {
        // Nothing in here can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was denied a moment ago, so that trying again would only cost time.
    pub(crate) fn holds(&self, missing: Missing) -> bool {
        self.state().denied.iter().any(|(denied, at)| *denied == missing && at.elapsed() < AGAIN)
    }

    /// Takes note of an answer: `None` where the server forbids the command, or has none of that name.
    ///
    /// # Errors
    /// Every other error.
    pub(crate) fn note<T>(&self, missing: Missing, answer: Result<T>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => {
                self.state().denied.retain(|(denied, _)| *denied != missing);
                Ok(Some(answer))
            }
            Err(error) if error.is_forbidden() => {
                let mut state = self.state();
                if !state.denied.iter().any(|(denied, _)| *denied == missing) {
                    state.news.push(missing);
                }
                state.denied.retain(|(denied, _)| *denied != missing);
                state.denied.push((missing, Instant::now()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What nobody was told of yet.
    pub(crate) fn news(&self) -> Vec<Missing> {
        std::mem::take(&mut self.state().news)
    }
}
