//! Further connections beside the shared one, for whatever needs one to itself: watched keys belong to the
//! connection that watches them, and a blocking command delays everything behind it.
//!
//! Each is an actor like the shared one, from the same specification and under the same supervision. They are made
//! when they are needed, up to a bound, and end when they were unused for a while. Connections that the crate
//! makes for good, as that of a stream consumer's reader, are made here too, and stand beside the bound.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use actix::{Addr, WeakAddr};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use process::{ProcessId, Processes};

use crate::actors::connection::{RedisActor, Run, ShutDown, VerifyEndpoint};
use crate::client::Redis;
use crate::client::builder::ConnectionSpec;
use crate::client::in_flight_limit::InFlightLimit;
use crate::cluster::topology::{Owner, Topology};
use crate::config::{HostPort, RedisConfig};
use crate::connection::driver::ShutdownReport;
use crate::connection::params::ConnectParams;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{ConnectionState, Status};
use crate::frame::Frame;

mod connector;
mod info;
mod lease;
pub(crate) mod process;
mod return_order;

pub(crate) use crate::dedicated::asking::Asking;
pub(crate) use crate::dedicated::in_flight::{BlockingCallGuard, BlockingCalls};
pub(crate) use connector::Connector;
pub use info::{LinkInfo, LinkRole};
pub(crate) use lease::LeasedConnection;
pub(crate) use return_order::{Leaving, ReturnOrder};

/// How many connections there may be beside the shared one, and for how long unused. Those for subscriptions, see
/// [`Redis::subscribe`], are not counted, and end as long after the last subscription that needs them.
///
/// ```
/// use redis_actix::LinkLimit;
/// use std::time::Duration;
///
/// let limit = LinkLimit::new(4).idle(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a limit does nothing until it is given to Redis::builder"]
pub struct LinkLimit {
    most: usize,
    idle: Duration,
}

impl Default for LinkLimit {
    /// 16 connections, each closed after 30 s without use.
    fn default() -> Self {
        Self::new(16)
    }
}

impl LinkLimit {
    /// A maximum of `most` connections at once, at least 1. It limits how many blocking commands and
    /// [watches](crate::Redis::watch) run at the same time; further ones wait.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), idle: Duration::from_secs(30) }
    }

    pub(crate) fn idle_time(self) -> Duration {
        self.idle
    }

    /// Closes a connection that was unused for this time, at least 1 ms. Default 30 s.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle.max(Duration::from_millis(1));
        self
    }
}

/// The connections of one handle.
pub(crate) struct Links {
    spec: ConnectionSpec,
    in_flight_limit: Arc<InFlightLimit>,
    most: usize,
    idle: Duration,
    state: Mutex<PoolState>,
    blocking_calls: BlockingCalls,
    return_order: ReturnOrder,
    /// Counts the calls of [`outdate`](Self::outdate).
    outdated: watch::Sender<u64>,
    /// What the shared connection is doing.
    main: OnceLock<watch::Receiver<Status>>,
    /// They are in a cluster, each at one node of it.
    topology: OnceLock<Arc<Topology>>,
    processes: Processes,
}

#[derive(Default)]
struct PoolState {
    closed: bool,
    last_id: u64,
    open: Vec<PooledLink>,
    attended: Vec<Attended>,
}

/// One that is not made here, or not ended here, but shown with the others.
struct Attended {
    role: LinkRole,
    purpose: String,
    made: Instant,
    status: watch::Receiver<Status>,
    addr: WeakAddr<RedisActor>,
}

struct PooledLink {
    id: u64,
    redis: Redis,
    made: Instant,
    /// `None` while it is in use.
    free_since: Option<Instant>,
    /// What it is or was last used for, and since when.
    purpose: Purpose,
    since: Instant,
    /// The credentials have changed since it logged in: it ends with its present use.
    outdated: bool,
    /// In a cluster: the slot whose owner it leads to.
    owner: Option<Arc<Owner>>,
    /// It leads to this node, whatever it owns.
    asked: Option<HostPort>,
    /// The server process behind its link of this generation.
    process: Option<(u64, ProcessId)>,
}

/// What a connection is wanted for.
#[derive(Debug, Clone)]
pub(crate) struct Purpose {
    pub(crate) role: LinkRole,
    pub(crate) command: String,
    /// The slot of a cluster that it has to be at.
    pub(crate) slot: Option<u16>,
    /// The node of a cluster that an ASK has named. It does not own the slot yet.
    pub(crate) asked: Option<HostPort>,
}

impl PoolState {
    fn attend(&mut self, link: Attended) {
        self.attended.retain(|link| link.status.borrow().state != ConnectionState::Closed);
        self.attended.push(link);
    }
}

impl Links {
    pub(crate) fn new(spec: ConnectionSpec, limit: LinkLimit) -> Arc<Self> {
        Arc::new(Self {
            spec,
            in_flight_limit: InFlightLimit::new(limit.most, usize::MAX),
            most: limit.most,
            idle: limit.idle,
            state: Mutex::default(),
            blocking_calls: BlockingCalls::default(),
            return_order: ReturnOrder::default(),
            outdated: watch::Sender::new(0),
            main: OnceLock::new(),
            topology: OnceLock::new(),
            processes: Processes::default(),
        })
    }

    /// These are beside the connection with that status.
    pub(crate) fn beside(&self, main: watch::Receiver<Status>) {
        // Once: they are made for one connection.
        let _ = self.main.set(main);
    }

    /// They are at nodes of a cluster.
    pub(crate) fn in_cluster(&self, topology: Arc<Topology>) {
        let _ = self.topology.set(topology);
    }

    /// The slot of a cluster where a command has to go.
    ///
    /// # Errors
    /// When no node could run it.
    pub(crate) fn slot_of(&self, frame: &Frame) -> Result<Option<u16>> {
        self.topology.get().map_or(Ok(None), |topology| topology.slot_of(frame))
    }

    /// The same for a key.
    fn slot_of_key(&self, key: &[u8]) -> Option<u16> {
        self.topology.get().map(|topology| topology.slots().of(key))
    }

    /// How connections to the owner of a slot are made, and what makes them lead to the owner of another one.
    fn spec_for(&self, slot: Option<u16>) -> (ConnectionSpec, Option<Arc<Owner>>) {
        match self.topology.get().zip(slot) {
            Some((topology, slot)) => {
                let owner = topology.owner(slot);
                (self.spec.found(owner.clone()), Some(owner))
            }
            None => (self.spec.clone(), None),
        }
    }

    /// Whether a free connection can be used for a slot: it leads to the node that has it.
    fn is_beside(&self, link: &PooledLink, purpose: &Purpose) -> bool {
        if link.asked.is_some() || purpose.asked.is_some() {
            return link.asked == purpose.asked;
        }
        match (&link.owner, purpose.slot) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(owner), Some(slot)) => {
                let snapshot = || self.topology.get().map(|topology| topology.snapshot());
                let owner_of = |slot| snapshot().and_then(|snapshot| snapshot.map.owner(slot).cloned());
                owner.slot() == slot || owner_of(slot).is_some_and(|node| owner_of(owner.slot()) == Some(node))
            }
        }
    }

    /// The link that the shared connection has now, of a cluster to the owner of this slot, if it has one.
    pub(crate) fn main_link(&self, slot: Option<u16>) -> Option<u64> {
        if let Some(topology) = self.topology.get() {
            return topology.snapshot().link_of(slot?);
        }
        let status = self.main.get()?.borrow();
        (status.state == ConnectionState::Ready).then_some(status.generation)
    }

    /// How each of them is configured.
    pub(crate) fn config(&self) -> &RedisConfig {
        self.spec.config()
    }

    /// The commands that wait on them.
    pub(crate) fn blocking_calls(&self) -> &BlockingCalls {
        &self.blocking_calls
    }

    /// The order in which elements without a caller are put back.
    pub(crate) fn return_order(&self) -> &ReturnOrder {
        &self.return_order
    }

    /// How many connections there may be at once.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Shows a connection with the others until it is closed. Returns whether a shutdown has not begun: from then on a new
    /// connection would outlive it.
    pub(crate) fn attend(&self, role: LinkRole, purpose: String, redis: &Redis) -> bool {
        let (status, addr) = (redis.status(), redis.downgrade());
        let mut state = self.state();
        state.attend(Attended { role, purpose, made: Instant::now(), status, addr });
        !state.closed
    }

    /// Their actors, each with its purpose.
    pub(crate) fn attended_actors(&self) -> Vec<(String, Addr<RedisActor>)> {
        let state = self.state();
        state.attended.iter().filter_map(|link| Some((link.purpose.clone(), link.addr.upgrade()?))).collect()
    }

    /// What those of this role are doing.
    pub(crate) fn attended(&self, role: LinkRole) -> Vec<Status> {
        let all: Vec<Status> = self
            .state()
            .attended
            .iter()
            .filter(|link| link.role == role)
            .map(|link| link.status.borrow().clone())
            .collect();
        all.into_iter().filter(|status| status.state != ConnectionState::Closed).collect()
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for one user alone. A new one runs on the thread of `main`.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] when none became free within `time_limit`, [`ErrorKind::Closed`] after a
    /// shutdown.
    ///
    /// # Cancel safety
    /// Giving up takes no connection.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        main: &Addr<RedisActor>,
        time_limit: Duration,
        purpose: Purpose,
    ) -> Result<LeasedConnection> {
        let pass = timeout(time_limit, self.in_flight_limit.clone().enter(0)).await.map_err(|_| {
            let words =
                "no connection of its own became free in time; allow more of them with Redis::builder().links(..)";
            Error::new(ErrorKind::Overloaded, Fate::NotSent, words)
        })?;
        let mut state = self.state();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, Fate::NotSent, "the connection was shut down"));
        }
        // One whose supervisor gave up is of no more use.
        state.open.retain(|link| link.free_since.is_none() || !is_closed(&link.redis));
        // The one that was used last: the others may become idle for long enough to end.
        let usable = |link: &&mut PooledLink| link.free_since.is_some() && self.is_beside(link, &purpose);
        let free = state.open.iter_mut().filter(usable).max_by_key(|link| link.free_since);
        let (id, redis) = match free {
            Some(link) => {
                if let Some((owner, slot)) = link.owner.as_ref().zip(purpose.slot) {
                    owner.retarget(slot);
                }
                (link.free_since, link.purpose, link.since) = (None, purpose, Instant::now());
                (link.id, link.redis.clone())
            }
            None => self.open(&mut state, main, purpose),
        };
        drop(state);
        Ok(LeasedConnection { links: self.clone(), id, redis, _pass: pass })
    }

    fn open(self: &Arc<Self>, state: &mut PoolState, main: &Addr<RedisActor>, purpose: Purpose) -> (u64, Redis) {
        if state.open.len() >= self.most {
            // Those that are free are at other nodes, or there would be no need of one more.
            let oldest = state.open.iter().filter(|link| link.free_since.is_some()).min_by_key(|link| link.free_since);
            if let Some(oldest) = oldest.map(|link| link.id) {
                state.open.retain(|link| link.id != oldest);
            }
        }
        let asked = purpose.asked.clone();
        let (spec, owner) = match &asked {
            Some(node) => (self.spec.at(node), None),
            None => self.spec_for(purpose.slot),
        };
        let (redis, seed) = spec.make(Vec::new(), None);
        state.last_id += 1;
        let (id, now) = (state.last_id, Instant::now());
        let redis_of = redis.clone();
        state.open.push(PooledLink {
            id,
            redis: redis_of,
            made: now,
            free_since: None,
            purpose,
            since: now,
            outdated: false,
            owner,
            asked,
            process: None,
        });
        let (links, connect_params) = (Arc::downgrade(self), redis.shared.connect_params.clone());
        main.do_send(Run(Box::new(move || {
            actix::spawn(seed.unfollowed().spawn());
            actix::spawn(tend(links, id, connect_params));
        })));
        (id, redis)
    }

    fn give_back(&self, id: u64, usable: bool) {
        let mut state = self.state();
        if state.closed || !usable {
            state.open.retain(|link| link.id != id);
        } else if let Some(link) = state.open.iter_mut().find(|link| link.id == id) {
            link.free_since = Some(Instant::now());
        }
        state.open.retain(|link| !(link.outdated && link.free_since.is_some()));
    }

    /// The credentials have changed: from now on only connections are leased that have logged in with the new ones.
    pub(crate) fn outdate(&self) {
        let mut state = self.state();
        state.open.iter_mut().for_each(|link| link.outdated = true);
        state.open.retain(|link| link.free_since.is_none());
        drop(state);
        self.outdated.send_modify(|count| *count += 1);
    }

    /// The server of a connection may be another one now. A command that waits there is called off by its own task first: a
    /// link that is lost leaves open whether it has taken something.
    fn recheck(&self, id: u64) {
        let state = self.state();
        let waits = |link: &PooledLink| link.free_since.is_none() && link.purpose.role == LinkRole::Blocking;
        if let Some(link) = state.open.iter().find(|link| link.id == id && !waits(link)) {
            link.redis.address().do_send(VerifyEndpoint);
        }
    }

    /// Hands out no more connections.
    pub(crate) fn refuse_more(&self) {
        self.state().closed = true;
    }

    /// Closes a link that was idle for too long. Returns when to check it again, if it is still there.
    fn maintain(&self, id: u64) -> Option<Duration> {
        let mut state = self.state();
        let link = state.open.iter().find(|link| link.id == id)?;
        let left = link.free_since.map_or(self.idle, |since| self.idle.saturating_sub(since.elapsed()));
        if left.is_zero() {
            state.open.retain(|link| link.id != id);
            return None;
        }
        Some(left)
    }

    /// Ends all of them as [`Redis::shutdown`] does, and returns where they will report; with each, whether its commands are
    /// counted there alone. Those that wait are counted as [`BlockingCalls`], and readers' have no caller.
    pub(crate) fn close(&self, within: Duration) -> Vec<(bool, oneshot::Receiver<ShutdownReport>)> {
        let mut state = self.state();
        state.closed = true;
        let links = std::mem::take(&mut state.open);
        let close = |link: PooledLink| {
            let (done, report) = oneshot::channel();
            link.redis.address().do_send(ShutDown { within, done });
            (link.purpose.role == LinkRole::Watch, report)
        };
        let threads = state.attended.iter().filter(|link| link.role == LinkRole::Thread);
        let close_thread = |addr: Addr<RedisActor>| {
            let (done, report) = oneshot::channel();
            addr.do_send(ShutDown { within, done });
            (true, report)
        };
        let threads: Vec<_> = threads.filter_map(|link| link.addr.upgrade()).map(close_thread).collect();
        links.into_iter().map(close).chain(threads).collect()
    }
}

/// A link whose last handle is dropped ends by itself; this drops the handle of an idle link, and has a link leave a server that
/// is not the right one any more.
async fn tend(links: Weak<Links>, id: u64, connect_params: Arc<ConnectParams>) {
    let mut seen = connect_params.seen();
    while let Some(wait) = links.upgrade().and_then(|links| links.maintain(id)) {
        if timeout(wait, connect_params.changed(&mut seen)).await.is_ok()
            && let Some(links) = links.upgrade()
        {
            links.recheck(id);
        }
    }
}

fn is_closed(redis: &Redis) -> bool {
    redis.status().borrow().state == ConnectionState::Closed
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("open", &self.state().open.len()).finish_non_exhaustive()
    }
}
