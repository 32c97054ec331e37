//! Backpressure for callers: a limit on the number and the bytes of commands in progress, which waits instead of
//! failing.
//!
//! A permit is never assigned to a waiter that has not been polled, because its owner may keep a future unpolled for
//! any time. A free permit stays in the semaphore, the first waiter is woken, and has [`GRACE`] to take it. After
//! that the next waiter may take the permit; the late one keeps its position.
//!
//! A call enters the queue immediately and not at its first poll, so the calls of one task keep their order even if
//! an executor polls other futures in between. A call that is never polled is skipped after [`GRACE`] as well.

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

/// The lower bits of the counter hold bytes, the upper bits commands, so that one atomic addition updates both.
const BYTES: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES) - 1;
/// Fewer than the bits can represent, so that the last permit cannot overflow them.
const MOST_COMMANDS: u64 = 1 << 22;
const MOST_BYTES: u64 = 1 << (BYTES - 1);

/// How long a free permit is reserved for a waiter that was woken or has just arrived. An active waiter is polled
/// within one iteration of its executor; a slower one only loses the reservation.
const GRACE: Duration = Duration::from_millis(10);
/// Sleeping waiters periodically check for a permit that another one did not take. The interval is this long per
/// waiter, so that all waiters together check no more than 10,000 times a second.
const CHECK_EACH: Duration = Duration::from_micros(100);
const CHECK_MAX: Duration = Duration::from_secs(1);

/// A semaphore with two limits. Without contention it needs three atomic operations.
#[derive(Debug)]
pub(crate) struct InFlightLimit {
    acquired: AtomicU64,
    /// The length of the queue: new callers queue if it is not zero.
    waiting: AtomicUsize,
    commands: u64,
    bytes: u64,
    grace: Duration,
    queue: Mutex<Queue>,
}

/// A permit for one caller, released on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    in_flight_limit: Arc<InFlightLimit>,
    share: u64,
}

/// The waiters, in order of arrival.
#[derive(Debug)]
struct Queue {
    next: u64,
    /// The arrival time of waiters that were not polled yet.
    new: BTreeMap<u64, Instant>,
    asleep: BTreeMap<u64, Waker>,
    /// The wake time of waiters that were not polled since.
    woken: BTreeMap<u64, Instant>,
    /// How many waiters are woken for one free permit. It is doubled whenever a woken waiter was not polled in time,
    /// so that a thousand unpolled futures delay the waiters behind them by ten grace periods.
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
        let position = self.next;
        self.next += 1;
        self.new.insert(position, now);
        position
    }

    fn leave(&mut self, position: u64) {
        self.new.remove(&position);
        self.asleep.remove(&position);
        self.woken.remove(&position);
    }

    /// Ends the reservations of waiters that were not polled in time.
    fn expire(&mut self, now: Instant, grace: Duration) {
        let is_in_time = |_: &u64, since: &mut Instant| now.saturating_duration_since(*since) < grace;
        self.new.retain(is_in_time);
        let before = self.woken.len();
        self.woken.retain(is_in_time);
        if self.woken.len() < before {
            self.burst = self.burst.saturating_mul(2);
        }
    }

    /// Whether there is no waiter before `position`.
    fn is_first(&self, position: u64) -> bool {
        let is_before = |first: Option<&u64>| first.is_none_or(|first| position <= *first);
        is_before(self.new.keys().next()) && is_before(self.asleep.keys().next()) && is_before(self.woken.keys().next())
    }

    /// Wakes the first waiters, unless an earlier one still has a reservation.
    fn wake(&mut self, count: usize, now: Instant) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while wakers.len() < count
            && self.asleep.keys().next() < Some(self.new.keys().next().unwrap_or(&u64::MAX))
            && let Some((position, waker)) = self.asleep.pop_first()
        {
            self.woken.insert(position, now);
            wakers.push(waker);
        }
        wakers
    }

    fn check_after(&self) -> Duration {
        let interval =
            u32::try_from(self.asleep.len()).map_or(CHECK_MAX, |len| CHECK_EACH.saturating_mul(2 * len.min(1 << 20)));
        (GRACE + interval.mul_f64(fastrand::f64())).min(CHECK_MAX)
    }
}

impl InFlightLimit {
    pub(crate) fn new(commands: usize, bytes: usize) -> Arc<Self> {
        Self::with_grace(commands, bytes, GRACE)
    }

    fn with_grace(commands: usize, bytes: usize, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            acquired: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            commands: (commands as u64).clamp(1, MOST_COMMANDS),
            bytes: (bytes as u64).clamp(1, MOST_BYTES),
            grace,
            queue: Mutex::default(),
        })
    }

    /// Acquires a permit for `bytes` if there is room now and no earlier waiter. The last permit may exceed the
    /// limit: a command larger than the limit must not wait forever.
    pub(crate) fn try_acquire(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.acquire_now(bytes)
    }

    fn acquire_now(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let share = (1 << BYTES) | (bytes as u64).min(u32::MAX.into());
        // The counter never exceeds the limit, not even temporarily: callers that add first, find no room and
        // subtract again would exclude each other forever.
        let one_more = |acquired: u64| (!self.is_full(acquired)).then_some(acquired + share);
        self.acquired.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Permit { in_flight_limit: self.clone(), share })
    }

    /// Waits for a permit, after the present waiters. The call enters the queue immediately.
    ///
    /// # Cancel safety
    /// Dropping the future takes no permit, and the next waiter proceeds. A future that is kept unpolled delays
    /// others by [`GRACE`], once.
    pub(crate) fn enter(self: Arc<Self>, bytes: usize) -> AcquireFuture {
        let position = self.change(|queue| (queue.join(Instant::now()), Vec::new()));
        AcquireFuture { in_flight_limit: self, bytes, position: Some(position), was_polled: false, check: None }
    }

    /// The number of waiting callers.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The bytes of all acquired permits.
    pub(crate) fn bytes_inside(&self) -> u64 {
        self.acquired.load(Ordering::Relaxed) & BYTES_MASK
    }

    fn is_full(&self, acquired: u64) -> bool {
        acquired >> BYTES >= self.commands || acquired & BYTES_MASK >= self.bytes
    }

    fn has_room(&self) -> bool {
        !self.is_full(self.acquired.load(Ordering::SeqCst))
    }

    /// Changes the queue and then wakes the returned wakers outside of the lock, because a waker runs foreign code.
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

    /// Wakes the next waiters if there is room without a reservation.
    fn wake_next(&self, queue: &mut Queue, now: Instant) -> Vec<Waker> {
        if queue.woken.is_empty() && self.has_room() { queue.wake(queue.burst, now) } else { Vec::new() }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        let in_flight_limit = &self.in_flight_limit;
        in_flight_limit.acquired.fetch_sub(self.share, Ordering::SeqCst);
        if in_flight_limit.waiting.load(Ordering::SeqCst) > 0 {
            in_flight_limit.wake_one();
        }
    }
}

/// The future of [`InFlightLimit::enter`].
pub(crate) struct AcquireFuture {
    in_flight_limit: Arc<InFlightLimit>,
    bytes: usize,
    /// The position in the queue; `None` after the permit was acquired.
    position: Option<u64>,
    was_polled: bool,
    check: Option<Pin<Box<Sleep>>>,
}

impl AcquireFuture {
    /// Acquires a permit, or returns the time until the next check.
    fn step(&mut self, waker: &Waker) -> Result<Permit, Duration> {
        let (in_flight_limit, bytes) = (self.in_flight_limit.clone(), self.bytes);
        let is_first_poll = !std::mem::replace(&mut self.was_polled, true);
        let (position, outcome) = in_flight_limit.change(|queue| {
            let now = Instant::now();
            let position = self.position.unwrap_or_else(|| queue.join(now));
            // Only a waiting caller skips earlier ones. After a stall of the thread, earlier waiters that arrived or
            // were woken are polled before this timer.
            if !is_first_poll {
                queue.expire(now, in_flight_limit.grace);
            }
            queue.new.remove(&position);
            if queue.woken.remove(&position).is_some() {
                queue.burst = 1;
            }
            let mut permit = if queue.is_first(position) { in_flight_limit.acquire_now(bytes) } else { None };
            if permit.is_none() {
                queue.asleep.insert(position, waker.clone());
                in_flight_limit.count(queue);
                // A permit that was released before this waiter was counted has woken no waiter.
                permit = if queue.is_first(position) { in_flight_limit.acquire_now(bytes) } else { None };
            }
            if permit.is_some() {
                queue.asleep.remove(&position);
            }
            let wakers = in_flight_limit.wake_next(queue, now);
            ((position, permit.ok_or_else(|| queue.check_after())), wakers)
        });
        self.position = outcome.is_err().then_some(position);
        outcome
    }
}

impl Future for AcquireFuture {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let after = match self.step(cx.waker()) {
            Ok(permit) => return Poll::Ready(permit),
            Err(after) => after,
        };
        // Without tokio's timer there are no periodic checks; the position in the queue is kept nevertheless.
        if self.check.is_none() && tokio::runtime::Handle::try_current().is_ok() {
            self.check = Some(Box::pin(tokio::time::sleep(after)));
        }
        if let Some(check) = &mut self.check
            && check.as_mut().poll(cx).is_ready()
        {
            check.as_mut().reset(tokio::time::Instant::now() + after);
            // The timer must register this task's waker, whether it is ready or not.
            let _ = check.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

impl Drop for AcquireFuture {
    fn drop(&mut self) {
        if let Some(position) = self.position {
            let in_flight_limit = self.in_flight_limit.clone();
            in_flight_limit.change(|queue| {
                queue.leave(position);
                ((), in_flight_limit.wake_next(queue, Instant::now()))
            });
        }
    }
}

impl fmt::Debug for AcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").field("position", &self.position).finish_non_exhaustive()
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

    async fn largest_concurrency(in_flight_limit: Arc<InFlightLimit>, bytes: usize) -> usize {
        let most = Arc::new(AtomicUsize::new(0));
        let acquired = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (in_flight_limit, most, acquired) = (in_flight_limit.clone(), most.clone(), acquired.clone());
                tokio::spawn(async move {
                    for _ in 0..200 {
                        let permit = in_flight_limit.clone().enter(bytes).await;
                        most.fetch_max(acquired.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        acquired.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                })
            })
            .collect();
        let all = async {
            for caller in callers {
                caller.await.expect("no panic");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("all callers complete");
        assert_eq!(in_flight_limit.acquired.load(Ordering::SeqCst), 0);
        most.load(Ordering::SeqCst)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_limit_is_never_exceeded_and_every_waiter_completes() {
        assert_eq!(largest_concurrency(InFlightLimit::new(3, usize::MAX), 1).await, 3);
        assert_eq!(largest_concurrency(InFlightLimit::new(usize::MAX, 300), 100).await, 3, "bounded by bytes");
        assert_eq!(largest_concurrency(InFlightLimit::new(usize::MAX, 300), 1 << 30).await, 1, "larger than the limit");
    }

    /// Ablation: if a failed attempt always wakes another waiter, the waiters wake each other forever.
    #[test]
    fn waiters_sleep_until_a_permit_is_released() {
        let in_flight_limit = InFlightLimit::with_grace(1, usize::MAX, Duration::from_secs(3600));
        let acquired = in_flight_limit.try_acquire(1).expect("room");
        let calls = Arc::new(Calls::default());
        let waker = calls.clone().into();
        let mut cx = Context::from_waker(&waker);
        let (mut one, mut two) = (pin!(in_flight_limit.clone().enter(1)), pin!(in_flight_limit.clone().enter(1)));
        for _ in 0..10 {
            assert!(one.as_mut().poll(&mut cx).is_pending() && two.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(calls.0.load(Ordering::SeqCst), 0);
        drop(acquired);
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        assert!(in_flight_limit.try_acquire(1).is_none(), "a new caller does not overtake waiters");
        assert!(two.as_mut().poll(&mut cx).is_pending(), "waiters do not overtake each other");
        let Poll::Ready(permit) = one.as_mut().poll(&mut cx) else { panic!("the first waiter gets the permit") };
        drop(permit);
        assert!(two.as_mut().poll(&mut cx).is_ready());
    }

    fn poll_once(acquiring: &mut AcquireFuture, waker: &Waker) -> Poll<Permit> {
        Pin::new(acquiring).poll(&mut Context::from_waker(waker))
    }

    /// Ablation: if the freed permit is assigned to the woken waiter (no expiry of `woken`), the last one stays
    /// pending.
    #[tokio::test]
    async fn unpolled_waiters_do_not_block_others() {
        let in_flight_limit = InFlightLimit::new(1, usize::MAX);
        let acquired = in_flight_limit.try_acquire(1).expect("room");
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
        drop(acquired);
        for (n, polled) in polled.into_iter().enumerate() {
            let came =
                tokio::time::timeout(Duration::from_secs(20), polled).await.expect("polled waiters get a permit");
            assert_eq!(came.expect("no panic"), n);
        }
        let permit = tokio::time::timeout(Duration::from_secs(20), in_flight_limit.clone().enter(1))
            .await
            .expect("a later waiter as well");
        drop(permit);
        assert!(poll_once(&mut kept[50], Waker::noop()).is_ready(), "a permit after it is polled again");
        drop(kept);
        assert_eq!(in_flight_limit.queue.lock().expect("whole").len(), 0, "dropped futures leave the queue");
        assert!(in_flight_limit.try_acquire(1).is_some());
    }

    /// Ablation: if the first poll enters the queue, the last call gets a permit before the first.
    #[tokio::test]
    async fn calls_keep_their_order_before_they_are_polled() {
        let in_flight_limit = InFlightLimit::with_grace(2, usize::MAX, Duration::from_secs(3600));
        let (one_permit, other_permit) =
            (in_flight_limit.try_acquire(1).expect("room"), in_flight_limit.try_acquire(1).expect("room"));
        let (mut first, mut second) = (in_flight_limit.clone().enter(1), in_flight_limit.clone().enter(1));
        drop((one_permit, other_permit));
        assert!(in_flight_limit.try_acquire(1).is_none(), "two calls are before it");
        let mut third = in_flight_limit.clone().enter(1);
        assert!(poll_once(&mut third, Waker::noop()).is_pending());
        assert!(poll_once(&mut first, Waker::noop()).is_ready() && poll_once(&mut second, Waker::noop()).is_ready());
        assert!(poll_once(&mut third, Waker::noop()).is_ready());
        assert_eq!(in_flight_limit.queue.lock().expect("whole").len(), 0);
    }

    /// Ablation: without the expiry of `new` the next waiter waits forever.
    #[tokio::test]
    async fn calls_that_are_never_polled_do_not_block_others() {
        let in_flight_limit = InFlightLimit::new(1, usize::MAX);
        let acquired = in_flight_limit.try_acquire(1).expect("room");
        let kept: Vec<_> = (0..100).map(|_| in_flight_limit.clone().enter(1)).collect();
        let polled = tokio::spawn(in_flight_limit.clone().enter(1));
        tokio::task::yield_now().await;
        drop(acquired);
        let permit = tokio::time::timeout(Duration::from_secs(20), polled).await.expect("a permit");
        drop((permit.expect("no panic"), kept));
        assert!(in_flight_limit.try_acquire(1).is_some());
    }

    /// Ablation: without `wake_next` in `Drop for AcquireFuture` the second waiter stays asleep.
    #[test]
    fn a_woken_waiter_that_is_dropped_wakes_the_next() {
        let in_flight_limit = InFlightLimit::with_grace(1, usize::MAX, Duration::from_secs(3600));
        let acquired = in_flight_limit.try_acquire(1).expect("room");
        let calls = Arc::new(Calls::default());
        let waker = calls.clone().into();
        let (mut one, mut two) = (in_flight_limit.clone().enter(1), in_flight_limit.clone().enter(1));
        assert!(poll_once(&mut one, Waker::noop()).is_pending() && poll_once(&mut two, &waker).is_pending());
        drop(acquired);
        assert_eq!(calls.0.load(Ordering::SeqCst), 0);
        drop(one);
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        assert!(poll_once(&mut two, &waker).is_ready());
    }
}
