//! Placing a connection actor: its settings, its supervisor, its thread.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Instant};

use actix::{Addr, Arbiter, ArbiterHandle, Context, Recipient, WeakAddr, dev::channel};
use tokio::sync::watch;

use crate::actors::connection::{Elsewhere, Recheck, RedisActor};
use crate::client::gauges::Gauges;
use crate::client::in_flight_limit::Gate;
use crate::client::key_resolver::Resolver;
use crate::client::submit_queue::{Intake, Outlet};
use crate::client::{Redis, Shared};
use crate::cluster::router::{Parts, Router};
use crate::cluster::slot::Slots;
use crate::cluster::topology::{Announce, Topology};
use crate::config::credentials::{CredentialsProvider, Provider};
use crate::config::{Address, HostPort, Mode, RedisConfig, TlsSettings, TlsVerify};
use crate::connection::demotion::Demotions;
use crate::connection::driver::Driver;
use crate::connection::driver::listening::Listener;
use crate::connection::endpoint::{Locate, Place};
use crate::connection::engine::Engine;
use crate::connection::params::{Recipe, Replica};
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
use crate::streams::features::KnownFeatures;
use crate::supervisor::{Fall, Guardian, RestartLimit};
use crate::transport::dial::Target;
use crate::transport::tls::{ClientIdentity, Tls, TlsOptions};

/// Configures and places a connection; made by [`Redis::builder`].
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

    /// Sets how a lost connection is dialled again.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how often the actor may fall before its supervisor gives up.
    pub fn restarts(mut self, limit: RestartLimit) -> Self {
        self.limit = limit;
        self
    }

    /// Sets how many further connections there may be, for what needs one to itself.
    pub fn links(mut self, limit: LinkLimit) -> Self {
        self.links = limit;
        self
    }

    /// Sends every event of the connection to `recipient`, from the first on. It is let go of when its
    /// actor ends or the connection is closed.
    pub fn on_event(mut self, recipient: Recipient<ConnectionEvent>) -> Self {
        self.recipients.push(recipient);
        self
    }

    /// Asks `provider` for user and password at every login, instead of the configuration. A user name in
    /// the configuration holds where the provider names none.
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.credentials = Some(Provider::new(provider));
        self
    }

    /// Runs the actor on this arbiter instead of the current one.
    pub fn arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// Starts the actor. Never blocks, and needs no server: the first command dials.
    ///
    /// # Errors
    /// When there is no actix arbiter to run on, the arbiter has ended, or the mode is not supported.
    pub fn start(self) -> Result<Redis> {
        let arbiter = self.arbiter.clone().or_else(Arbiter::try_current);
        let (redis, seed) = self.prepare()?;
        place(arbiter, seed)?;
        Ok(redis)
    }

    /// Starts the actor on a thread of its own, under any executor or none. The thread ends with the actor. Every caller is on
    /// another thread then, and [busy polling](crate::RedisConfigBuilder::busy_poll) is for those on the same.
    ///
    /// # Errors
    /// When the thread cannot be made, or the mode is not supported.
    pub fn start_on_own_thread(self) -> Result<Redis> {
        let (redis, seed) = self.prepare()?;
        std::thread::Builder::new()
            .name("redis-actix".to_owned())
            .spawn(move || {
                actix_rt::System::new().block_on(async move { seed.grow().await });
            })
            .map_err(|error| config_error("no thread could be made for the connection").caused_by(error))?;
        Ok(redis)
    }

    fn prepare(self) -> Result<(Redis, Seed)> {
        let (address, seeds) = match self.config.mode() {
            Mode::Single(address) => (address.clone(), Vec::new()),
            Mode::Cluster(seeds) => match &**seeds {
                [first, ..] => (Address::Tcp(first.clone()), seeds.clone()),
                [] => return Err(config_error("a cluster needs a node to find it through")),
            },
            Mode::Sentinel { hosts, .. } => match &**hosts {
                [first, ..] => (Address::Tcp(first.clone()), Vec::new()),
                [] => return Err(config_error("there has to be a sentinel to ask")),
            },
        };
        let target = Target {
            address,
            tls: self.config.tls().map(|settings| Arc::new(Tls::new(tls_options(settings)))),
            user_timeout: self.config.liveness(),
        };
        let client_name = self.config.client_name().map(str::to_owned);
        let in_cluster = !seeds.is_empty();
        let demotions = (!in_cluster).then(Demotions::default);
        let (config, credentials) = (self.config, self.credentials);
        let mut recipe = Recipe {
            config,
            target,
            client_name,
            credentials,
            in_cluster,
            place: Place::Fixed,
            demotions,
            losses: Arc::default(),
            replica: None,
            password_reads: Arc::default(),
            optional: Arc::default(),
        };
        let mut sentinels = None;
        if let Mode::Sentinel { hosts, master } = recipe.config.mode() {
            let found = Sentinels::new(hosts.clone(), master.clone(), recipe.for_server(recipe.target.address.clone()));
            sentinels = Some(found.clone());
            recipe.place = Place::Found(found);
        }
        let plan = Plan { recipe: Arc::new(recipe), policy: self.policy, limit: self.limit, link: "further".into() };
        if in_cluster {
            return Ok(plan.make_cluster(self.recipients, seeds, self.links));
        }
        let further = plan.further(self.links);
        let links = further.links.clone();
        let (redis, mut seed) = plan.make(self.recipients, Some(further));
        links.beside(redis.status());
        seed.sentinels = sentinels;
        Ok((redis, seed))
    }
}

/// The connections beside the shared one.
pub(crate) struct Further {
    pub(crate) links: Arc<Links>,
    pub(crate) pubsub: Arc<PubSub>,
}

/// Has an actor grow on an arbiter.
pub(crate) fn place(arbiter: Option<ArbiterHandle>, seed: Seed) -> Result<()> {
    let arbiter = arbiter.ok_or_else(|| {
        config_error(
            "there is no actix system on this thread; use start_on_own_thread(), or start inside #[actix::main]",
        )
    })?;
    let placed = arbiter.spawn_fn(move || {
        actix::spawn(seed.grow());
    });
    if placed { Ok(()) } else { Err(config_error("the arbiter has ended; start on one that runs")) }
}

/// What every connection of one handle is made from.
#[derive(Clone)]
pub(crate) struct Plan {
    recipe: Arc<Recipe>,
    policy: ReconnectPolicy,
    limit: RestartLimit,
    /// What the log calls a link beside the shared one.
    link: Arc<str>,
}

impl Plan {
    /// The same for a connection that the crate makes for itself, and names.
    pub(crate) fn named(&self, client_name: &str) -> Self {
        let recipe = Recipe { client_name: Some(client_name.to_owned()), ..(*self.recipe).clone() };
        Self { recipe: Arc::new(recipe), link: client_name.into(), ..self.clone() }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.recipe.config
    }

    /// The same for a server that is found at every dial.
    pub(crate) fn found(&self, place: Arc<dyn Locate>) -> Self {
        let recipe = Recipe { place: Place::Found(place), ..(*self.recipe).clone() };
        Self { recipe: Arc::new(recipe), ..self.clone() }
    }

    /// The same for one node of a cluster.
    pub(crate) fn at(&self, node: &HostPort) -> Self {
        let recipe = self.recipe.for_server(Address::Tcp(node.clone()));
        Self { recipe: Arc::new(recipe), link: format!("{} at {node}", self.link).into(), ..self.clone() }
    }

    /// A handle to one server, and what its actor grows from.
    pub(crate) fn make(&self, recipients: Vec<Recipient<ConnectionEvent>>, further: Option<Further>) -> (Redis, Seed) {
        self.place(recipients, further, None)
    }

    /// As [`make`](Self::make), for a cluster.
    fn make_cluster(
        &self,
        recipients: Vec<Recipient<ConnectionEvent>>,
        seeds: Vec<HostPort>,
        limit: LinkLimit,
    ) -> (Redis, Seed) {
        self.place(recipients, None, Some((seeds, limit)))
    }

    /// Further connections to the same place.
    fn further(&self, limit: LinkLimit) -> Further {
        let subscriptions = Self { link: "subscriptions".into(), ..self.clone() };
        let links = Links::new(self.clone(), limit);
        let pubsub = PubSub::new(subscriptions, links.clone(), limit.idle_time());
        Further { links, pubsub }
    }

    fn place(
        &self,
        recipients: Vec<Recipient<ConnectionEvent>>,
        mut further: Option<Further>,
        cluster: Option<(Vec<HostPort>, LinkLimit)>,
    ) -> (Redis, Seed) {
        let config = self.recipe.config.clone();
        // Zero makes the channel unbounded from the first moment on. Any bound would only reorder commands:
        // a `send` that finds the mailbox full keeps its message until it is polled.
        let (sender, receiver) = channel::channel::<RedisActor>(0);
        let addr = Addr::new(sender);
        let (mut topology, mut announced) = (None, None);
        if let Some((seeds, limit)) = cluster {
            let (announce, picture) = Announce::new();
            let slots = Slots::new(self.recipe.config.key_prefix().as_str().as_bytes());
            let known = Topology::new(picture, slots, addr.downgrade().recipient());
            // What has no key may be asked of any node.
            let beside = self.found(known.anywhere()).further(limit);
            beside.links.in_cluster(known.clone());
            further = Some(beside);
            topology = Some(known);
            announced = Some((seeds, announce));
        }
        let (status_sender, status) = watch::channel(Status::new(Instant::now()));
        let intake = Arc::new(Intake::default());
        let gauges = Arc::new(Gauges::new());
        let gate = Gate::new(
            config.max_in_flight().saturating_add(config.max_queued()),
            config.max_in_flight_bytes().saturating_add(config.max_queued_bytes()),
        );
        let links = further.as_ref().map(|further| further.links.clone());
        let reads = if links.is_some() { config.read_from() } else { ReadFrom::Primary };
        let (mut replicas, mut read_through) = (None, None);
        if let Place::Found(found) = &self.recipe.place
            && links.is_some()
            && found.is_master()
        {
            let (announce, statuses) = watch::channel(ReplicaStatuses::default());
            (replicas, read_through) = (Some(statuses), Some((found.clone(), announce)));
        }
        let shared = Shared {
            config,
            status,
            gauges: gauges.clone(),
            gate,
            recipe: self.recipe.clone(),
            resolver: Resolver::default(),
            topology,
            replicas,
            further,
            features: KnownFeatures::default(),
            intake: intake.clone(),
        };
        let fanout = Fanout::new(recipients, status_sender);
        let seed = Seed {
            recipe: self.recipe.clone(),
            policy: self.policy.clone(),
            limit: self.limit,
            fanout: if links.is_some() { fanout } else { fanout.of_link(self.link.clone()) },
            gauges,
            receiver,
            outlet: Outlet(intake),
            cluster: announced,
            read_through,
            reads,
            sentinels: None,
            addr: addr.downgrade(),
            links,
            follows: true,
        };
        (Redis::assemble(addr, shared, reads), seed)
    }
}

/// Everything an actor grows from, on its way to the thread it will live on.
pub(crate) struct Seed {
    recipe: Arc<Recipe>,
    policy: ReconnectPolicy,
    limit: RestartLimit,
    fanout: Fanout,
    gauges: Arc<Gauges>,
    receiver: channel::AddressReceiver<RedisActor>,
    outlet: Outlet,
    cluster: Option<(Vec<HostPort>, Announce)>,
    /// Who knows the replicas of what is found, and where to tell what their links are doing.
    read_through: Option<(Arc<dyn Locate>, watch::Sender<ReplicaStatuses>)>,
    reads: ReadFrom,
    sentinels: Option<Arc<Sentinels>>,
    addr: WeakAddr<RedisActor>,
    links: Option<Arc<Links>>,
    /// The actor leaves a server that is not the right one any more by itself.
    follows: bool,
}

impl Seed {
    /// For a link whose user leaves a wrong server in an order of its own, as a command that waits does.
    pub(crate) fn unfollowed(mut self) -> Self {
        self.follows = false;
        self
    }

    pub(crate) async fn grow(self) {
        self.grow_with(None).await;
    }

    /// As [`grow`](Self::grow), for a link that brings what nobody asked for.
    pub(crate) async fn grow_with(self, listener: Option<Box<dyn Listener>>) {
        let _follower = self.follows.then(|| Task(actix::spawn(follow(self.recipe.clone(), self.addr.clone()))));
        let Self { recipe, policy, fanout, gauges, .. } = self;
        let master = match &recipe.place {
            Place::Found(found) if self.follows => found.master(),
            _ => None,
        };
        let engine = match self.cluster {
            None => {
                let mut main = Driver::new(recipe.clone(), policy.clone(), fanout, gauges.clone());
                if let Some(listener) = listener {
                    main.listen(listener);
                }
                match self.read_through {
                    None => Engine::One(Box::new(main)),
                    Some((found, announce)) => {
                        let (teller, told) = Replicated::channel();
                        let replicas = Replicas::new(recipe, Replica::Named, policy, teller);
                        let parts = router::Parts { main, replicas, told, found, gauges, announce };
                        Engine::Replicated(Box::new(Replicated::new(parts)))
                    }
                }
            }
            Some((seeds, announce)) => {
                Engine::Cluster(Box::new(Router::new(Parts { recipe, policy, seeds, fanout, gauges, announce })))
            }
        };
        let driver = Rc::new(RefCell::new(engine));
        let elsewhere = self.links.map(|links| -> Elsewhere {
            // A task beside the actor: what waits outlives its restarts.
            Rc::new(move |alone, main| drop(actix::spawn(blocking::run(links.clone(), main, alone))))
        });
        let actor = RedisActor::new(driver.clone(), self.outlet, elsewhere, self.reads);
        let actor = Context::with_receiver(self.receiver).into_future(actor);
        let falls = driver.clone();
        let _sentinels = self.sentinels.map(|sentinels| sentinels.watch());
        let _follower = master.map(|master| Watchers::follow(master, self.addr));
        Guardian::new(actor, self.limit, move |fall| {
            let mut driver = falls.borrow_mut();
            match fall {
                Fall::Restart(restarts, reason) => driver.restarted(restarts, Cause::new(CauseKind::Panicked, reason)),
                Fall::GiveUp(reason) => {
                    driver.abort(Cause::new(CauseKind::Panicked, format!("the actor fell too often; last: {reason}")));
                }
            }
        })
        .await;
        // The last address is gone, or the supervisor gave up: whoever reads the status is told.
        driver.borrow_mut().abort(Cause::new(CauseKind::Shutdown, "nobody holds the connection any more"));
    }
}

/// A task that ends with this.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has the link of an actor looked at whenever it may lead to the wrong server.
async fn follow(recipe: Arc<Recipe>, addr: WeakAddr<RedisActor>) {
    let mut seen = recipe.seen();
    loop {
        recipe.changed(&mut seen).await;
        let Some(addr) = addr.upgrade() else { return };
        addr.do_send(Recheck);
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
