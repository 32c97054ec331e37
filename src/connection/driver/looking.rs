//! Staying awake for an answer: who may, and how. When it pays is for [`crate::connection::busy_poll`] to say.

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

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Driver;
use crate::client::submit_queue::Callers;

/// The maximum number of threads of this process that wait for replies while one of them may busy-poll. With a connection on each of as many
/// threads as there are cores, those that look keep the server and the others from running. The cores are those that the
/// first to ask may use; quotas of the kernel's control groups are counted in.
static SPARE_CORES: LazyLock<u64> = LazyLock::new(|| available_parallelism().map_or(0, |cores| cores.get() as u64 - 1));

static ACTIVE_THREADS: ActiveThreads = ActiveThreads(AtomicU64::new(0));
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    /// The last millisecond in which this thread was counted.
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

/// How many threads wait for answers, counted in each millisecond: its number, the count of the one before, its own.
/// Threads that do other things are not seen, nor those that wait for longer than this, nor other processes.
#[repr(align(64))]
struct ActiveThreads(AtomicU64);

const COUNT_BITS: u32 = 12;
const MOST: u64 = (1 << COUNT_BITS) - 1;

impl ActiveThreads {
    /// Counts a thread that was counted last in the millisecond `counted`, as `threads`. Returns how many there are, or were
    /// in the millisecond before if that is more, and the millisecond it is counted in.
    fn enter(&self, millisecond: u64, counted: u64, threads: u64) -> (u64, u64) {
        let with_me = |held: u64| {
            let (at, count) = (held >> (2 * COUNT_BITS), held & MOST);
            // The time of a long turn is that of its beginning. Not counted for that, the busiest thread would be none.
            let millisecond = millisecond.max(at);
            (counted < millisecond).then(|| {
                let (before, count) = match millisecond - at {
                    0 => (held >> COUNT_BITS & MOST, count),
                    1 => (count, 0),
                    _ => (0, 0),
                };
                millisecond << (2 * COUNT_BITS) | before << COUNT_BITS | (count + threads).min(MOST)
            })
        };
        let held = match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_me) {
            Ok(before) => with_me(before).unwrap_or(before),
            Err(unchanged) => unchanged,
        };
        ((held >> COUNT_BITS & MOST).max(held & MOST), held >> (2 * COUNT_BITS))
    }
}

/// Whether a thread that looks would leave the others of this process a core. Those that would not look are counted as well:
/// they want one as soon as they are answered, and so do callers elsewhere, for one thread however many they are.
fn has_spare_core(now: Instant, callers: Callers) -> bool {
    let threads = match callers {
        Callers::Here => 1,
        Callers::OtherThread => 2,
    };
    let running = now.saturating_duration_since(*START);
    let millisecond = running.as_secs() * 1_000 + u64::from(running.subsec_millis()) + 1;
    let (waiting, counted) = ACTIVE_THREADS.enter(millisecond, COUNTED.get(), threads);
    COUNTED.set(counted);
    waiting <= *SPARE_CORES
}

/// Whether this thread is the one that asks the kernel which of its sockets are ready. A task of a runtime of many threads
/// that is polled again at once looks at nothing: another thread has to be woken to do it.
pub(super) fn polls_its_sockets() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// The state of a wait for replies.
struct ReplyWait {
    callers: Callers,
    /// Some are here already, left for the next turn.
    partial_read: bool,
    within_reply: bool,
}

impl ReplyWait {
    /// Not for callers elsewhere: theirs is a third thread that wants a core. And not for the rest of a reply: many small
    /// reads of what the server is still writing cost both more than one waking.
    fn may_busy_poll(&self) -> bool {
        self.callers == Callers::Here && !self.partial_read && !self.within_reply
    }
}

impl Driver {
    /// Looks for the answer of a fast server once more after the others of this thread had their turn, without sleeping.
    pub(super) fn stay_awake(&mut self, cx: &mut Context<'_>, callers: Callers) {
        if self.admission.in_flight() == 0 {
            return;
        }
        let has_spare_core = has_spare_core(self.now(), callers);
        let Some(link) = &mut self.established else { return };
        let Some(busy_poll) = &mut link.busy_poll else { return };
        let waiting =
            ReplyWait { callers, partial_read: link.partial_read.is_some(), within_reply: link.wire.is_within_reply() };
        if !has_spare_core || !waiting.may_busy_poll() {
            busy_poll.give_up();
            return;
        }
        // The time of this turn is that of its beginning, and it may have been a long one.
        if busy_poll.nothing_yet(Instant::now) {
            // Unlike a plain wake-up it has the runtime of an arbiter look at its sockets before this comes back.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_once_a_millisecond() {
        let active_threads = ActiveThreads(AtomicU64::new(0));
        let enter = |millisecond, counted| active_threads.enter(millisecond, counted, 1);
        assert_eq!((enter(5, 0), enter(5, 5), enter(5, 3)), ((1, 5), (1, 5), (2, 5)));
        // The first of the next one is not alone for that.
        assert_eq!((enter(6, 5), enter(6, 6)), ((2, 6), (2, 6)));
        assert_eq!((enter(7, 6), enter(9, 7)), ((1, 7), (1, 9)), "who was not there again is forgotten");
        assert_eq!((active_threads.enter(10, 9, 2), enter(10, 10)), ((2, 10), (2, 10)), "one that stands for two");
    }

    /// Ablation: left out for its old time, a thread of long turns is never counted; with that written over the newer one,
    /// both count themselves again and again.
    #[test]
    fn a_turn_that_began_before_is_counted_now() {
        let active_threads = ActiveThreads(AtomicU64::new(0));
        let enter = |millisecond, counted| active_threads.enter(millisecond, counted, 1);
        assert_eq!((enter(6, 0), enter(3, 1), enter(4, 6), enter(6, 6)), ((1, 6), (2, 6), (2, 6), (2, 6)));
    }

    #[test]
    fn the_count_of_active_threads_ends() {
        let active_threads = ActiveThreads(AtomicU64::new(0));
        assert_eq!((0..10_000).map(|_| active_threads.enter(1, 0, 1)).max(), Some((MOST, 1)));
        assert_eq!(active_threads.enter(2, 1, 1), (MOST, 2));
    }

    #[test]
    fn a_thread_whose_runtime_has_another_one_ask_the_sockets_does_not_look() {
        assert!(!polls_its_sockets(), "without one");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("built");
        assert!(!runtime.block_on(async { polls_its_sockets() }));
        assert!(actix_rt::System::new().block_on(async { polls_its_sockets() }));
    }

    #[test]
    fn only_callers_here_who_have_nothing_yet_are_waited_for_awake() {
        let here = ReplyWait { callers: Callers::Here, partial_read: false, within_reply: false };
        assert!(here.may_busy_poll());
        assert!(!ReplyWait { callers: Callers::OtherThread, ..here }.may_busy_poll());
        assert!(!ReplyWait { partial_read: true, ..here }.may_busy_poll());
        assert!(!ReplyWait { within_reply: true, ..here }.may_busy_poll());
    }
}
