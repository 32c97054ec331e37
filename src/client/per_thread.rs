//! A connection for each thread that sends commands.
//!
//! A thread finds its connection in a thread-local list, without a lock. The registry behind the handle bounds their number, adds up
//! their counters, and ends them with the last handle.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::Instant;

use actix::{Arbiter, WeakAddr};

use super::Redis;
use super::gauges::Gauges;
use super::in_flight_limit::InFlightLimit;
use crate::actors::connection::{RedisActor, Run};
use crate::client::builder::{ConnectionSpec, place};
use crate::config::HostPort;
use crate::connection::admission::AdmissionCounters;
use crate::connection::error_rate::ErrorRate;
use crate::dedicated::pool::{LinkRole, Links};

static REGISTRIES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The connections of this thread. Services have one or two handles.
    static OWN: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
}

/// What a thread knows of one registry.
struct Own {
    registry: u64,
    /// Has no owner any more when the registry is gone.
    alive: Weak<()>,
    /// `None`: the maximum was reached, and the thread uses the shared connection.
    redis: Option<Redis>,
}

/// The connections of the threads that use one handle.
pub(crate) struct ThreadConnections {
    number: u64,
    alive: Arc<()>,
    spec: ConnectionSpec,
    /// The initial nodes of a cluster.
    seeds: Vec<HostPort>,
    max: NonZeroUsize,
    links: Weak<Links>,
    /// The thread of the shared connection, which needs no other one.
    home: Arc<OnceLock<ThreadId>>,
    state: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    open: Vec<Entry>,
    /// The outcomes of commands on connections that have ended.
    ended: AdmissionCounters,
}

struct Entry {
    addr: WeakAddr<RedisActor>,
    gauges: Arc<Gauges>,
    in_flight_limit: Arc<InFlightLimit>,
}

/// The sums over the connections of all threads.
#[derive(Default)]
pub(crate) struct ThreadTotals {
    pub(crate) in_flight: usize,
    pub(crate) queued: usize,
    pub(crate) waiting_for_room: usize,
    pub(crate) bytes: u64,
    pub(crate) ended: AdmissionCounters,
    pub(crate) rate: ErrorRate,
}

impl ThreadConnections {
    pub(crate) fn new(spec: ConnectionSpec, seeds: Vec<HostPort>, max: NonZeroUsize, links: &Arc<Links>) -> Self {
        Self {
            number: REGISTRIES.fetch_add(1, Ordering::Relaxed),
            alive: Arc::default(),
            spec,
            seeds,
            max,
            links: Arc::downgrade(links),
            home: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// Receives the thread of the shared connection when its actor starts.
    pub(crate) fn home(&self) -> Arc<OnceLock<ThreadId>> {
        self.home.clone()
    }

    /// The connection of this thread. `None`: the thread uses `shared`.
    pub(crate) fn of_this_thread(&self, shared: &Redis) -> Option<Redis> {
        OWN.with_borrow_mut(|own| {
            match own.iter().find(|own| own.registry == self.number) {
                Some(Own { redis: Some(redis), .. }) if redis.addr.connected() => return Some(redis.clone()),
                Some(Own { redis: None, .. }) => return None,
                _ => {}
            }
            // The arbiter may be started later on this thread, and the home thread is unknown until the shared actor runs.
            Arbiter::try_current()?;
            if *self.home.get()? == thread::current().id() {
                return None;
            }
            own.retain(|own| own.registry != self.number && own.alive.strong_count() > 0);
            let redis = self.open(shared);
            own.push(Own { registry: self.number, alive: Arc::downgrade(&self.alive), redis: redis.clone() });
            redis
        })
    }

    #[cold]
    fn open(&self, shared: &Redis) -> Option<Redis> {
        let links = self.links.upgrade().filter(|_| !shared.is_closed())?;
        let mut registry = self.registry();
        registry.forget_ended();
        if registry.open.len() >= self.max.get() {
            return None;
        }
        let (redis, prepared) = self.spec.make_for_thread(self.seeds.clone());
        place(Arbiter::try_current(), prepared).ok()?;
        let thread = thread::current();
        let purpose = thread.name().map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
        if !links.attend(LinkRole::Thread, purpose, &redis) {
            return None;
        }
        registry.open.push(Entry {
            addr: redis.downgrade(),
            gauges: redis.shared.gauges.clone(),
            in_flight_limit: redis.shared.in_flight_limit.clone(),
        });
        Some(redis)
    }

    pub(crate) fn totals(&self) -> ThreadTotals {
        let registry = self.registry();
        let start = ThreadTotals { ended: registry.ended, ..ThreadTotals::default() };
        registry.open.iter().fold(start, |totals, entry| {
            let (gauges, limit) = (&entry.gauges, &entry.in_flight_limit);
            let rate = gauges.error_rate(Instant::now());
            ThreadTotals {
                in_flight: totals.in_flight + gauges.in_flight(),
                queued: totals.queued + gauges.queued(),
                waiting_for_room: totals.waiting_for_room + limit.waiting(),
                bytes: totals.bytes + limit.bytes_inside(),
                ended: totals.ended + gauges.ended(),
                rate: totals.rate + rate,
            }
        })
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn forget_ended(&mut self) {
        for entry in self.open.extract_if(.., |entry| entry.addr.upgrade().is_none_or(|addr| !addr.connected())) {
            self.ended = self.ended + entry.gauges.ended();
        }
    }
}

impl Drop for ThreadConnections {
    /// The last handle is gone: each thread drops its own, which ends the connection.
    fn drop(&mut self) {
        let number = self.number;
        for addr in self.registry().open.drain(..).filter_map(|entry| entry.addr.upgrade()) {
            addr.do_send(Run(Box::new(move || forget(number))));
        }
    }
}

fn forget(number: u64) {
    // Dropped behind the borrow, because the end of a connection runs code of its own.
    let removed = OWN.try_with(|own| own.borrow_mut().extract_if(.., |own| own.registry == number).collect::<Vec<_>>());
    drop(removed);
}
