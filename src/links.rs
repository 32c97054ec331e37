//! Further connections beside the shared one, for whatever needs one to itself: watched keys belong to the
//! connection that watches them, and a command that waits holds up everything behind it.
//!
//! Each is an actor like the shared one, from the same recipe and under the same supervision. They are made
//! when they are needed, up to a bound, and end when nobody needed them for a while. Connections that the crate
//! makes for good, as that of a stream consumer's reader, are made here too, and stand beside the bound.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use actix::Addr;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::actors::connection::{RedisActor, Run, ShutDown};
use crate::actors::driver::ShutdownReport;
use crate::builder::Plan;
use crate::config::RedisConfig;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{ConnectionState, Status};
use crate::frame::Frame;
use crate::gate::{Gate, Pass};
use crate::handle::Redis;
use crate::topology::Topology;

mod info;
mod sibling;
mod under_way;

pub use info::{LinkInfo, LinkRole};
pub(crate) use sibling::Sibling;
pub(crate) use under_way::UnderWay;

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
    /// At most `most` connections at once, at least 1. Whoever needs one more waits for one of them: so many
    /// commands that wait and [watches](crate::Redis::watch) run at the same time.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), idle: Duration::from_secs(30) }
    }

    pub(crate) fn idle_time(self) -> Duration {
        self.idle
    }

    /// Closes a connection that nobody needed for so long, at least 1 ms. Default 30 s.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle.max(Duration::from_millis(1));
        self
    }
}

/// The connections of one handle.
pub(crate) struct Links {
    plan: Plan,
    gate: Arc<Gate>,
    most: usize,
    idle: Duration,
    state: Mutex<State>,
    under_way: UnderWay,
    /// What the shared connection is doing.
    main: OnceLock<watch::Receiver<Status>>,
    /// They are in a cluster, each at one node of it.
    topology: OnceLock<Arc<Topology>>,
}

#[derive(Default)]
struct State {
    closed: bool,
    last_id: u64,
    open: Vec<Link>,
    attended: Vec<Attended>,
}

/// One that is not made here, or not ended here, but shown with the others.
struct Attended {
    role: LinkRole,
    purpose: String,
    made: Instant,
    status: watch::Receiver<Status>,
}

struct Link {
    id: u64,
    redis: Redis,
    made: Instant,
    /// `None` while somebody has it.
    free_since: Option<Instant>,
    /// What it is or was last used for, and since when.
    purpose: Purpose,
    since: Instant,
    /// The credentials have changed since it logged in: it ends with its present use.
    outdated: bool,
}

/// What a connection is wanted for.
#[derive(Debug, Clone)]
pub(crate) struct Purpose {
    pub(crate) role: LinkRole,
    pub(crate) command: String,
    /// The slot of a cluster that it has to be at.
    pub(crate) slot: Option<u16>,
}

impl State {
    fn attend(&mut self, link: Attended) {
        self.attended.retain(|link| link.status.borrow().state != ConnectionState::Closed);
        self.attended.push(link);
    }
}

impl Links {
    pub(crate) fn new(plan: Plan, limit: LinkLimit) -> Arc<Self> {
        Arc::new(Self {
            plan,
            gate: Gate::new(limit.most, usize::MAX),
            most: limit.most,
            idle: limit.idle,
            state: Mutex::default(),
            under_way: UnderWay::default(),
            main: OnceLock::new(),
            topology: OnceLock::new(),
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

    /// How connections to the owner of a slot are made.
    fn plan_for(&self, slot: Option<u16>) -> Plan {
        match self.topology.get().zip(slot) {
            Some((topology, slot)) => self.plan.found(topology.owner(slot)),
            None => self.plan.clone(),
        }
    }

    /// The link that the shared connection has now, of a cluster to the owner of this slot, if it has one.
    pub(crate) fn main_link(&self, slot: Option<u16>) -> Option<u64> {
        if let Some(topology) = self.topology.get() {
            return topology.picture().link_of(slot?);
        }
        let status = self.main.get()?.borrow();
        (status.state == ConnectionState::Ready).then_some(status.generation)
    }

    /// How each of them is configured.
    pub(crate) fn config(&self) -> &RedisConfig {
        self.plan.config()
    }

    /// The commands that wait on them.
    pub(crate) fn under_way(&self) -> &UnderWay {
        &self.under_way
    }

    /// How many connections there may be at once.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Shows a connection with the others until it is closed.
    pub(crate) fn attend(&self, role: LinkRole, purpose: String, status: watch::Receiver<Status>) {
        self.state().attend(Attended { role, purpose, made: Instant::now(), status });
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for one user alone. A new one runs on the thread of `main`.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] when none became free within `patience`, [`ErrorKind::Closed`] after a
    /// shutdown.
    ///
    /// # Cancel safety
    /// Giving up takes no connection.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        main: &Addr<RedisActor>,
        patience: Duration,
        purpose: Purpose,
    ) -> Result<Lease> {
        let pass = timeout(patience, self.gate.clone().enter(0)).await.map_err(|_| {
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
        let usable = |link: &&mut Link| link.free_since.is_some() && link.purpose.slot == purpose.slot;
        let free = state.open.iter_mut().filter(usable).max_by_key(|link| link.free_since);
        let (id, redis) = match free {
            Some(link) => {
                (link.free_since, link.purpose, link.since) = (None, purpose, Instant::now());
                (link.id, link.redis.clone())
            }
            None => self.open(&mut state, main, purpose),
        };
        drop(state);
        Ok(Lease { links: self.clone(), id, redis, _pass: pass })
    }

    fn open(self: &Arc<Self>, state: &mut State, main: &Addr<RedisActor>, purpose: Purpose) -> (u64, Redis) {
        if state.open.len() >= self.most {
            // Those that are free are at other nodes, or there would be no need of one more.
            let oldest = state.open.iter().filter(|link| link.free_since.is_some()).min_by_key(|link| link.free_since);
            if let Some(oldest) = oldest.map(|link| link.id) {
                state.open.retain(|link| link.id != oldest);
            }
        }
        let (redis, seed) = self.plan_for(purpose.slot).make(Vec::new(), None);
        state.last_id += 1;
        let (id, now) = (state.last_id, Instant::now());
        let redis_of = redis.clone();
        state.open.push(Link {
            id,
            redis: redis_of,
            made: now,
            free_since: None,
            purpose,
            since: now,
            outdated: false,
        });
        let links = Arc::downgrade(self);
        main.do_send(Run(Box::new(move || {
            actix::spawn(seed.grow());
            actix::spawn(tend(links, id));
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

    /// The credentials have changed: whoever takes a connection from now on takes one that has logged in with those
    /// of now.
    pub(crate) fn outdate(&self) {
        let mut state = self.state();
        state.open.iter_mut().for_each(|link| link.outdated = true);
        state.open.retain(|link| link.free_since.is_none());
    }

    /// Hands out no more connections.
    pub(crate) fn refuse_more(&self) {
        self.state().closed = true;
    }

    /// Lets go of a link that was free for long enough. Returns when to look again, if it is still there.
    fn look_after(&self, id: u64) -> Option<Duration> {
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
    /// counted there alone. Those that wait are counted as [`UnderWay`], and readers' have no caller.
    pub(crate) fn close(&self, within: Duration) -> Vec<(bool, oneshot::Receiver<ShutdownReport>)> {
        let mut state = self.state();
        state.closed = true;
        let links = std::mem::take(&mut state.open);
        let close = |link: Link| {
            let (done, report) = oneshot::channel();
            link.redis.address().do_send(ShutDown { within, done });
            (link.purpose.role == LinkRole::Watch, report)
        };
        links.into_iter().map(close).collect()
    }
}

/// A link whose last handle goes ends by itself; this lets go of it.
async fn tend(links: Weak<Links>, id: u64) {
    while let Some(wait) = links.upgrade().and_then(|links| links.look_after(id)) {
        tokio::time::sleep(wait).await;
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

/// A connection that one user has to itself until it is dropped.
pub(crate) struct Lease {
    links: Arc<Links>,
    id: u64,
    redis: Redis,
    _pass: Pass,
}

impl Lease {
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Whether the credentials have changed since it was made.
    pub(crate) fn is_outdated(&self) -> bool {
        self.links.state().open.iter().any(|link| link.id == self.id && link.outdated)
    }

    /// Nobody shall have it after this one: what it is still busy with would be in the way.
    pub(crate) fn discard(self) {
        self.links.give_back(self.id, false);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.links.give_back(self.id, true);
    }
}
