//! The handle that services hold, and the one that a whole process may share.

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
mod reauthenticate;
mod send_future;
mod stats;
pub(crate) mod submit_queue;

pub use cluster::NodeInfo;
pub use reauthenticate::{ConnectionLogin, Reauthentication};
pub use send_future::SendFuture;
use send_future::no_room;
pub use stats::Stats;

use crate::actors::connection::{Connect, GetServerInfo, RedisActor, Run, RunDedicated, ShutDown, SubmitOn, Subscribe};
use crate::client::builder::{AuxiliaryConnections, RedisBuilder};
use crate::client::gauges::Gauges;
use crate::client::in_flight_limit::InFlightLimit;
use crate::client::key_resolver::Resolver;
use crate::client::submit_queue::{Submit, SubmitQueue};
use crate::clock;
use crate::cluster::topology::Topology;
use crate::config::{Mode, RedisConfig};
use crate::connection::driver::ShutdownReport;
use crate::connection::params::ConnectParams;
use crate::connection::request::{Pending, ReplySender, Unawaited, Waiter};
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

/// A cheap, cloneable handle to one supervised connection; every clone talks to the same actor.
///
/// It is `Send` and `Sync`: it can be used from any thread, by tasks of a tokio runtime with time enabled. The connection ends when
/// [`shutdown`](Self::shutdown) was called, or when the last handle and address are gone.
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
    /// Who answers reads that do not say so themselves.
    reads: ReadFrom,
}

pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) in_flight_limit: Arc<InFlightLimit>,
    /// Further connections; one of them has none itself.
    pub(crate) auxiliary: Option<AuxiliaryConnections>,
    /// Of a cluster.
    pub(crate) topology: Option<Arc<Topology>>,
    /// Of sentinels: the links to replicas.
    pub(crate) replicas: Option<watch::Receiver<ReplicaStatuses>>,
    pub(crate) submit_queue: Arc<SubmitQueue>,
    pub(crate) connect_params: Arc<ConnectParams>,
    pub(crate) resolver: Resolver,
    pub(crate) features: KnownFeatures,
}

impl Redis {
    /// Configures a connection of one's own; [`get_redis`] gives the one of the process.
    pub fn builder(config: RedisConfig) -> RedisBuilder {
        RedisBuilder::new(config)
    }

    /// Another connection like this one, for work that would hold this one up.
    ///
    /// # Errors
    /// When this one is such a connection itself.
    pub(crate) fn connector(&self, client_name: &str) -> Result<Connector> {
        Ok(Connector::new(self.links()?.clone(), client_name))
    }

    pub(crate) fn assemble(addr: Addr<RedisActor>, shared: Shared, reads: ReadFrom) -> Self {
        Self { addr, shared: Arc::new(shared), reads }
    }

    /// For the crate's own reads: what it does with an answer is right only if that is not old.
    pub(crate) fn at_primary(&self) -> Self {
        Self { reads: ReadFrom::Primary, ..self.clone() }
    }

    /// Sends a command. It is on its way when this returns, not when the future is first polled, so
    /// commands keep the order of the calls; only when the connection's bounds are reached does the future
    /// wait for room.
    ///
    /// # Errors
    /// Every failure of the command; [`Error::fate`] says whether it can have run. It is answered within its
    /// deadline, whatever happens to the connection.
    ///
    /// # Cancel safety
    /// Dropping the future drops the command if it was not written yet. If it was, it runs, and its reply
    /// goes to nobody. One that waits, such as [`BLPop`](crate::BLPop), is called off, and what it took is put
    /// back or reported.
    pub fn send<M: Command>(&self, message: M) -> SendFuture<M> {
        let (reply, answer) = ReplySender::channel();
        let frame = message.into_frame().or_read_from(self.reads);
        let limit = frame.own_timeout().unwrap_or_else(|| self.shared.config.command_timeout());
        let asked = clock::asked(limit);
        if self.shared.auxiliary.is_some() && frame.waits() {
            let (seen, reported) = oneshot::channel();
            let ticket = Box::new(Waiter::new(frame, reply));
            self.addr.do_send(RunDedicated { ticket, asked, seen: Some(reported) });
            return SendFuture::alone(answer, seen);
        }
        let size = frame.size();
        let pass = self.shared.in_flight_limit.try_acquire(size);
        let ticket = Box::new(Waiter::new(frame, reply));
        if let Some(pass) = pass {
            self.shared.submit_queue.send(&self.addr, Submit { ticket: ticket.let_in(pass), asked });
            return SendFuture::under(answer);
        }
        let down = !self.shared.status.borrow().is_available();
        if (down && ticket.when_down().unwrap_or(self.shared.config.when_down()) == WhenDown::FailFast)
            // Nobody here can tell the time: an executor without tokio's clock.
            || tokio::runtime::Handle::try_current().is_err()
        {
            ticket.complete(Err(no_room("the connection has no room for another command")));
            return SendFuture::under(answer);
        }
        SendFuture::for_room(answer, self.clone(), ticket, size, asked, limit)
    }

    /// Sends a frame of an `M` that means something on the link of this generation only.
    pub(crate) async fn send_on<M: Command>(&self, generation: u64, frame: Frame) -> Result<M::Reply> {
        self.send_asking_on::<M>(generation, frame, false).await
    }

    /// As [`send_on`](Self::send_on), behind ASKING where that is said.
    pub(crate) async fn send_asking_on<M: Command>(
        &self,
        generation: u64,
        frame: Frame,
        asking: bool,
    ) -> Result<M::Reply> {
        let (reply, answer) = oneshot::channel();
        let ticket = Box::new(Waiter::<M, _>::new(frame.pinned(), reply));
        let ticket = if asking { Asking::of(ticket) } else { ticket };
        self.addr.do_send(SubmitOn::new(generation, Submit { ticket, asked: Instant::now() }));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// As [`send_on`](Self::send_on), and nobody waits.
    pub(crate) fn publish_on(&self, generation: u64, frame: Frame) {
        let ticket = Box::new(Unawaited::new(frame.pinned()));
        self.addr.do_send(SubmitOn::new(generation, Submit { ticket, asked: Instant::now() }));
    }

    /// As [`send_on`](Self::send_on), with somewhere to wait for the answer.
    pub(crate) fn begin_on(&self, generation: u64, frame: Frame, asking: bool) -> oneshot::Receiver<Result<Value>> {
        let (reply, answer) = oneshot::channel();
        let ticket = Box::new(Waiter::<Internal, _>::new(frame.pinned(), reply));
        let ticket = if asking { Asking::of(ticket) } else { ticket };
        self.addr.do_send(SubmitOn::new(generation, Submit { ticket, asked: Instant::now() }));
        answer
    }

    /// The actor's address, for this crate's own messages.
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

    /// Runs something on the thread of the actor.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.addr.do_send(Run(Box::new(work)));
    }

    /// Whether it ended: by a shutdown through any handle, or because its supervisor gave up.
    fn is_closed(&self) -> bool {
        !self.addr.connected() || self.shared.status.borrow().state == ConnectionState::Closed
    }

    /// The actor's address, for [`Recipient`]s and for code that speaks actix only.
    ///
    /// From the first call on commands of every handle take their own places in the actor's mailbox, one by
    /// one, in order with those sent to the address. Under many callers that costs a tenth of throughput.
    #[must_use]
    pub fn addr(&self) -> &Addr<RedisActor> {
        self.shared.submit_queue.send_unbatched();
        &self.addr
    }

    /// The address for this crate's own messages, which have no order with commands.
    pub(crate) fn actor(&self) -> &Addr<RedisActor> {
        &self.addr
    }

    /// What every key gets.
    #[must_use]
    pub fn key_prefix(&self) -> &KeyPrefix {
        self.shared.config.key_prefix()
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &RedisConfig {
        &self.shared.config
    }

    /// Connects, if that was not done yet, and waits until commands flow.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] as soon as the server refuses the login, [`ErrorKind::Disconnected`] with the
    /// last cause when `within` passed, [`ErrorKind::Closed`] after a shutdown.
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

    /// What the connection is doing, now and from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// Sends the events of the connection to `recipient` from now on, beginning with
    /// [`ConnectionEvent::Present`].
    pub fn on_event(&self, recipient: Recipient<ConnectionEvent>) {
        self.addr.do_send(Subscribe(recipient));
    }

    /// Asks the server whether it is there, and tells how the connection does.
    ///
    /// # Errors
    /// When PING is not answered: the error of that command. A user who may not PING gets an answer as well.
    pub async fn health(&self) -> Result<Health> {
        let asked = Instant::now();
        is_answer(self.send(Ping::new()).await)?;
        let round_trip = asked.elapsed();
        let nodes = self.nodes_that_answer().await;
        let server_info = self.addr.send(GetServerInfo).await.map_err(|_| gone())?;
        let status = self.shared.status.borrow().clone();
        Ok(Health {
            round_trip,
            in_flight: self.shared.gauges.in_flight(),
            queued: self.shared.gauges.queued(),
            server: server_info.server,
            version: server_info.version,
            role: server_info.role,
            protocol: server_info.protocol,
            subscriptions: self.pubsub().ok().and_then(|pubsub| pubsub.status()),
            status,
            nodes,
            links: self.link_infos(),
        })
    }

    fn link_infos(&self) -> Vec<LinkInfo> {
        self.links().map(|links| links.info()).unwrap_or_default()
    }

    /// Where the connection leads and what it is doing. Holds no secret.
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

    /// Ends the connection: admits nothing more, finishes what was admitted, and reports. Everything that
    /// was admitted is answered by the deadline. Every handle to this connection is closed by it.
    ///
    /// Commands that wait, such as [`BLPop`](crate::BLPop), are called off first; until they are, which takes
    /// as long as the server needs to answer, other commands are still admitted.
    ///
    /// Drain stream consumers first, by [`StreamConsumer::drain`](crate::StreamConsumer::drain): what one has in hand
    /// otherwise stays pending, for its peers to take over after `min_idle`.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the actor is gone already, without a report.
    ///
    /// # Cancel safety
    /// The shutdown goes on when the future is dropped.
    pub async fn shutdown(&self, within: Duration) -> Result<ShutdownReport> {
        let (done, report) = oneshot::channel();
        let subscriptions = self.pubsub().ok().and_then(|pubsub| pubsub.close());
        let Some(links) = self.links().ok().cloned() else {
            self.addr.do_send(ShutDown { within, done });
            return report.await.map_err(|_| gone());
        };
        let addr = self.addr.clone();
        let (all, reported) = oneshot::channel();
        // On the actor's thread, so that it goes on when nobody waits for it, and behind commands that wait and were sent
        // before: they are called off and counted, where a closed door would tell them that they had never been admitted.
        self.addr.do_send(Run(Box::new(move || {
            actix::spawn(async move {
                let begun = Instant::now();
                links.blocking_calls().cancel();
                links.refuse_more();
                // Without an answer it is not waited for any longer.
                let _ = tokio::time::timeout(within, links.blocking_calls().ended()).await;
                let within = within.saturating_sub(begun.elapsed());
                let auxiliary = links.close(within);
                addr.do_send(ShutDown { within, done });
                let mut whole = whole(report.await, auxiliary).await;
                // The links of those that wait have ended, and that ends the waits.
                let _ = tokio::time::timeout(LAST_WORDS, links.blocking_calls().ended()).await;
                if let Ok(whole) = &mut whole {
                    whole.add(links.blocking_calls().report());
                }
                let _ = all.send(whole);
            });
        })));
        let report = reported.await.map_err(|_| gone())?;
        over(subscriptions).await;
        report
    }
}

/// How long what has ended may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Waits until the last subscriber has heard of the end.
async fn over(subscriptions: Option<oneshot::Receiver<()>>) {
    if let Some(ended) = subscriptions {
        // Its actor fell meanwhile: it is over in any case.
        let _ = ended.await;
    }
}

/// What a connection and those beside it left behind.
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

/// A refusal proves as well as a reply that the server answers: a user may have the right to nothing but what the service
/// needs.
pub(crate) fn is_answer<T>(ping: Result<T>) -> Result<()> {
    match ping {
        Err(error) if error.code() != Some("NOPERM") => Err(error),
        _ => Ok(()),
    }
}

/// The reply channel closed without a word: the actor is gone, or was taken down by the command itself.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::Closed, Fate::Unknown, "the connection actor ended before it could answer")
}

/// How a connection does; see [`Redis::health`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// How long PING took from here and back, the wait for a connection included.
    pub round_trip: Duration,
    /// Commands written and not answered yet.
    pub in_flight: usize,
    /// Commands waiting for the link.
    pub queued: usize,
    /// What the server calls itself, if it speaks RESP3.
    pub server: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its role when it was greeted.
    pub role: Option<String>,
    /// The version of RESP that is spoken, 2 or 3.
    pub protocol: u8,
    /// What the connection is doing.
    pub status: Status,
    /// Of a cluster: its nodes, and how long each primary took to answer; `None` for one that did not. With sentinels the
    /// replicas that are read from; see [`ReadFrom`].
    pub nodes: Vec<NodeInfo>,
    /// What the connection of the subscriptions is doing, if there is one; see [`Redis::subscribe`]. Those to single nodes
    /// of a cluster are among the links.
    pub subscriptions: Option<Status>,
    /// The connections beside it.
    pub links: Vec<LinkInfo>,
}

/// Where a connection leads; see [`Redis::connection_info`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// `single`, `cluster` or `sentinel`.
    pub mode: &'static str,
    /// As configured.
    pub addresses: Vec<String>,
    /// The database.
    pub db: u32,
    /// Whether it is encrypted.
    pub tls: bool,
    /// What every key gets.
    pub prefix: String,
    /// What it is doing.
    pub state: ConnectionState,
    /// Of a cluster: its nodes, as far as they are known. With sentinels the replicas that are read from.
    pub nodes: Vec<NodeInfo>,
    /// What the connection of the subscriptions is doing, if there is one. Those to single nodes of a cluster are among the
    /// links.
    pub subscriptions: Option<ConnectionState>,
    /// The connections beside it, for what needs one to itself.
    pub links: Vec<LinkInfo>,
}

static SHARED: Mutex<Option<Redis>> = Mutex::new(None);

/// The connection of this process: made from the environment at the first call, and shared from then on.
/// It runs on a thread of its own, so that it belongs to no arbiter that might end before others.
///
/// # Errors
/// When the environment is not a valid configuration; see [`RedisConfig::from_env`].
pub fn get_redis() -> Result<Redis> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(redis) = shared.as_ref().filter(|redis| !redis.is_closed()) {
        return Ok(redis.clone());
    }
    let redis = Redis::builder(RedisConfig::from_env()?).start_on_own_thread()?;
    *shared = Some(redis.clone());
    Ok(redis)
}

/// Ends the connection of this process, if there is one, as [`Redis::shutdown`] does. A later [`get_redis`]
/// starts anew; handles from before stay closed.
///
/// # Errors
/// As [`Redis::shutdown`].
pub async fn close_redis(within: Duration) -> Result<ShutdownReport> {
    let redis = SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
    match redis {
        Some(redis) => redis.shutdown(within).await,
        None => Ok(ShutdownReport::default()),
    }
}
