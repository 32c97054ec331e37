//! Staying awake for an answer: who may, and how. When it pays is for [`crate::core::busy_poll`] to say.

use std::{
    future::Future,
    pin::pin,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
    thread::available_parallelism,
    time::Instant,
};

use super::Driver;
use crate::intake::Callers;

/// So many links of this process may look at once: with a connection on each of as many threads as there are cores, the
/// server would have none left to answer on.
static SEATS: LazyLock<Seats> =
    LazyLock::new(|| Seats::new(available_parallelism().map_or(0, |cores| cores.get() - 1)));

#[derive(Debug)]
struct Seats(AtomicUsize);

impl Seats {
    fn new(seats: usize) -> Self {
        Self(AtomicUsize::new(seats))
    }

    fn take(&self) -> Option<Seat<'_>> {
        let one_less = |free: usize| free.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok().map(|_| Seat(self))
    }
}

/// The right to look, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat<'a>(&'a Seats);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Driver {
    /// Looks for the answer of a fast server once more after the others of this thread had their turn, without sleeping.
    /// Not for callers elsewhere: theirs is a third thread that wants a core. And not for the rest of a reply: many small
    /// reads of what the server is still writing cost both more than one waking.
    pub(super) fn stay_awake(&mut self, cx: &mut Context<'_>, callers: Callers) {
        let is_owed = self.admission.in_flight() > 0;
        let Some(link) = &mut self.established else { return };
        let may_look =
            link.looks && is_owed && callers == Callers::Here && link.midway.is_none() && !link.wire.is_within_reply();
        if may_look {
            link.seat = link.seat.take().or_else(|| SEATS.take());
            // The time of this turn is that of its beginning, and it may have been a long one.
            if link.seat.is_some() && link.busy_poll.nothing_yet(Instant::now()) {
                // Unlike a plain wake-up it has the runtime of an arbiter look at its sockets before this comes back.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return;
            }
        }
        link.seat = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ablation: without a count of them two threads of two look at once, and what they wait for does not run.
    #[test]
    fn there_are_so_many_seats() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take(), seats.take());
        assert!(first.is_some() && second.is_some() && seats.take().is_none());
        drop(first);
        let again = seats.take();
        assert!(again.is_some() && seats.take().is_none());
        assert!(Seats::new(0).take().is_none(), "on the only core");
    }
}
