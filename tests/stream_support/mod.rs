//! What the tests of streams share: a server, a connection, and handlers that remember.
#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

pub mod child;

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::prelude::*;
use redis_actix::{
    Delivery, Outcome, ReconnectPolicy, Redis, RedisConfig, RestartLimit, StreamConsumer, StreamConsumerBuilder,
    StreamEvent, StreamEventKind, StreamId,
};
use redis_actix::{XAdd, XPending};
use redis_actix_test::{RedisServer, Reply};

/// No single wait of a test is longer.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Job {
    pub n: u64,
}

pub struct StreamFixture {
    pub server: RedisServer,
}

impl StreamFixture {
    pub fn start() -> Self {
        Self { server: RedisServer::start().unwrap() }
    }

    pub fn persistent() -> Self {
        Self { server: RedisServer::builder().appendonly(true).fsync_always().start().unwrap() }
    }

    pub fn redis(&self) -> Redis {
        connect(self.server.port())
    }
}

/// A command of the server's own connection; keys have the prefix already.
pub fn tell<const N: usize>(server: &RedisServer, words: [&str; N]) -> Reply {
    server.command(words).unwrap()
}

pub async fn add(redis: &Redis, numbers: impl IntoIterator<Item = u64>) -> Vec<StreamId> {
    let mut ids = Vec::new();
    for n in numbers {
        ids.push(redis.send(XAdd::new("orders").entry(&Job { n }).unwrap()).await.unwrap());
    }
    ids
}

/// Waits until nothing is pending in the group any more.
pub async fn settled(redis: &Redis) {
    eventually("nothing is pending", async || {
        redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 0)
    })
    .await;
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn connect(port: u16) -> Redis {
    let config = RedisConfig::builder().host("127.0.0.1").port(port).key_prefix("t:").liveness(ms(1_000));
    let config = config.connect_timeout(ms(1_000)).build().unwrap();
    let quick = ReconnectPolicy::exponential(Duration::from_millis(5)..=Duration::from_millis(50));
    Redis::builder(config).reconnect(quick).start().unwrap()
}

/// A consumer with the timeouts of a test.
pub fn quick(stream: &str, group: &str) -> StreamConsumerBuilder {
    StreamConsumer::builder(stream, group)
        .consumer("c1")
        .min_idle(Duration::from_millis(300))
        .block(Duration::from_millis(500))
        .retry([Duration::from_millis(50)])
}

/// Waits until something is so.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + TIME_LIMIT;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {TIME_LIMIT:?}: {what}");
        actix::clock::sleep(Duration::from_millis(5)).await;
    }
}

/// One call of a handler.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: StreamId,
    pub n: u64,
    pub attempt: u64,
    pub at: Instant,
}

type Answering = Pin<Box<dyn Future<Output = Outcome>>>;
type Answer = Box<dyn FnMut(&Delivery<Job>) -> Answering>;

/// A handler that remembers its deliveries, and answers as configured.
pub struct Recorder {
    answer: Answer,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone)]
pub struct Recording {
    addr: Addr<Recorder>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub fn start_with(mut answer: impl FnMut(&Delivery<Job>) -> Outcome + 'static) -> Recording {
        Self::working(move |job| ready(answer(job)))
    }

    /// A handler that takes its time.
    pub fn working<F: Future<Output = Outcome> + 'static>(
        mut answer: impl FnMut(&Delivery<Job>) -> F + 'static,
    ) -> Recording {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Answer = Box::new(move |job| Box::pin(answer(job)));
        let addr = redis_actix::supervise(
            Recorder { answer, seen: seen.clone() },
            RestartLimit::new(100, secs(1)).pause(ms(1)),
        );
        Recording { addr, seen }
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Supervised for Recorder {}

impl Handler<Delivery<Job>> for Recorder {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, job: Delivery<Job>, _: &mut Self::Context) -> Self::Result {
        let seen = Seen { id: job.id(), n: job.n, attempt: job.attempt(), at: Instant::now() };
        self.seen.lock().unwrap().push(seen);
        (self.answer)(&job)
    }
}

impl Recording {
    pub fn recipient(&self) -> Recipient<Delivery<Job>> {
        self.addr.clone().recipient()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn distinct(&self) -> usize {
        self.seen.lock().unwrap().iter().map(|seen| seen.n).collect::<BTreeSet<_>>().len()
    }

    /// The attempts at which `n` was handled.
    pub fn attempts(&self, n: u64) -> Vec<u64> {
        self.seen().iter().filter(|seen| seen.n == n).map(|seen| seen.attempt).collect()
    }

    /// Waits until every number below `count` was handled.
    pub async fn all_of(&self, count: u64) {
        eventually(&format!("all of {count}"), async || self.distinct() as u64 >= count).await;
    }

    pub async fn handled(&self, calls: usize) {
        eventually(&format!("{calls} calls"), async || self.seen.lock().unwrap().len() >= calls).await;
    }
}

/// Remembers the events of consumers.
pub struct Watcher(Arc<Mutex<Vec<StreamEventKind>>>);

#[derive(Clone)]
pub struct Events {
    addr: Addr<Watcher>,
    seen: Arc<Mutex<Vec<StreamEventKind>>>,
}

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<StreamEvent> for Watcher {
    type Result = ();

    fn handle(&mut self, event: StreamEvent, _: &mut Self::Context) {
        self.0.lock().unwrap().push(event.kind);
    }
}

impl Events {
    pub fn watch() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        Self { addr: Watcher(seen.clone()).start(), seen }
    }

    pub fn recipient(&self) -> Recipient<StreamEvent> {
        self.addr.clone().recipient()
    }

    pub fn count(&self, wanted: impl Fn(&StreamEventKind) -> bool) -> usize {
        self.seen.lock().unwrap().iter().filter(|kind| wanted(kind)).count()
    }

    /// Everything so far, for a person to read.
    pub fn all(&self) -> Vec<StreamEventKind> {
        self.seen.lock().unwrap().clone()
    }

    pub async fn saw(&self, what: &str, wanted: impl Fn(&StreamEventKind) -> bool) {
        eventually(what, async || self.count(&wanted) > 0).await;
    }
}

/// Keeps panics that a test injects out of its output.
pub fn injected_panics_are_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let words = panic.payload().downcast_ref::<&str>().copied();
            if !words.is_some_and(|words| words.starts_with("injected")) {
                usual(panic);
            }
        }));
    });
}
