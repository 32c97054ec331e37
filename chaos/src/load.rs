//! Callers of every kind that continue through all faults and record their outcomes.

mod queue;
pub(crate) mod reads;
mod streams;
mod topics;
mod writes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use redis_actix::{Error, Fate, ReconnectPolicy, Redis, RedisBuilder, RedisConfigBuilder, RestartLimit};

use super::account::Account;
use super::deployment::{Deployment, Losses};
use super::ledger::{Ledger, Tally};
use queue::Queue;
use streams::Handled;
use topics::Heard;

/// The command timeout of chaos runs.
pub const DEADLINE: Duration = Duration::from_millis(1_500);
/// The time after which a silent link is closed.
pub const LIVENESS: Duration = Duration::from_millis(600);
/// Maximum time after a failover for which a client may use the old primary: a silent link is closed, the servers are asked,
/// and a node that has lost its slots keeps commands in flight for half a second.
pub const FOLLOW: Duration = Duration::from_secs(2);
const LISTS: u64 = 12;

/// State shared by the loads.
pub struct Shared {
    redis: Redis,
    /// Another handle on the same arbiter, without `liveness`: a link that hangs until then hangs without end here.
    no_liveness: RefCell<Option<Redis>>,
    account: Arc<Account>,
    ledger: Ledger,
    queue: Queue,
    heard: Rc<Heard>,
    handled: Rc<Handled>,
    over: Cell<bool>,
    /// The command timeout.
    deadline: Duration,
    callers: Cell<u64>,
    /// Answered and failed.
    reads: Cell<(u64, u64)>,
    /// Times of successes of each kind.
    served: RefCell<BTreeMap<&'static str, Vec<Instant>>>,
    errors: RefCell<BTreeMap<&'static str, (u64, String)>>,
}

impl Shared {
    /// The number of another task that waits for each write before the next.
    fn caller(&self) -> u64 {
        self.callers.set(self.callers.get() + 1);
        self.callers.get()
    }

    fn served(&self, kind: &'static str) {
        self.served.borrow_mut().entry(kind).or_default().push(Instant::now());
    }

    fn failed(&self, kind: &'static str, error: &Error) {
        let shown = format!("{error:?}");
        self.account.check(!shown.contains("canary"), "a secret is in an error", || shown.clone());
        let mut errors = self.errors.borrow_mut();
        let seen = errors.entry(kind).or_default();
        *seen = (seen.0 + 1, error.to_string());
        self.account.count(match error.fate() {
            Fate::NotSent => "all not sent",
            Fate::Rejected => "all rejected",
            Fate::Unknown => "all unknown",
        });
    }

    /// Every call ends by its deadline, plus the time for which this thread did not run.
    fn in_time(&self, kind: &'static str, asked: Instant, deadline: Duration) {
        let late = asked.elapsed().saturating_sub(deadline);
        if late < Duration::from_millis(300) {
            return self.account.check(true, "", String::new);
        }
        let stalled = self.account.stalled_since(asked);
        self.account.check(late < Duration::from_millis(300) + stalled * 2, "answered after its deadline", || {
            format!("{kind}: {late:?} after {deadline:?}; the thread did not run for {stalled:?}")
        });
    }
}

type Caller = fn(Rc<Shared>, fastrand::Rng) -> Pin<Box<dyn Future<Output = ()>>>;

/// The kinds of callers, with their numbers.
const CALLERS: &[(usize, Caller)] = &[
    (12, |shared, chance| Box::pin(writes::commands(shared, chance))),
    (2, |shared, chance| Box::pin(writes::bursts(shared, chance))),
    (2, |shared, chance| Box::pin(writes::no_liveness(shared, chance))),
    (3, |shared, chance| Box::pin(writes::pipelines(shared, chance))),
    (3, |shared, chance| Box::pin(writes::transactions(shared, chance))),
    (3, |shared, chance| Box::pin(writes::watches(shared, chance))),
    (2, |shared, chance| Box::pin(writes::scripts(shared, chance))),
    (2, |shared, chance| Box::pin(writes::replicated(shared, chance))),
    (2, |shared, chance| Box::pin(queue::pushes(shared, chance))),
    (8, |shared, chance| Box::pin(reads::replicas(shared, chance))),
    (2, |shared, chance| Box::pin(reads::leavers(shared, chance))),
    (1, |shared, chance| Box::pin(reads::keepers(shared, chance))),
    (1, |shared, chance| Box::pin(topics::publish(shared, chance))),
    (2, |shared, chance| Box::pin(streams::produce(shared, chance))),
];

/// Short, so that many attempts fit between two faults.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// A handle that reconnects quickly.
pub fn connect(deployment: &Deployment) -> Redis {
    let config = deployment.config().command_timeout(DEADLINE).liveness(LIVENESS).connect_timeout(CONNECT_TIMEOUT);
    quick(config).start().expect("started")
}

/// The same with another configuration.
pub fn quick(config: RedisConfigBuilder) -> RedisBuilder {
    let delays = Duration::from_millis(5)..=Duration::from_millis(200);
    let redis = Redis::builder(config.build().expect("a valid configuration"));
    let redis = redis.reconnect(ReconnectPolicy::exponential(delays).stable_after(Duration::from_secs(1)));
    redis.restarts(RestartLimit::new(1_000, Duration::from_secs(60)).pause(Duration::from_millis(5)))
}

/// Loads of every kind over one handle.
pub struct Load {
    shared: Rc<Shared>,
    tasks: RefCell<Vec<tokio::task::JoinHandle<()>>>,
    listeners: Vec<tokio::task::JoinHandle<()>>,
    keep: Box<dyn std::any::Any>,
}

impl Load {
    /// Subscribes, starts the consumers, and writes the values that are read.
    pub async fn start(redis: &Redis, account: &Arc<Account>, deployment: &Deployment) -> Self {
        let shared = Rc::new(Shared {
            redis: redis.clone(),
            no_liveness: RefCell::default(),
            account: account.clone(),
            ledger: Ledger::default(),
            queue: Queue::default(),
            heard: Rc::default(),
            handled: Rc::default(),
            over: Cell::new(false),
            deadline: redis.config().command_timeout(),
            callers: Cell::new(0),
            reads: Cell::default(),
            served: RefCell::default(),
            errors: RefCell::default(),
        });
        reads::prepare(redis).await;
        let subscription = topics::subscribe(&shared, deployment.mode()).await;
        let consumer = streams::consume(&shared);
        let pops = (0..2).map(|_| actix::spawn(queue::pops(shared.clone())));
        let listeners = pops.collect();
        Self { shared, tasks: RefCell::default(), listeners, keep: Box::new((subscription, consumer)) }
    }

    /// Writes through this handle as well, which has no `liveness`.
    pub fn add_no_liveness(&self, redis: &Redis) {
        self.shared.no_liveness.replace(Some(redis.clone()));
    }

    pub fn begin(&self, seed: u64) {
        self.shared.over.set(false);
        let mut chance = fastrand::Rng::with_seed(seed);
        for (count, caller) in CALLERS {
            for _ in 0..*count {
                let task = actix::spawn(caller(self.shared.clone(), chance.fork()));
                self.tasks.borrow_mut().push(task);
            }
        }
    }

    pub async fn end(&self) {
        self.shared.over.set(true);
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for task in tasks {
            // An attempt of a watch may wait for a link and for each of its commands.
            let ended = tokio::time::timeout(self.shared.deadline * 10, task).await;
            self.shared
                .account
                .check(matches!(ended, Ok(Ok(()))), "a caller was never answered", || format!("{ended:?}"));
        }
    }

    /// While the servers are healthy: every kind succeeds again, and every write is accounted for.
    pub async fn verify(&self, deployment: &Arc<Deployment>, losses: &Losses) -> BTreeMap<&'static str, Tally> {
        let shared = &self.shared;
        writes::serves_again(shared).await;
        let subscription = topics::verify(shared, deployment.mode()).await;
        let keys = shared.ledger.keys();
        let servers = deployment.clone();
        let lists = spawn_blocking(move || servers.take_lists(&keys)).await.expect("the servers answer");
        let consumer = streams::verify(shared, &lists).await;
        let (round, account, losses_of_servers) = (shared.ledger.take(), shared.account.clone(), losses.clone());
        let verified = spawn_blocking(move || round.verify(&lists, &losses_of_servers, &account));
        let mut tallies = verified.await.expect("no panic");
        let blocking = queue::verify(shared, losses).await;
        let reads = shared.reads.take();
        tallies.extend([
            ("subscription", subscription),
            ("stream consumer", consumer),
            ("blocking", blocking),
            ("replica reads", Tally { acknowledged: reads.0, refused: reads.1, ..Tally::default() }),
        ]);
        tallies
    }

    /// Times of successes of each kind since the last call.
    pub fn take_served(&self) -> BTreeMap<&'static str, Vec<Instant>> {
        std::mem::take(&mut *self.shared.served.borrow_mut())
    }

    /// The number of failures of each kind, and the last error.
    pub fn take_errors(&self) -> BTreeMap<&'static str, (u64, String)> {
        std::mem::take(&mut *self.shared.errors.borrow_mut())
    }

    /// Ends subscriptions and consumers.
    pub async fn close(self) {
        for listener in &self.listeners {
            listener.abort();
        }
        drop(self.keep);
    }
}

/// Waits until the condition holds.
async fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

async fn pause(chance: &mut fastrand::Rng) {
    tokio::time::sleep(Duration::from_micros(chance.u64(..8_000))).await;
}
