//! What every test of a connection needs.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod incr_load;
pub mod replicas;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler};
use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, ConnectionState, Frame, ReconnectPolicy, RedisBuilder, RedisConfigBuilder, Status};
use redis_actix_test::RedisServer;

/// Long enough for any machine, short enough for a person to wait.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A server, or one line that names the missing program.
pub fn server() -> RedisServer {
    RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
}

pub fn config(port: u16) -> RedisConfigBuilder {
    RedisConfig::builder().host("127.0.0.1").port(port).key_prefix("test:")
}

/// Reconnects within tens of milliseconds, so that tests need not wait.
pub fn hasty(config: RedisConfigBuilder) -> RedisBuilder {
    let config = config.build().expect("a valid configuration");
    Redis::builder(config).reconnect(ReconnectPolicy::exponential(ms(5)..=ms(100)).stable_after(ms(500)))
}

/// INCRs of `k{a}`, the first of its kind, on their way to a frozen server.
pub async fn ask_the_frozen(
    redis: &Redis,
    server: &RedisServer,
    count: usize,
) -> Vec<impl Future<Output = redis_actix::Result<i64>> + use<>> {
    server.stop_process().expect("frozen");
    let counts = (0..count).map(|_| redis.send(Incr::new("k{a}"))).collect();
    tokio::task::yield_now().await;
    counts
}

/// Thaws it, and lets nothing run on this thread until it has answered them all.
pub fn answered_unseen(server: &RedisServer, count: usize) {
    server.cont_process().expect("thawed");
    let deadline = Instant::now() + TIME_LIMIT;
    while server.command(["GET", "test:k{a}"]).expect("asked").bytes() != Some(count.to_string().as_bytes()) {
        assert!(Instant::now() < deadline, "never saw all of them counted");
        std::thread::yield_now();
    }
    // What it has counted it writes before it looks at its sockets again.
    server.command(["PING"]).expect("asked");
}

/// Waits for something that becomes true without telling.
pub async fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(TIME_LIMIT, what, look).await
}

/// The same, for what others take their time over.
pub async fn eventually_within<T>(time_limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time_limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never saw {what}");
        tokio::time::sleep(ms(5)).await;
    }
}

/// Waits for the connection to be in a state, by its own word.
pub async fn until(redis: &Redis, what: &str, reached: impl Fn(&Status) -> bool) -> Status {
    let mut status = redis.status();
    let seen = tokio::time::timeout(TIME_LIMIT, status.wait_for(|status| reached(status))).await;
    match seen {
        Ok(Ok(status)) => status.clone(),
        Ok(Err(_)) => panic!("the connection is gone before it was {what}"),
        Err(_) => panic!("never {what}: {:?}", redis.status().borrow()),
    }
}

pub async fn until_state(redis: &Redis, state: ConnectionState) -> Status {
    until(redis, state.as_str(), |status| status.state == state).await
}

/// Everything that happens to a connection, in order.
#[derive(Clone, Default)]
pub struct Diary(Arc<Mutex<Vec<(Instant, ConnectionEvent)>>>);

struct Writer(Diary);

impl Actor for Writer {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Writer {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        self.0.0.lock().expect("whole").push((Instant::now(), event));
    }
}

impl Diary {
    /// Keeps the diary of the connection that is being built.
    pub fn of(builder: RedisBuilder) -> (RedisBuilder, Self) {
        let diary = Self::default();
        let writer = Writer(diary.clone()).start();
        (builder.on_event(writer.recipient()), diary)
    }

    /// Keeps it from now on.
    pub fn from_now_on(redis: &Redis) -> Self {
        let diary = Self::default();
        redis.on_event(Writer(diary.clone()).start().recipient());
        diary
    }

    pub fn events(&self) -> Vec<ConnectionEvent> {
        self.0.lock().expect("whole").iter().map(|(_, event)| event.clone()).collect()
    }

    pub fn count(&self, is: impl Fn(&ConnectionEvent) -> bool) -> usize {
        self.events().iter().filter(|event| is(event)).count()
    }

    pub async fn entry(&self, what: &str, is: impl Fn(&ConnectionEvent) -> bool) -> ConnectionEvent {
        eventually(what, || self.events().into_iter().find(|event| is(event))).await
    }
}

/// A message with a frame of the test's own.
pub struct Own(pub Frame);

impl actix::Message for Own {
    type Result = redis_actix::Result<redis_actix::Value>;
}

impl Command for Own {
    type Reply = redis_actix::Value;

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn into_frame(self) -> Frame {
        self.0
    }

    fn reply(value: redis_actix::Value) -> redis_actix::Result<Self::Reply> {
        Ok(value)
    }
}

/// Runs a blocking call of the kit without stopping the client under test.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Runs a script that does not end until SCRIPT KILL, and returns when the server replies BUSY.
pub async fn keep_busy(server: &RedisServer) {
    server.connect().expect("connected").send(["EVAL", "while true do end", "0"]).expect("sent");
    let mut other = server.connect().expect("connected");
    let mut is_busy = || {
        other.set_timeout(ms(1_000));
        other.command(["GET", "x"]).is_ok_and(|reply| reply.error().is_some_and(|text| text.starts_with("BUSY")))
    };
    eventually("the server busy", || is_busy().then_some(())).await;
}

/// Runs a test in a process of its own, for values that are counted per process. True in that process.
pub fn alone(test: &str) -> bool {
    const ALONE: &str = "FAULTS_ALONE";
    if std::env::var(ALONE).is_ok_and(|name| name == test) {
        return true;
    }
    let own = std::env::current_exe().expect("a name");
    let output = std::process::Command::new(own).args([test, "--exact", "--nocapture"]).env(ALONE, test).output();
    let output = output.expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "no test of that name ran: {said}");
    false
}

/// Bytes of this process that are in memory.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Keeps panics that a test injects out of its output. Printing them with a backtrace takes a second in a debug build,
/// on the very thread that a test measures.
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

std::thread_local! {
    /// Set by the waker of [`fall_over`]: the log of its panic, which follows on the same thread, panics too. Callers' panics
    /// of other tests in the same binary must not take their actors down.
    static NEXT_LOG_IS_FATAL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Panics in the log of a caller's panic: a way to take an actor down in the middle of the replies.
struct FatalLog;

impl tracing::Subscriber for FatalLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "redis_actix::connection::request" && *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        if NEXT_LOG_IS_FATAL.take() {
            panic!("injected in a log");
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Sends a message whose caller panics when it is woken, and a log that panics over that, on the actor's way through replies:
/// takes the actor down in the middle of them, without its address, from whose first use on commands do not gather in the
/// submit queue any more. For binaries with no log of their own.
pub async fn fall_over<M: Command>(redis: &Redis, message: M) -> redis_actix::Result<M::Reply> {
    #[derive(Default)]
    struct Fatal(tokio::sync::Notify);
    impl Wake for Fatal {
        fn wake(self: Arc<Self>) {
            self.0.notify_one();
            NEXT_LOG_IS_FATAL.set(true);
            panic!("injected while a caller is woken");
        }
    }
    injected_panics_are_quiet();
    static LOG: std::sync::Once = std::sync::Once::new();
    LOG.call_once(|| tracing::subscriber::set_global_default(FatalLog).expect("no other log"));
    let fatal = Arc::new(Fatal::default());
    let waker = Waker::from(fatal.clone());
    // Unconstrained: else the runtime, too, may wake it.
    let mut call = pin!(tokio::task::unconstrained(redis.send(message)));
    let asked = poll_fn(|_| Poll::Ready(call.as_mut().poll(&mut TaskContext::from_waker(&waker)))).await;
    assert!(asked.is_pending(), "answered before it was sent");
    fatal.0.notified().await;
    call.await
}
