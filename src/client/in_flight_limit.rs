//! Back-pressure for callers: a bound on how many commands of one connection are under way, and on their
//! bytes, that waits instead of failing.
//!
//! A permit is never assigned to a waiter that has not been polled: a future can be kept without being polled
//! for as long as its owner likes. A free permit stays in the semaphore, the first waiter is woken, and it has
//! [`GRACE`] to take it. After that the permit is free for the next; the late waiter keeps its position.
//!
//! The queue is entered by the call, not by the first poll, so that calls of one task keep their order even when
//! an executor polls other futures in between. A call that is not polled at all is passed by after [`GRACE`], too.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// The lower bits of the count hold bytes, the rest commands: one atomic addition enters with both.
const BYTES: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES) - 1;
/// Fewer than the bits could hold, so that the last one in cannot overflow them.
const MOST_COMMANDS: u64 = 1 << 22;
const MOST_BYTES: u64 = 1 << (BYTES - 1);

/// How long a free permit is reserved for a waiter that was woken or has just come. A waiter that is polled at all is
/// polled within a turn of its executor; one that needs longer only loses the reservation.
const GRACE: Duration = Duration::from_millis(10);
/// Sleeping waiters check by themselves for a permit that another one did not take. For each of them the checks
/// are this far apart, so that all of them together make no more than 10,000 a second.
const CHECK_EACH: Duration = Duration::from_micros(100);
const CHECK_MAX: Duration = Duration::from_secs(1);

/// A semaphore with two bounds. Uncontended it costs three atomic operations.
#[derive(Debug)]
pub(crate) struct InFlightLimit {
    inside: AtomicU64,
    /// The length of the queue: whoever comes while it is not empty goes behind it.
    waiting: AtomicUsize,
    commands: u64,
    bytes: u64,
    grace: Duration,
    queue: Mutex<Queue>,
}

/// A permit for one caller; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Permit {
    in_flight_limit: Arc<InFlightLimit>,
    share: u64,
}

/// Those that wait, by the order of their arrival.
#[derive(Debug)]
struct Queue {
    next: u64,
    /// Came at that time, and were not polled yet.
    new: BTreeMap<u64, Instant>,
    asleep: BTreeMap<u64, Waker>,
    /// Woken at that time, and not polled since.
    woken: BTreeMap<u64, Instant>,
    /// How many are woken for one free permit: doubled whenever a woken waiter was not polled in time, so that
    /// a thousand futures that nobody polls delay those behind them by ten graces.
    burst: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { next: 0, new: BTreeMap::new(), asleep: BTreeMap::new(), woken: BTreeMap::new(), burst: 1 }
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.new.len() + self.asleep.len() + self.woken.len()
    }

    fn join(&mut self, now: Instant) -> u64 {
        let place = self.next;
        self.next += 1;
        self.new.insert(place, now);
        place
    }

    fn leave(&mut self, place: u64) {
        self.new.remove(&place);
        self.asleep.remove(&place);
        self.woken.remove(&place);
    }

    /// Ends the reservations of those that did not come.
    fn expire(&mut self, now: Instant, grace: Duration) {
        let is_in_time = |_: &u64, since: &mut Instant| now.saturating_duration_since(*since) < grace;
        self.new.retain(is_in_time);
        let before = self.woken.len();
        self.woken.retain(is_in_time);
        if self.woken.len() < before {
            self.burst = self.burst.saturating_mul(2);
        }
    }

    /// Whether nobody waits before `place`.
    fn is_first(&self, place: u64) -> bool {
        let is_before = |first: Option<&u64>| first.is_none_or(|first| place <= *first);
        is_before(self.new.keys().next()) && is_before(self.asleep.keys().next()) && is_before(self.woken.keys().next())
    }

    /// Wakes those who are first, as far as nobody came before them who is still to be polled.
    fn wake(&mut self, count: usize, now: Instant) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while wakers.len() < count
            && self.asleep.keys().next() < Some(self.new.keys().next().unwrap_or(&u64::MAX))
            && let Some((place, waker)) = self.asleep.pop_first()
        {
            self.woken.insert(place, now);
            wakers.push(waker);
        }
        wakers
    }

    fn check_after(&self) -> Duration {
        let spread =
            u32::try_from(self.asleep.len()).map_or(CHECK_MAX, |len| CHECK_EACH.saturating_mul(2 * len.min(1 << 20)));
        (GRACE + spread.mul_f64(fastrand::f64())).min(CHECK_MAX)
    }
}

impl InFlightLimit {
    pub(crate) fn new(commands: usize, bytes: usize) -> Arc<Self> {
        Self::with_grace(commands, bytes, GRACE)
    }

    fn with_grace(commands: usize, bytes: usize, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            inside: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            commands: (commands as u64).clamp(1, MOST_COMMANDS),
            bytes: (bytes as u64).clamp(1, MOST_BYTES),
            grace,
            queue: Mutex::default(),
        })
    }

    /// Goes in with `bytes` if there is room now and nobody came before. The last one in may bring more than
    /// there is room for: a command larger than all the room must not wait for ever.
    pub(crate) fn try_acquire(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.go_in(bytes)
    }

    fn go_in(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let share = (1 << BYTES) | (bytes as u64).min(u32::MAX.into());
        // Never counted in beyond the room, not even for a moment: callers who count themselves in, find the
        // house full and leave again would keep each other out for ever.
        let one_more = |inside: u64| (!self.is_full(inside)).then_some(inside + share);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Permit { in_flight_limit: self.clone(), share })
    }

    /// Waits for room, behind those who wait already. The call enters the queue.
    ///
    /// # Cancel safety
    /// Giving up takes no room and makes way for the next. A future that is kept and not polled delays others by
    /// [`GRACE`], once.
    pub(crate) fn enter(self: Arc<Self>, bytes: usize) -> AcquireFuture {
        let place = self.change(|queue| (queue.join(Instant::now()), Vec::new()));
        AcquireFuture { in_flight_limit: self, bytes, place: Some(place), was_polled: false, check: None }
    }

    /// How many callers wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The bytes of all permits.
    pub(crate) fn bytes_inside(&self) -> u64 {
        self.inside.load(Ordering::Relaxed) & BYTES_MASK
    }

    fn is_full(&self, inside: u64) -> bool {
        inside >> BYTES >= self.commands || inside & BYTES_MASK >= self.bytes
    }

    fn has_room(&self) -> bool {
        !self.is_full(self.inside.load(Ordering::SeqCst))
    }

    /// Changes the queue and wakes whom the change wants woken, outside of the lock: a waker runs foreign code.
    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> (T, Vec<Waker>)) -> T {
        let mut queue: MutexGuard<'_, Queue> = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (result, wakers) = change(&mut queue);
        self.count(&queue);
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    #[cold]
    fn wake_one(&self) {
        self.change(|queue| ((), queue.wake(1, Instant::now())));
    }

    fn count(&self, queue: &Queue) {
        self.waiting.store(queue.len(), Ordering::SeqCst);
    }

    /// Wakes the next ones for room that nobody is to take.
    fn wake_next(&self, queue: &mut Queue, now: Instant) -> Vec<Waker> {
        if queue.woken.is_empty() && self.has_room() { queue.wake(queue.burst, now) } else { Vec::new() }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        let in_flight_limit = &self.in_flight_limit;
        in_flight_limit.inside.fetch_sub(self.share, Ordering::SeqCst);
        if in_flight_limit.waiting.load(Ordering::SeqCst) > 0 {
            in_flight_limit.wake_one();
        }
    }
}

/// The future of [`InFlightLimit::enter`].
pub(crate) struct AcquireFuture {
    in_flight_limit: Arc<InFlightLimit>,
    bytes: usize,
    /// Where it is in the queue; `None` once it has gone in.
    place: Option<u64>,
    was_polled: bool,
    check: Option<Pin<Box<Sleep>>>,
}

impl AcquireFuture {
    /// Takes room, or a place in the queue; then says when to check again.
    fn step(&mut self, waker: &Waker) -> Result<Permit, Duration> {
        let (in_flight_limit, bytes) = (self.in_flight_limit.clone(), self.bytes);
        let is_first_poll = !std::mem::replace(&mut self.was_polled, true);
        let (place, outcome) = in_flight_limit.change(|queue| {
            let now = Instant::now();
            let place = self.place.unwrap_or_else(|| queue.join(now));
            // Only who waits itself passes others by. On a thread that stood still those that came or were woken
            // before are polled before its timer is.
            if !is_first_poll {
                queue.expire(now, in_flight_limit.grace);
            }
            queue.new.remove(&place);
            if queue.woken.remove(&place).is_some() {
                queue.burst = 1;
            }
            let mut pass = if queue.is_first(place) { in_flight_limit.go_in(bytes) } else { None };
            if pass.is_none() {
                queue.asleep.insert(place, waker.clone());
                in_flight_limit.count(queue);
                // Whoever left before it was counted has woken nobody.
                pass = if queue.is_first(place) { in_flight_limit.go_in(bytes) } else { None };
            }
            if pass.is_some() {
                queue.asleep.remove(&place);
            }
            let wakers = in_flight_limit.wake_next(queue, now);
            ((place, pass.ok_or_else(|| queue.check_after())), wakers)
        });
        self.place = outcome.is_err().then_some(place);
        outcome
    }
}

impl Future for AcquireFuture {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let after = match self.step(cx.waker()) {
            Ok(pass) => return Poll::Ready(pass),
            Err(after) => after,
        };
        // An executor without tokio's clock does not check by itself; a place in the queue it has all the same.
        if self.check.is_none() && tokio::runtime::Handle::try_current().is_ok() {
            self.check = Some(Box::pin(tokio::time::sleep(after)));
        }
        if let Some(check) = &mut self.check
            && check.as_mut().poll(cx).is_ready()
        {
            check.as_mut().reset(tokio::time::Instant::now() + after);
            // Ready or not: the timer needs this task's waker.
            let _ = check.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

impl Drop for AcquireFuture {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let in_flight_limit = self.in_flight_limit.clone();
            in_flight_limit.change(|queue| {
                queue.leave(place);
                ((), in_flight_limit.wake_next(queue, Instant::now()))
            });
        }
    }
}

impl fmt::Debug for AcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entering").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::{pin::pin, task::Wake};

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn crowd(in_flight_limit: Arc<InFlightLimit>, bytes: usize) -> usize {
        let most = Arc::new(AtomicUsize::new(0));
        let inside = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (in_flight_limit, most, inside) = (in_flight_limit.clone(), most.clone(), inside.clone());
                tokio::spawn(async move {
                    for _ in 0..200 {
                        let pass = in_flight_limit.clone().enter(bytes).await;
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
        assert_eq!(in_flight_limit.inside.load(Ordering::SeqCst), 0);
        most.load(Ordering::SeqCst)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_more_than_room_inside_and_nobody_is_forgotten() {
        assert_eq!(crowd(InFlightLimit::new(3, usize::MAX), 1).await, 3);
        assert_eq!(crowd(InFlightLimit::new(usize::MAX, 300), 100).await, 3, "bounded by bytes");
        assert_eq!(crowd(InFlightLimit::new(usize::MAX, 300), 1 << 30).await, 1, "larger than all the room");
    }

    /// Ablation: calling somebody whenever a try failed makes those who wait wake each other for ever.
    #[test]
    fn those_who_wait_sleep_until_somebody_leaves() {
        let in_flight_limit = InFlightLimit::with_grace(1, usize::MAX, Duration::from_secs(3600));
        let inside = in_flight_limit.try_acquire(1).expect("room");
        let calls = Arc::new(Calls::default());
        let waker = calls.clone().into();
        let mut cx = Context::from_waker(&waker);
        let (mut one, mut two) = (pin!(in_flight_limit.clone().enter(1)), pin!(in_flight_limit.clone().enter(1)));
        for _ in 0..10 {
            assert!(one.as_mut().poll(&mut cx).is_pending() && two.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(calls.0.load(Ordering::SeqCst), 0);
        drop(inside);
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        assert!(in_flight_limit.try_acquire(1).is_none(), "nobody overtakes those who wait");
        assert!(two.as_mut().poll(&mut cx).is_pending(), "nor do they each other");
        let Poll::Ready(pass) = one.as_mut().poll(&mut cx) else { panic!("the first in line goes in") };
        drop(pass);
        assert!(two.as_mut().poll(&mut cx).is_ready());
    }

    fn poll_once(acquiring: &mut AcquireFuture, waker: &Waker) -> Poll<Permit> {
        Pin::new(acquiring).poll(&mut Context::from_waker(waker))
    }

    /// Ablation: assigning the freed permit to the woken waiter (no expiry of `woken`) leaves the last one pending.
    #[tokio::test]
    async fn waiters_that_are_not_polled_hold_up_nobody() {
        let in_flight_limit = InFlightLimit::new(1, usize::MAX);
        let inside = in_flight_limit.try_acquire(1).expect("room");
        let mut kept: Vec<_> = (0..100).map(|_| in_flight_limit.clone().enter(1)).collect();
        for acquiring in &mut kept {
            assert!(poll_once(acquiring, Waker::noop()).is_pending());
        }
        let polled: Vec<_> = (0..3)
            .map(|n| {
                let in_flight_limit = in_flight_limit.clone();
                tokio::spawn(async move {
                    drop(in_flight_limit.enter(1).await);
                    n
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(inside);
        for (n, polled) in polled.into_iter().enumerate() {
            let came = tokio::time::timeout(Duration::from_secs(20), polled).await.expect("those polled go in");
            assert_eq!(came.expect("no panic"), n);
        }
        let pass = tokio::time::timeout(Duration::from_secs(20), in_flight_limit.clone().enter(1))
            .await
            .expect("a later one too");
        drop(pass);
        assert!(poll_once(&mut kept[50], Waker::noop()).is_ready(), "polled again it goes in");
        drop(kept);
        assert_eq!(in_flight_limit.queue.lock().expect("whole").len(), 0, "dropped futures leave the queue");
        assert!(in_flight_limit.try_acquire(1).is_some());
    }

    /// Ablation: entering the queue by the first poll lets the last one go in before the first.
    #[tokio::test]
    async fn calls_keep_their_order_before_they_are_polled() {
        let in_flight_limit = InFlightLimit::with_grace(2, usize::MAX, Duration::from_secs(3600));
        let (one_inside, other_inside) =
            (in_flight_limit.try_acquire(1).expect("room"), in_flight_limit.try_acquire(1).expect("room"));
        let (mut first, mut second) = (in_flight_limit.clone().enter(1), in_flight_limit.clone().enter(1));
        drop((one_inside, other_inside));
        assert!(in_flight_limit.try_acquire(1).is_none(), "two came before");
        let mut third = in_flight_limit.clone().enter(1);
        assert!(poll_once(&mut third, Waker::noop()).is_pending());
        assert!(poll_once(&mut first, Waker::noop()).is_ready() && poll_once(&mut second, Waker::noop()).is_ready());
        assert!(poll_once(&mut third, Waker::noop()).is_ready());
        assert_eq!(in_flight_limit.queue.lock().expect("whole").len(), 0);
    }

    /// Ablation: without the expiry of `new` the one behind waits for ever.
    #[tokio::test]
    async fn calls_that_are_never_polled_hold_up_nobody() {
        let in_flight_limit = InFlightLimit::new(1, usize::MAX);
        let inside = in_flight_limit.try_acquire(1).expect("room");
        let kept: Vec<_> = (0..100).map(|_| in_flight_limit.clone().enter(1)).collect();
        let polled = tokio::spawn(in_flight_limit.clone().enter(1));
        tokio::task::yield_now().await;
        drop(inside);
        let pass = tokio::time::timeout(Duration::from_secs(20), polled).await.expect("goes in");
        drop((pass.expect("no panic"), kept));
        assert!(in_flight_limit.try_acquire(1).is_some());
    }

    /// Ablation: `Drop for AcquireFuture` without `wake_next` leaves the second waiter asleep.
    #[test]
    fn a_woken_waiter_that_is_dropped_wakes_the_next() {
        let in_flight_limit = InFlightLimit::with_grace(1, usize::MAX, Duration::from_secs(3600));
        let inside = in_flight_limit.try_acquire(1).expect("room");
        let calls = Arc::new(Calls::default());
        let waker = calls.clone().into();
        let (mut one, mut two) = (in_flight_limit.clone().enter(1), in_flight_limit.clone().enter(1));
        assert!(poll_once(&mut one, Waker::noop()).is_pending() && poll_once(&mut two, &waker).is_pending());
        drop(inside);
        assert_eq!(calls.0.load(Ordering::SeqCst), 0);
        drop(one);
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        assert!(poll_once(&mut two, &waker).is_ready());
    }
}
