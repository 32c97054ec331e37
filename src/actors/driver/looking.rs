//! Staying awake for an answer: who may, and how. When it pays is for [`crate::core::busy_poll`] to say.

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::Context,
    thread::available_parallelism,
    time::Instant,
};

use super::Driver;
use crate::intake::Callers;

/// So many threads of this process may wait for answers that they might look for, if any of them is to look. With a
/// connection on each of as many threads as there are cores, those that look keep the server and the others from running.
static SPARE_CORES: LazyLock<u64> = LazyLock::new(|| available_parallelism().map_or(0, |cores| cores.get() as u64 - 1));

static CROWD: Crowd = Crowd(AtomicU64::new(0));
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    /// The last millisecond in which this thread was counted.
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

/// How many threads might look for answers, counted anew each millisecond: its number, the count of the one before, its own.
struct Crowd(AtomicU64);

const COUNT_BITS: u32 = 12;
const MOST: u64 = (1 << COUNT_BITS) - 1;

impl Crowd {
    /// Counts a thread that was counted last in the millisecond `counted`. Returns how many there are.
    fn enter(&self, millisecond: u64, counted: u64) -> u64 {
        let with_me = |held: u64| {
            let (at, count) = (held >> (2 * COUNT_BITS), held & MOST);
            // Another thread's clock may be ahead by one.
            (counted < millisecond && at <= millisecond).then(|| {
                let (before, count) = match millisecond - at {
                    0 => (held >> COUNT_BITS & MOST, count),
                    1 => (count, 0),
                    _ => (0, 0),
                };
                millisecond << (2 * COUNT_BITS) | before << COUNT_BITS | (count + 1).min(MOST)
            })
        };
        let held = match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_me) {
            Ok(before) => with_me(before).unwrap_or(before),
            Err(unchanged) => unchanged,
        };
        (held >> COUNT_BITS & MOST).max(held & MOST)
    }
}

/// Whether a thread that looks leaves the others of this process a core.
fn is_room(now: Instant) -> bool {
    let millisecond = now.saturating_duration_since(*START).as_millis() as u64 + 1;
    CROWD.enter(millisecond, COUNTED.replace(millisecond)) <= *SPARE_CORES
}

impl Driver {
    /// Looks for the answer of a fast server once more after the others of this thread had their turn, without sleeping.
    /// Not for callers elsewhere: theirs is a third thread that wants a core. And not for the rest of a reply: many small
    /// reads of what the server is still writing cost both more than one waking.
    pub(super) fn stay_awake(&mut self, cx: &mut Context<'_>, callers: Callers) {
        if callers == Callers::Elsewhere || self.admission.in_flight() == 0 {
            return;
        }
        if let Some(link) = &mut self.established
            && let Some(busy_poll) = &mut link.busy_poll
            && link.midway.is_none()
            && !link.wire.is_within_reply()
        {
            // The time of this turn is that of its beginning, and it may have been a long one.
            let now = Instant::now();
            if is_room(now) && busy_poll.nothing_yet(now) {
                // Unlike a plain wake-up it has the runtime of an arbiter look at its sockets before this comes back.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_once_a_millisecond() {
        let crowd = Crowd(AtomicU64::new(0));
        assert_eq!((crowd.enter(5, 0), crowd.enter(5, 5), crowd.enter(5, 3)), (1, 1, 2));
        // The first of the next one is not alone for that.
        assert_eq!((crowd.enter(6, 5), crowd.enter(6, 6)), (2, 2));
        assert_eq!((crowd.enter(7, 6), crowd.enter(9, 7)), (1, 1), "who was not there again is forgotten");
    }

    /// Ablation: with an older time written over a newer one the two threads count themselves again and again.
    #[test]
    fn a_clock_that_is_behind_changes_nothing() {
        let crowd = Crowd(AtomicU64::new(0));
        assert_eq!((crowd.enter(6, 0), crowd.enter(5, 4), crowd.enter(6, 6)), (1, 1, 1));
    }

    #[test]
    fn a_crowd_has_an_end() {
        let crowd = Crowd(AtomicU64::new(0));
        assert_eq!((0..10_000).map(|_| crowd.enter(1, 0)).max(), Some(MOST));
        assert_eq!(crowd.enter(2, 1), MOST);
    }
}
