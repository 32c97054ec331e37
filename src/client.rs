//! The handle of a connection, and the process-wide one.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::{Addr, Recipient, WeakAddr};
use redis::Value;
use tokio::sync::{oneshot, watch};

pub(crate) mod builder;
mod cluster;
pub(crate) mod gauges;
pub(crate) mod in_flight_limit;
pub(crate) mod key_resolver;
mod maintenance;
mod per_thread;
mod reauthenticate;
#[cfg(feature = "metrics")]
mod record_metrics;
mod send_future;
mod stats;
pub(crate) mod submit_queue;

pub use cluster::NodeInfo;
pub use reauthenticate::{ConnectionLogin, Reauthentication};
pub use send_future::SendFuture;
use send_future::turn_away;
pub use stats::Stats;

use crate::actors::connection::{Connect, GetServerInfo, RedisActor, Run, RunDedicated, ShutDown, SubmitOn, Subscribe};
use crate::cache::ClientCache;
use crate::cache::stats::CacheStats;
use crate::client::builder::{AuxiliaryConnections, RedisBuilder};
use crate::client::gauges::Gauges;
use crate::client::in_flight_limit::InFlightLimit;
use crate::client::key_resolver::Resolver;
use crate::client::per_thread::{ThreadConnections, ThreadTotals};
use crate::client::submit_queue::{Submit, SubmitQueue};
use crate::clock;
use crate::cluster::topology::Topology;
use crate::config::{Mode, RedisConfig};
use crate::connection::driver::ShutdownReport;
use crate::connection::params::ConnectParams;
use crate::connection::request::{Answered, BoxedTicket, ReplySender, Unawaited, Waiter};
use crate::dedicated::pool::{Asking, Connector, LinkInfo, Links};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{ConnectionEvent, ConnectionState, Status};
use crate::frame::{Frame, ReadFrom, WhenDown};
use crate::messages::internal::Internal;
use crate::messages::{Command, server::Ping};
use crate::prefix::KeyPrefix;
use crate::pubsub::PubSub;
use crate::replicas::router::ReplicaStatuses;
use crate::streams::known_features::KnownFeatures;
use crate::telemetry::Observed;

/// A cheap, cloneable handle to one supervised connection. All clones use the same actor.
///
/// It is `Send` and `Sync`: it can be used from any thread, by tasks of a tokio runtime with time enabled. The
/// connection ends after [`shutdown`](Self::shutdown), or when all handles and addresses were dropped.
///
/// ```no_run
/// use redis_actix::prelude::*;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = Redis::builder(RedisConfig::from_env()?).start()?;
/// redis.send(Set::new("user:1", "ada")).await?;
/// let name: Option<String> = redis.send(Get::new("user:1")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Redis {
    addr: Addr<RedisActor>,
    pub(crate) shared: Arc<Shared>,
    /// The server for reads without their own choice.
    reads: ReadFrom,
    /// Whether reads may be answered from the cache, if there is one.
    is_cached: bool,
}

pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) in_flight_limit: Arc<InFlightLimit>,
    /// The connections of other threads, if each has its own.
    pub(crate) threads: Option<ThreadConnections>,
    /// Auxiliary connections; an auxiliary connection has none itself.
    pub(crate) auxiliary: Option<AuxiliaryConnections>,
    /// The topology, for a cluster.
    pub(crate) topology: Option<Arc<Topology>>,
    /// The links to replicas, for sentinels.
    pub(crate) replicas: Option<watch::Receiver<ReplicaStatuses>>,
    pub(crate) submit_queue: Arc<SubmitQueue>,
    pub(crate) connect_params: Arc<ConnectParams>,
    /// The cache, which is also that of all other connections of the handle.
    pub(crate) cache: Option<Arc<ClientCache>>,
    pub(crate) resolver: Resolver,
    pub(crate) features: KnownFeatures,
}

impl Redis {
    /// Configures a separate connection; [`get_redis`] returns the process-wide one.
    pub fn builder(config: RedisConfig) -> RedisBuilder {
        RedisBuilder::new(config)
    }

    /// Another connection like this one, for work that would block this one.
    ///
    /// # Errors
    /// If this is such a connection itself.
    pub(crate) fn connector(&self, client_name: &str) -> Result<Connector> {
        Ok(Connector::new(self.links()?.clone(), client_name))
    }

    pub(crate) fn assemble(addr: Addr<RedisActor>, shared: Shared, reads: ReadFrom) -> Self {
        let is_cached = shared.connect_params.tracks;
        Self { addr, shared: Arc::new(shared), reads, is_cached }
    }

    /// For internal reads, which need current values.
    pub(crate) fn at_primary(&self) -> Self {
        Self { reads: ReadFrom::Primary, is_cached: false, ..self.clone() }
    }

    /// Sends a command. It is submitted when this method returns, and not when the future is first polled, so
    /// commands keep the order of the calls. Only if the limits of the connection are reached the future waits for
    /// room.
    ///
    /// # Errors
    /// Every failure of the command; [`Error::fate`] returns whether it can have run. The command completes by its
    /// deadline, whatever the state of the connection.
    ///
    /// # Cancel safety
    /// Dropping the future drops the command if it was not written yet. If it was written it runs, and its reply is
    /// dropped. A blocking command, such as [`BLPop`](crate::BLPop), is cancelled, and the elements it took are put
    /// back or reported.
    pub fn send<M: Command>(&self, message: M) -> SendFuture<M> {
        let mut frame = message.into_frame().or_read_from(self.reads);
        if let Some(cache) = &self.shared.cache {
            if !self.is_cached {
                frame = frame.fresh();
            } else if let Some(found) = cache.find(&frame) {
                return SendFuture::cached(found);
            }
        }
        let (reply, answer) = ReplySender::channel();
        let limit = frame.own_timeout().unwrap_or_else(|| self.shared.config.command_timeout());
        let asked = clock::asked(limit);
        if self.shared.auxiliary.is_some() && frame.waits() {
            let (seen, reported) = oneshot::channel();
            let observed = Observed::start(&frame, &self.shared.config);
            let ticket = Box::new(Waiter::new(frame, reply).observed(observed));
            self.addr.do_send(RunDedicated { ticket, asked, seen: Some(reported) });
            return SendFuture::dedicated(answer, seen);
        }
        if let Some(threads) = &self.shared.threads
            && !frame.prefers_replica()
            && !self.shared.submit_queue.is_unbatched()
            && let Some(own) = threads.of_this_thread(self)
        {
            return own.submit(frame, reply, answer, asked, limit);
        }
        self.submit(frame, reply, answer, asked, limit)
    }

    /// Submits a command that needs no connection of its own.
    #[inline]
    fn submit<M: Command>(
        &self,
        frame: Frame,
        reply: ReplySender<M>,
        answer: oneshot::Receiver<Answered<M>>,
        asked: Instant,
        limit: Duration,
    ) -> SendFuture<M> {
        let size = frame.size();
        let pass = self.shared.in_flight_limit.try_acquire(size);
        let observed = Observed::start(&frame, &self.shared.config);
        let ticket = Box::new(Waiter::new(frame, reply).observed(observed));
        if let Some(pass) = pass {
            self.enqueue(ticket.let_in(pass), asked);
            return SendFuture::under(answer);
        }
        let down = !self.shared.status.borrow().is_available();
        if (down && ticket.when_down().unwrap_or(self.shared.config.when_down()) == WhenDown::FailFast)
            // An executor without tokio's timer cannot wait for a deadline.
            || tokio::runtime::Handle::try_current().is_err()
        {
            turn_away(&self.shared, ticket, "the connection has no room for another command");
            return SendFuture::under(answer);
        }
        SendFuture::for_room(answer, self.clone(), ticket, size, asked, limit)
    }

    /// Puts a command that has room into the queue of the actor.
    #[inline]
    fn enqueue(&self, ticket: BoxedTicket, asked: Instant) {
        let ticket = match &self.shared.cache {
            None => Some(ticket),
            Some(cache) => cache.admit(ticket, || {
                let (addr, shared) = (self.addr.clone(), self.shared.clone());
                Box::new(move |ticket| shared.submit_queue.send(&addr, Submit { ticket, asked }))
            }),
        };
        if let Some(ticket) = ticket {
            self.shared.submit_queue.send(&self.addr, Submit { ticket, asked });
        }
    }

    /// Invalidates the entries of the keys that the command writes.
    fn admit_write(&self, ticket: BoxedTicket) -> BoxedTicket {
        match &self.shared.cache {
            Some(cache) => cache.admit_write(ticket),
            None => ticket,
        }
    }

    /// Sends a frame that is valid on the link of this generation only.
    pub(crate) async fn send_on<M: Command>(&self, generation: u64, frame: Frame) -> Result<M::Reply> {
        self.send_asking_on::<M>(generation, frame, false).await
    }

    /// Like [`send_on`](Self::send_on), after ASKING if `asking` is set.
    pub(crate) async fn send_asking_on<M: Command>(
        &self,
        generation: u64,
        frame: Frame,
        asking: bool,
    ) -> Result<M::Reply> {
        let (reply, answer) = oneshot::channel();
        let ticket = self.admit_write(Box::new(Waiter::<M, _>::new(frame.pinned(), reply)));
        let ticket = if asking { Asking::of(ticket) } else { ticket };
        self.addr.do_send(SubmitOn::new(generation, Submit { ticket, asked: Instant::now() }));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Like [`send_on`](Self::send_on), without waiting for the reply.
    pub(crate) fn publish_on(&self, generation: u64, frame: Frame) {
        let ticket = self.admit_write(Box::new(Unawaited::new(frame.pinned())));
        self.addr.do_send(SubmitOn::new(generation, Submit { ticket, asked: Instant::now() }));
    }

    /// Like [`send_on`](Self::send_on), and returns a receiver for the reply.
    pub(crate) fn begin_on(&self, generation: u64, frame: Frame, asking: bool) -> oneshot::Receiver<Result<Value>> {
        let (reply, answer) = oneshot::channel();
        let ticket = self.admit_write(Box::new(Waiter::<Internal, _>::new(frame.pinned(), reply)));
        let ticket = if asking { Asking::of(ticket) } else { ticket };
        self.addr.do_send(SubmitOn::new(generation, Submit { ticket, asked: Instant::now() }));
        answer
    }

    /// The actor's address, for internal messages.
    pub(crate) fn address(&self) -> &Addr<RedisActor> {
        &self.addr
    }

    pub(crate) fn links(&self) -> Result<&Arc<Links>> {
        self.shared.auxiliary.as_ref().map(|auxiliary| &auxiliary.links).ok_or_else(gone)
    }

    pub(crate) fn pubsub(&self) -> Result<&Arc<PubSub>> {
        self.shared.auxiliary.as_ref().map(|auxiliary| &auxiliary.pubsub).ok_or_else(gone)
    }

    pub(crate) fn downgrade(&self) -> WeakAddr<RedisActor> {
        self.addr.downgrade()
    }

    /// Runs a closure on the actor's thread.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.addr.do_send(Run(Box::new(work)));
    }

    /// Whether the connection ended: by a shutdown through any handle, or because its restart limit was exceeded.
    fn is_closed(&self) -> bool {
        !self.addr.connected() || self.shared.status.borrow().state == ConnectionState::Closed
    }

    /// The actor's address, for [`Recipient`]s and for code that uses actix only.
    ///
    /// After the first call the commands of all handles are sent as separate messages, in order with those sent to
    /// the address. With many callers this costs a tenth of the throughput.
    #[must_use]
    pub fn addr(&self) -> &Addr<RedisActor> {
        self.shared.submit_queue.send_unbatched();
        &self.addr
    }

    /// The address for internal messages, which need no order with commands.
    pub(crate) fn actor(&self) -> &Addr<RedisActor> {
        &self.addr
    }

    /// The prefix of every key.
    #[must_use]
    pub fn key_prefix(&self) -> &KeyPrefix {
        self.shared.config.key_prefix()
    }

    /// The configuration of the connection.
    pub fn config(&self) -> &RedisConfig {
        &self.shared.config
    }

    /// Connects, if that was not done yet, and waits until the connection is ready.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] as soon as the server refuses the login, [`ErrorKind::Disconnected`] with the last
    /// cause after `within`, [`ErrorKind::Closed`] after a shutdown.
    ///
    /// # Panics
    /// When it is awaited outside of a tokio runtime, because it needs a timer.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        let mut status = self.status();
        self.addr.do_send(Connect);
        let settled = status.wait_for(|status| {
            matches!(status.state, ConnectionState::Ready | ConnectionState::Parked | ConnectionState::Closed)
        });
        let last = match tokio::time::timeout(within, settled).await {
            Ok(Ok(status)) => status.clone(),
            Ok(Err(_)) => return Err(gone()),
            Err(_) => self.status().borrow().clone(),
        };
        match (last.state, &last.cause) {
            (ConnectionState::Ready, _) => Ok(()),
            (_, Some(cause)) => Err(cause.error(Fate::NotSent)),
            (state, None) => {
                let words = format!("no connection within {within:?}, still {state}");
                Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, words))
            }
        }
    }

    /// A receiver of the connection's status.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// Sends the events of the connection to `recipient` from now on, starting with [`ConnectionEvent::Present`].
    pub fn on_event(&self, recipient: Recipient<ConnectionEvent>) {
        self.addr.do_send(Subscribe(recipient));
    }

    /// Sends PING to the server, and returns the health of the connection.
    ///
    /// # Errors
    /// If PING fails: the error of that command. For a user without permission for PING the refusal counts as a
    /// reply.
    pub async fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        is_answer(self.send(Ping::new()).await)?;
        let round_trip = asked.elapsed();
        let nodes = self.nodes_with_round_trips().await;
        let server_info = self.addr.send(GetServerInfo).await.map_err(|_| gone())?;
        let status = self.shared.status.borrow().clone();
        let threads = self.thread_totals();
        Ok(Health {
            round_trip,
            in_flight: self.shared.gauges.in_flight() + threads.in_flight,
            queued: self.shared.gauges.queued() + threads.queued,
            server: server_info.server,
            version: server_info.version,
            role: server_info.role,
            protocol: server_info.protocol,
            subscriptions: self.pubsub().ok().and_then(|pubsub| pubsub.status()),
            status,
            nodes,
            links: self.link_infos(),
            cache: self.shared.cache.as_ref().map(|cache| cache.stats()),
        })
    }

    /// The sums over the connections of other threads.
    fn thread_totals(&self) -> ThreadTotals {
        self.shared.threads.as_ref().map(ThreadConnections::totals).unwrap_or_default()
    }

    fn link_infos(&self) -> Vec<LinkInfo> {
        self.links().map(|links| links.info()).unwrap_or_default()
    }

    /// The addresses and the state of the connection. Contains no secret.
    #[must_use]
    pub fn connection_info(&self) -> ConnectionInfo {
        let config = &self.shared.config;
        let (mode, addresses) = match config.mode() {
            Mode::Single(address) => ("single", vec![address.to_string()]),
            Mode::Cluster(hosts) => ("cluster", hosts.iter().map(ToString::to_string).collect()),
            Mode::Sentinel { hosts, .. } => ("sentinel", hosts.iter().map(ToString::to_string).collect()),
        };
        ConnectionInfo {
            mode,
            addresses,
            db: config.db(),
            tls: config.tls().is_some(),
            prefix: config.key_prefix().as_str().to_owned(),
            state: self.shared.status.borrow().state,
            nodes: self.nodes(),
            subscriptions: self.pubsub().ok().and_then(|pubsub| pubsub.status()).map(|status| status.state),
            links: self.link_infos(),
        }
    }

    /// Shuts the connection down: it accepts no more commands, completes the accepted ones by the deadline, and
    /// reports their outcomes. Every handle to this connection is closed.
    ///
    /// Blocking commands, such as [`BLPop`](crate::BLPop), are cancelled first. Until the server has confirmed that,
    /// other commands are still accepted.
    ///
    /// Drain stream consumers before, with [`StreamConsumer::drain`](crate::StreamConsumer::drain). Otherwise the
    /// entries that a consumer is handling stay pending, and other consumers claim them after `min_idle`.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] without a report, if the actor has already ended.
    ///
    /// # Cancel safety
    /// The shutdown continues if the future is dropped.
    pub async fn shutdown(&self, within: Duration) -> Result<ShutdownReport> {
        let (done, report) = oneshot::channel();
        let subscriptions = self.pubsub().ok().and_then(|pubsub| pubsub.close());
        let Some(links) = self.links().ok().cloned() else {
            self.addr.do_send(ShutDown { within, done });
            return report.await.map_err(|_| gone());
        };
        let addr = self.addr.clone();
        let (all, reported) = oneshot::channel();
        // Runs on the actor's thread, so that it continues if its caller is gone, and after blocking commands that
        // were sent before: these are cancelled and counted, instead of being refused as never accepted.
        self.addr.do_send(Run(Box::new(move || {
            actix::spawn(async move {
                let begun = Instant::now();
                links.blocking_calls().cancel();
                links.refuse_more();
                // After the deadline the blocking commands are not awaited any longer.
                let _ = tokio::time::timeout(within, links.blocking_calls().ended()).await;
                let within = within.saturating_sub(begun.elapsed());
                let auxiliary = links.close(within);
                addr.do_send(ShutDown { within, done });
                let mut whole = whole(report.await, auxiliary).await;
                // The dedicated links have ended, and that completes the blocking commands.
                let _ = tokio::time::timeout(FINAL_STATUS_GRACE, links.blocking_calls().ended()).await;
                if let Ok(whole) = &mut whole {
                    whole.add(links.blocking_calls().report());
                }
                let _ = all.send(whole);
            });
        })));
        let report = reported.await.map_err(|_| gone())?;
        subscriptions_ended(subscriptions).await;
        report
    }
}

/// The grace period for the final status after the end.
const FINAL_STATUS_GRACE: Duration = Duration::from_secs(1);

/// Waits until the last subscriber was notified of the end.
async fn subscriptions_ended(subscriptions: Option<oneshot::Receiver<()>>) {
    if let Some(ended) = subscriptions {
        // The actor failed meanwhile, so the subscriptions have ended as well.
        let _ = ended.await;
    }
}

/// The combined report of a connection and its auxiliary connections.
async fn whole(
    report: Result<ShutdownReport, oneshot::error::RecvError>,
    links: Vec<(bool, oneshot::Receiver<ShutdownReport>)>,
) -> Result<ShutdownReport> {
    let mut report = report.map_err(|_| gone())?;
    for (counts, link) in links {
        let left = link.await.unwrap_or_default();
        if counts {
            report.add(left);
        }
    }
    Ok(report)
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("info", &self.connection_info()).finish_non_exhaustive()
    }
}

/// An error reply proves as well as a reply that the server is responding: the user may have permission only for the
/// commands that the service needs.
pub(crate) fn is_answer<T>(ping: Result<T>) -> Result<()> {
    match ping {
        Err(error) if error.code() != Some("NOPERM") => Err(error),
        _ => Ok(()),
    }
}

/// The reply channel was closed without a reply: the actor ended, or the command made it panic.
pub(crate) fn gone() -> Error {
    Error::new(
        ErrorKind::Closed,
        Fate::Unknown,
        "the connection actor ended before it could reply; start a new connection",
    )
}

/// The health of a connection; see [`Redis::health`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// The round-trip time of PING, including the wait for a connection.
    pub round_trip: Duration,
    /// The number of commands that were written and have no reply yet.
    pub in_flight: usize,
    /// The number of queued commands.
    pub queued: usize,
    /// The name of the server software, if it supports RESP3.
    pub server: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its role in the handshake.
    pub role: Option<String>,
    /// The version of RESP, 2 or 3.
    pub protocol: u8,
    /// The status of the connection.
    pub status: Status,
    /// The nodes of a cluster with the round-trip time of each primary, `None` if it did not reply. With sentinels
    /// the replicas that are used for reads; see [`ReadFrom`].
    pub nodes: Vec<NodeInfo>,
    /// The status of the subscription connection, if there is one; see [`Redis::subscribe`]. Those to single cluster
    /// nodes are listed in `links`.
    pub subscriptions: Option<Status>,
    /// The auxiliary connections.
    pub links: Vec<LinkInfo>,
    /// The statistics of client-side caching, if it is configured.
    pub cache: Option<CacheStats>,
}

/// The addresses and the state of a connection; see [`Redis::connection_info`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// `single`, `cluster` or `sentinel`.
    pub mode: &'static str,
    /// The configured addresses.
    pub addresses: Vec<String>,
    /// The database.
    pub db: u32,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The prefix of every key.
    pub prefix: String,
    /// The state of the connection.
    pub state: ConnectionState,
    /// The known nodes of a cluster. With sentinels the replicas that are used for reads.
    pub nodes: Vec<NodeInfo>,
    /// The state of the subscription connection, if there is one. Those to single cluster nodes are listed in
    /// `links`.
    pub subscriptions: Option<ConnectionState>,
    /// The auxiliary connections.
    pub links: Vec<LinkInfo>,
}

static SHARED: Mutex<Option<Redis>> = Mutex::new(None);

/// Returns the process-wide connection. The first call creates it from environment variables. It runs on its own
/// thread, so that it does not depend on an arbiter that may end earlier.
///
/// # Errors
/// If the environment variables are not a valid configuration; see [`RedisConfig::from_env`].
pub fn get_redis() -> Result<Redis> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(redis) = shared.as_ref().filter(|redis| !redis.is_closed()) {
        return Ok(redis.clone());
    }
    let redis = Redis::builder(RedisConfig::from_env()?).start_on_own_thread()?;
    *shared = Some(redis.clone());
    Ok(redis)
}

/// Shuts the process-wide connection down, if there is one, like [`Redis::shutdown`]. A later [`get_redis`] creates a
/// new one; old handles stay closed.
///
/// # Errors
/// See [`Redis::shutdown`].
pub async fn close_redis(within: Duration) -> Result<ShutdownReport> {
    let redis = SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
    match redis {
        Some(redis) => redis.shutdown(within).await,
        None => Ok(ShutdownReport::default()),
    }
}
