//! Starts a connection actor with its settings, its supervisor and its thread.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, OnceLock},
    thread::{self, ThreadId},
    time::Instant,
};

use actix::{Addr, Arbiter, ArbiterHandle, Context, Recipient, WeakAddr, dev::channel};
use tokio::sync::watch;

use crate::actors::connection::{DedicatedRunner, RedisActor, VerifyEndpoint};
use crate::cache::ClientCache;
use crate::client::gauges::Gauges;
use crate::client::in_flight_limit::InFlightLimit;
use crate::client::key_resolver::Resolver;
use crate::client::per_thread::ThreadConnections;
use crate::client::submit_queue::{SubmitQueue, SubmitReceiver};
use crate::client::{Redis, Shared};
use crate::cluster::router::{Router, RouterParts};
use crate::cluster::slot::Slots;
use crate::cluster::topology::{Topology, TopologyPublisher};
use crate::config::credentials::{CredentialsProvider, Provider};
use crate::config::{Address, Connections, HostPort, Mode, RedisConfig, TlsSettings, TlsVerify};
use crate::connection::demotion::Demotions;
use crate::connection::driver::Driver;
use crate::connection::driver::listening::Listener;
use crate::connection::endpoint::{Endpoint, Locate};
use crate::connection::engine::Engine;
use crate::connection::params::{ConnectParams, Replica};
use crate::connection::retry::ReconnectPolicy;
use crate::dedicated::blocking;
use crate::dedicated::pool::{LinkLimit, Links};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{Cause, CauseKind, ConnectionEvent, Fanout, Status};
use crate::frame::ReadFrom;
use crate::pubsub::PubSub;
use crate::replicas::pool::Replicas;
use crate::replicas::router;
use crate::replicas::router::{ReplicaStatuses, Replicated};
use crate::sentinel::{Sentinels, Watchers};
use crate::streams::known_features::KnownFeatures;
use crate::supervisor::{ActorFailure, Guardian, RestartLimit};
use crate::transport::dial::Target;
use crate::transport::tls::{ClientIdentity, Tls, TlsOptions};

/// Configures and starts a connection; created by [`Redis::builder`].
#[must_use = "nothing runs until it is started"]
pub struct RedisBuilder {
    config: RedisConfig,
    policy: ReconnectPolicy,
    limit: RestartLimit,
    links: LinkLimit,
    recipients: Vec<Recipient<ConnectionEvent>>,
    arbiter: Option<ArbiterHandle>,
    credentials: Option<Provider>,
}

impl RedisBuilder {
    pub(crate) fn new(config: RedisConfig) -> Self {
        Self {
            config,
            policy: ReconnectPolicy::default(),
            limit: RestartLimit::default(),
            links: LinkLimit::default(),
            recipients: Vec::new(),
            arbiter: None,
            credentials: None,
        }
    }

    /// Sets the policy for reconnecting.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the restart limit of the actor.
    pub fn restarts(mut self, limit: RestartLimit) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the maximum number of auxiliary connections, for commands that need a dedicated one.
    pub fn links(mut self, limit: LinkLimit) -> Self {
        self.links = limit;
        self
    }

    /// Sends every event of the connection to `recipient`, from the first on. The recipient is dropped when its actor
    /// ends or the connection is closed.
    pub fn on_event(mut self, recipient: Recipient<ConnectionEvent>) -> Self {
        self.recipients.push(recipient);
        self
    }

    /// Requests user and password from `provider` at every login, instead of the configuration. The configured user
    /// name applies if the provider returns none.
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.credentials = Some(Provider::new(provider));
        self
    }

    /// Runs the actor on this arbiter instead of the current one.
    pub fn arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// Starts the actor. This does not block and needs no server: the first command connects.
    ///
    /// # Errors
    /// If there is no actix arbiter on this thread, the given arbiter has ended, or the mode is not supported.
    pub fn start(self) -> Result<Redis> {
        let arbiter = self.arbiter.clone().or_else(Arbiter::try_current);
        let (redis, prepared) = self.prepare()?;
        place(arbiter, prepared)?;
        Ok(redis)
    }

    /// Starts the actor on its own thread, with any executor or none. The thread ends with the actor. All callers are
    /// then on other threads, so [busy polling](crate::RedisConfigBuilder::busy_poll) has no effect.
    ///
    /// # Errors
    /// If the thread cannot be created, or the mode is not supported.
    pub fn start_on_own_thread(self) -> Result<Redis> {
        let (redis, prepared) = self.prepare()?;
        std::thread::Builder::new()
            .name("redis-actix".to_owned())
            .spawn(move || {
                actix_rt::System::new().block_on(async move { prepared.spawn().await });
            })
            .map_err(|error| config_error("the thread of the connection could not be created").caused_by(error))?;
        Ok(redis)
    }

    fn prepare(self) -> Result<(Redis, PreparedActor)> {
        let (address, seeds) = first_address(&self.config)?;
        let target = Target {
            address,
            tls: self.config.tls().map(|settings| Arc::new(Tls::new(tls_options(settings)))),
            user_timeout: self.config.liveness(),
        };
        let client_name = self.config.client_name().map(str::to_owned);
        let in_cluster = !seeds.is_empty();
        let demotions = (!in_cluster).then(Demotions::default);
        let (config, credentials) = (self.config, self.credentials);
        let mut connect_params =
            ConnectParams { client_name, credentials, in_cluster, demotions, ..ConnectParams::new(config, target) };
        if let Some(settings) = connect_params.config.cache() {
            connect_params.cache = Some(ClientCache::new(*settings, connect_params.config.key_prefix().clone()));
            connect_params.tracks = true;
        }
        let mut sentinels = None;
        if let Mode::Sentinel { hosts, master } = connect_params.config.mode() {
            let found = Sentinels::new(
                hosts.clone(),
                master.clone(),
                connect_params.for_server(connect_params.target.address.clone()),
            );
            sentinels = Some(found.clone());
            connect_params.place = Endpoint::Found(found);
        }
        let spec = ConnectionSpec {
            connect_params: Arc::new(connect_params),
            policy: self.policy,
            limit: self.limit,
            link: "further".into(),
        };
        if in_cluster {
            return Ok(spec.make_cluster(self.recipients, seeds, self.links));
        }
        let auxiliary = spec.auxiliary(self.links);
        let links = auxiliary.links.clone();
        let (redis, mut prepared) = spec.make(self.recipients, Some(auxiliary));
        links.beside(redis.status());
        prepared.sentinels = sentinels;
        Ok((redis, prepared))
    }
}

/// The address of the configuration, and the seeds of a cluster.
fn first_address(config: &RedisConfig) -> Result<(Address, Vec<HostPort>)> {
    match config.mode() {
        Mode::Single(address) => Ok((address.clone(), Vec::new())),
        Mode::Cluster(seeds) => match &**seeds {
            [first, ..] => Ok((Address::Tcp(first.clone()), seeds.clone())),
            [] => Err(config_error("a cluster needs at least one node for its discovery; set REDIS_CLUSTER_HOSTS")),
        },
        Mode::Sentinel { hosts, .. } => match &**hosts {
            [first, ..] => Ok((Address::Tcp(first.clone()), Vec::new())),
            [] => Err(config_error("sentinel mode needs at least one sentinel; set REDIS_SENTINEL_HOSTS")),
        },
    }
}

/// The auxiliary connections.
pub(crate) struct AuxiliaryConnections {
    pub(crate) links: Arc<Links>,
    pub(crate) pubsub: Arc<PubSub>,
}

/// Spawns an actor on an arbiter.
pub(crate) fn place(arbiter: Option<ArbiterHandle>, prepared: PreparedActor) -> Result<()> {
    let arbiter = arbiter.ok_or_else(|| {
        config_error(
            "there is no actix system on this thread; use start_on_own_thread(), or start inside #[actix::main]",
        )
    })?;
    let placed = arbiter.spawn_fn(move || {
        actix::spawn(prepared.spawn());
    });
    if placed { Ok(()) } else { Err(config_error("the arbiter has ended; start on a running one")) }
}

/// The common parts of all connections of one handle.
#[derive(Clone)]
pub(crate) struct ConnectionSpec {
    connect_params: Arc<ConnectParams>,
    policy: ReconnectPolicy,
    limit: RestartLimit,
    /// The name of an auxiliary link in logs.
    link: Arc<str>,
}

impl ConnectionSpec {
    /// The same for an internal connection with this name.
    pub(crate) fn named(&self, client_name: &str) -> Self {
        let connect_params =
            ConnectParams { client_name: Some(client_name.to_owned()), ..(*self.connect_params).clone() };
        Self { connect_params: Arc::new(connect_params), link: client_name.into(), ..self.clone() }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.connect_params.config
    }

    /// The same for a server that is located at each connection attempt.
    pub(crate) fn found(&self, place: Arc<dyn Locate>) -> Self {
        let connect_params = ConnectParams { place: Endpoint::Found(place), ..(*self.connect_params).clone() };
        Self { connect_params: Arc::new(connect_params), ..self.clone() }
    }

    /// The same for one node of a cluster.
    pub(crate) fn at(&self, node: &HostPort) -> Self {
        let connect_params = self.connect_params.for_server(Address::Tcp(node.clone()));
        Self {
            connect_params: Arc::new(connect_params),
            link: format!("{} at {node}", self.link).into(),
            ..self.clone()
        }
    }

    /// Creates a handle to one server, and its prepared actor.
    pub(crate) fn make(
        &self,
        recipients: Vec<Recipient<ConnectionEvent>>,
        auxiliary: Option<AuxiliaryConnections>,
    ) -> (Redis, PreparedActor) {
        self.place(recipients, auxiliary, None, false)
    }

    /// Like [`make`](Self::make), for a cluster.
    fn make_cluster(
        &self,
        recipients: Vec<Recipient<ConnectionEvent>>,
        seeds: Vec<HostPort>,
        limit: LinkLimit,
    ) -> (Redis, PreparedActor) {
        self.place(recipients, None, Some((seeds, limit)), false)
    }

    /// Creates a connection for the commands of one thread. `seeds` are the initial nodes of a cluster.
    pub(crate) fn make_for_thread(&self, seeds: Vec<HostPort>) -> (Redis, PreparedActor) {
        let spec = Self { link: "thread".into(), ..self.clone() };
        let cluster = (!seeds.is_empty()).then(|| (seeds, LinkLimit::default()));
        spec.place(Vec::new(), None, cluster, true)
    }

    /// Auxiliary connections to the same server.
    fn auxiliary(&self, limit: LinkLimit) -> AuxiliaryConnections {
        // Their reads must be current, and their links are of short use.
        let connect_params = Arc::new(ConnectParams { tracks: false, ..(*self.connect_params).clone() });
        let spec = Self { connect_params, ..self.clone() };
        let subscriptions = Self { link: "subscriptions".into(), ..spec.clone() };
        let links = Links::new(spec, limit);
        let pubsub = PubSub::new(subscriptions, links.clone(), limit.idle_time());
        AuxiliaryConnections { links, pubsub }
    }

    /// What reads at the replicas of a master that sentinels name need: the finder, and the channel of their states.
    #[allow(clippy::type_complexity, reason = "two halves that go to different places")]
    fn read_through(
        &self,
    ) -> Option<(watch::Receiver<ReplicaStatuses>, (Arc<dyn Locate>, watch::Sender<ReplicaStatuses>))> {
        let Endpoint::Found(found) = &self.connect_params.place else { return None };
        let (announce, statuses) = watch::channel(ReplicaStatuses::default());
        found.is_master().then(|| (statuses, (found.clone(), announce)))
    }

    fn place(
        &self,
        recipients: Vec<Recipient<ConnectionEvent>>,
        mut auxiliary: Option<AuxiliaryConnections>,
        cluster: Option<(Vec<HostPort>, LinkLimit)>,
        for_thread: bool,
    ) -> (Redis, PreparedActor) {
        let config = self.connect_params.config.clone();
        // Zero makes the channel unbounded from the start. A bound would reorder commands: a `send` to a full mailbox
        // keeps its message until it is polled.
        let (sender, receiver) = channel::channel::<RedisActor>(0);
        let addr = Addr::new(sender);
        let (mut topology, mut announced) = (None, None);
        let seeds = cluster.as_ref().map(|(seeds, _)| seeds.clone()).unwrap_or_default();
        if let Some((seeds, limit)) = cluster {
            let (announce, known) = topology_of(&config, &addr);
            if !for_thread {
                // Commands without keys may be sent to any node.
                let beside = self.found(known.anywhere()).auxiliary(limit);
                beside.links.in_cluster(known.clone());
                auxiliary = Some(beside);
            }
            (topology, announced) = (Some(known), Some((seeds, announce)));
        }
        let (status_sender, status) = watch::channel(Status::new(Instant::now()));
        let submit_queue = Arc::new(SubmitQueue::new(config.command_timeout()));
        let gauges = Arc::new(Gauges::new());
        let in_flight_limit = in_flight_limit(&config);
        let links = auxiliary.as_ref().map(|auxiliary| auxiliary.links.clone());
        let threads = match config.connections() {
            Connections::PerThread(max) => {
                links.as_ref().map(|links| ThreadConnections::new(self.clone(), seeds, max, links))
            }
            Connections::Shared => None,
        };
        let home = threads.as_ref().map(ThreadConnections::home);
        let reads = if links.is_some() { config.read_from() } else { ReadFrom::Primary };
        let (replicas, read_through) = self.read_through().filter(|_| links.is_some()).unzip();
        let shared = Shared {
            config,
            status,
            gauges: gauges.clone(),
            in_flight_limit,
            connect_params: self.connect_params.clone(),
            cache: self.connect_params.cache.clone(),
            resolver: Resolver::default(),
            topology,
            replicas,
            threads,
            auxiliary,
            features: KnownFeatures::default(),
            submit_queue: submit_queue.clone(),
        };
        let fanout = Fanout::new(recipients, status_sender);
        let prepared = PreparedActor {
            connect_params: self.connect_params.clone(),
            policy: self.policy.clone(),
            limit: self.limit,
            fanout: if links.is_some() { fanout } else { fanout.of_link(self.link.clone()) },
            gauges,
            receiver,
            submit_receiver: SubmitReceiver(submit_queue),
            cluster: announced,
            read_through,
            reads,
            sentinels: None,
            addr: addr.downgrade(),
            links,
            home,
            follows: true,
        };
        (Redis::assemble(addr, shared, reads), prepared)
    }
}

/// The topology of a cluster, and where the actor at `addr` publishes it.
fn topology_of(config: &RedisConfig, addr: &Addr<RedisActor>) -> (TopologyPublisher, Arc<Topology>) {
    let (announce, snapshot) = TopologyPublisher::new();
    let slots = Slots::new(config.key_prefix().as_str().as_bytes());
    (announce, Topology::new(snapshot, slots, addr.downgrade().recipient()))
}

/// The bounds of all commands that wait for a reply or in the queue.
fn in_flight_limit(config: &RedisConfig) -> Arc<InFlightLimit> {
    InFlightLimit::new(
        config.max_in_flight().saturating_add(config.max_queued()),
        config.max_in_flight_bytes().saturating_add(config.max_queued_bytes()),
    )
}

/// The parts of an actor, which are moved to its thread.
pub(crate) struct PreparedActor {
    connect_params: Arc<ConnectParams>,
    policy: ReconnectPolicy,
    limit: RestartLimit,
    fanout: Fanout,
    gauges: Arc<Gauges>,
    receiver: channel::AddressReceiver<RedisActor>,
    submit_receiver: SubmitReceiver,
    cluster: Option<(Vec<HostPort>, TopologyPublisher)>,
    /// Locates the replicas of the server, and receives the state of their links.
    read_through: Option<(Arc<dyn Locate>, watch::Sender<ReplicaStatuses>)>,
    reads: ReadFrom,
    sentinels: Option<Arc<Sentinels>>,
    addr: WeakAddr<RedisActor>,
    links: Option<Arc<Links>>,
    /// Where the thread of the actor is noted.
    home: Option<Arc<OnceLock<ThreadId>>>,
    /// Whether the actor reconnects by itself if the server is no longer the right one.
    follows: bool,
}

impl PreparedActor {
    /// For a link whose owner handles a wrong server itself, such as that of a blocking command.
    pub(crate) fn unfollowed(mut self) -> Self {
        self.follows = false;
        self
    }

    pub(crate) async fn spawn(self) {
        self.spawn_with(None).await;
    }

    /// Like [`spawn`](Self::spawn), for a link with unsolicited messages.
    pub(crate) async fn spawn_with(self, listener: Option<Box<dyn Listener>>) {
        if let Some(home) = &self.home {
            home.get_or_init(|| thread::current().id());
        }
        let _follower =
            self.follows.then(|| Task(actix::spawn(follow(self.connect_params.clone(), self.addr.clone()))));
        let Self { connect_params, policy, fanout, gauges, .. } = self;
        let cache = connect_params.cache.clone();
        let master = match &connect_params.place {
            Endpoint::Found(found) if self.follows => found.master(),
            _ => None,
        };
        let engine = match self.cluster {
            None => {
                let mut main = Driver::new(connect_params.clone(), policy.clone(), fanout, gauges.clone());
                if let Some(listener) = listener {
                    main.listen(listener);
                }
                match self.read_through {
                    None => Engine::One(Box::new(main)),
                    Some((found, announce)) => {
                        let (event_sender, node_events) = Replicated::channel();
                        let replicas = Replicas::new(connect_params, Replica::Named, policy, event_sender);
                        let parts = router::ReplicatedParts { main, replicas, node_events, found, gauges, announce };
                        Engine::Replicated(Box::new(Replicated::new(parts)))
                    }
                }
            }
            Some((seeds, announce)) => Engine::Cluster(Box::new(Router::new(RouterParts {
                connect_params,
                policy,
                seeds,
                fanout,
                gauges,
                announce,
            }))),
        };
        let driver = Rc::new(RefCell::new(engine));
        let dedicated_runner = self.links.map(|links| -> DedicatedRunner {
            // A task outside of the actor, because blocking commands outlive its restarts.
            Rc::new(move |alone, main| drop(actix::spawn(blocking::run(links.clone(), main, alone))))
        });
        let actor = RedisActor::new(driver.clone(), self.submit_receiver, dedicated_runner, self.reads, cache);
        let actor = Context::with_receiver(self.receiver).into_future(actor);
        let failures = driver.clone();
        let _sentinels = self.sentinels.map(|sentinels| sentinels.watch());
        let _follower = master.map(|master| Watchers::follow(master, self.addr));
        Guardian::new(actor, self.limit, move |failure| {
            let mut driver = failures.borrow_mut();
            match failure {
                ActorFailure::Restart(restarts, reason) => {
                    driver.restarted(restarts, Cause::new(CauseKind::Panicked, reason))
                }
                ActorFailure::GiveUp(reason) => {
                    driver.abort(Cause::new(CauseKind::Panicked, reason));
                }
            }
        })
        .await;
        // All addresses were dropped, or the restart limit was exceeded: readers of the status must be notified.
        driver.borrow_mut().abort(Cause::new(CauseKind::Shutdown, "all handles were dropped"));
    }
}

/// A task that is aborted when this is dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Checks the link of an actor whenever it may lead to the wrong server.
async fn follow(connect_params: Arc<ConnectParams>, addr: WeakAddr<RedisActor>) {
    let mut seen = connect_params.seen();
    loop {
        connect_params.changed(&mut seen).await;
        let Some(addr) = addr.upgrade() else { return };
        addr.do_send(VerifyEndpoint);
    }
}

fn tls_options(settings: &TlsSettings) -> TlsOptions {
    let identity = settings.cert.clone().zip(settings.key.clone());
    TlsOptions {
        ca: settings.ca.clone(),
        identity: identity.map(|(certificate, key)| ClientIdentity { certificate, key }),
        server_name: settings.server_name().map(str::to_owned),
        any_name: settings.verify() == TlsVerify::Ca,
    }
}

fn config_error(words: &'static str) -> Error {
    Error::new(ErrorKind::Config, Fate::NotSent, words)
}
