//! Concurrent misses of one command share one request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use redis::Value;

use super::counters::Stamps;
use crate::connection::request::BoxedTicket;
use crate::error::Result;

/// Sends a command by itself.
pub(crate) type Resubmit = Box<dyn FnOnce(BoxedTicket) + Send>;

/// The requests under way, by their encoded command.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Arc<[u8]>, Flight, RandomState>>);

struct Flight {
    /// Of the time when it was submitted. With others a caller may know of a change that the reply does not show.
    stamps: Stamps,
    followers: Followers,
}

type Followers = Arc<Mutex<Vec<(BoxedTicket, Resubmit)>>>;

/// A request that others may join. They are answered with it, or sent by themselves when it fails or is dropped.
pub(super) struct Lead {
    flights: Arc<Flights>,
    line: Arc<[u8]>,
    followers: Followers,
}

impl Flights {
    /// Joins the request for this command that is under way, or begins one: then the ticket is returned.
    pub(super) fn join(
        self: &Arc<Self>,
        line: &[u8],
        stamps: Stamps,
        ticket: BoxedTicket,
        resubmit: impl FnOnce() -> Resubmit,
    ) -> Option<(BoxedTicket, Lead)> {
        let mut flights = lock(&self.0);
        if let Some(flight) = flights.get(line)
            && flight.stamps == stamps
        {
            lock(&flight.followers).push((ticket, resubmit()));
            return None;
        }
        let (line, followers): (Arc<[u8]>, Followers) = (line.into(), Arc::default());
        // A request that was submitted before a change goes on, and nobody joins it any more.
        flights.insert(line.clone(), Flight { stamps, followers: followers.clone() });
        drop(flights);
        Some((ticket, Lead { flights: self.clone(), line, followers }))
    }
}

impl Lead {
    pub(super) fn has_followers(&self) -> bool {
        !lock(&self.followers).is_empty()
    }

    /// Answers the followers with this outcome, unless it is an error.
    pub(super) fn land(self, outcome: &Result<Value>) {
        let Ok(value) = outcome else { return };
        for (ticket, _) in self.take_followers() {
            ticket.complete(Ok(value.clone()));
        }
    }

    fn take_followers(&self) -> Vec<(BoxedTicket, Resubmit)> {
        let mut flights = lock(&self.flights.0);
        if flights.get(&*self.line).is_some_and(|flight| Arc::ptr_eq(&flight.followers, &self.followers)) {
            flights.remove(&*self.line);
        }
        drop(flights);
        std::mem::take(&mut lock(&self.followers))
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        for (ticket, resubmit) in self.take_followers() {
            resubmit(ticket);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No operation can leave the content inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
