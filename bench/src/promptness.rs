//! Latency of an entry to its handler, and of a command after the restart of its server.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::prelude::*;
use redis_actix::{ConnectionEvent, Delivery, Incr, Outcome, Ping, ReconnectPolicy, Redis, StreamConsumer, XAdd};
use redis_actix_test::RedisServer;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::client::text;
use crate::clients::ours::config;

/// Number of entries, one per millisecond.
const ENTRIES: usize = 5_000;
const EVERY: Duration = Duration::from_millis(1);
/// Maximum latency of an entry beyond two round trips, at the 99th percentile.
const BEYOND: Duration = Duration::from_millis(1);
/// Number of kills of the server.
const KILLS: usize = 20;
/// Maximum latency of a reply beyond the announced delay: handshake and command take two round trips each. On loopback
/// they are shorter than the time slices of a busy machine, which are included.
const SLICES: Duration = Duration::from_millis(10);

/// Measures both, and returns whether the bars were met.
///
/// # Errors
/// When a command or the server fails.
pub fn run() -> Result<bool, String> {
    actix_rt::System::new().block_on(async {
        println!("| what | p50 | p99 | slowest | bar |\n|---|---|---|---|---|");
        let well = entries().await?;
        Ok(comebacks().await? && well)
    })
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Stamped {
    nanos: u64,
}

struct Clock {
    start: Instant,
    took: mpsc::UnboundedSender<Duration>,
}

impl Actor for Clock {
    type Context = Context<Self>;
}

impl Handler<Delivery<Stamped>> for Clock {
    type Result = Outcome;

    fn handle(&mut self, entry: Delivery<Stamped>, _: &mut Self::Context) -> Outcome {
        let sent = self.start + Duration::from_nanos(entry.payload().nanos);
        // The receiver is gone after the last sample.
        let _ = self.took.send(sent.elapsed());
        Outcome::Ack
    }
}

async fn entries() -> Result<bool, String> {
    let (trips, delays) = entry_latencies(ENTRIES).await?;
    let bar = trips.middle * 2 + BEYOND;
    let well = delays.high <= bar;
    trips.print("PING, a round trip", "");
    delays.print("an entry from before XADD to its handler, one each millisecond", &format!("p99 <= {bar:.0?}"));
    Ok(well)
}

/// Round trips of a PING, and latencies from before XADD to the handler, of entries that come one each millisecond.
pub(crate) async fn entry_latencies(entries: usize) -> Result<(Percentiles, Percentiles), String> {
    let server = RedisServer::builder().arg("--save", "").start().map_err(text)?;
    let redis = Redis::builder(config(server.port())?).start().map_err(text)?;
    let (took, mut taken) = mpsc::unbounded_channel();
    let start = Instant::now();
    let clock = Clock { start, took }.start();
    let consumer = StreamConsumer::builder("events", "group").without_scheduled();
    let consumer = consumer.start::<Stamped>(&redis, clock.recipient()).map_err(text)?;
    let mut round_trips = Vec::with_capacity(entries);
    let mut delays = Vec::with_capacity(entries);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..entries {
        ticks.tick().await;
        let asked = Instant::now();
        redis.send(Ping::new()).await.map_err(text)?;
        round_trips.push(asked.elapsed());
        let nanos = u64::try_from(start.elapsed().as_nanos()).map_err(text)?;
        let entry = XAdd::new("events").max_len_approx(10_000).entry(&Stamped { nanos }).map_err(text)?;
        redis.send(entry).await.map_err(text)?;
        delays.push(taken.recv().await.ok_or("the handler has ended")?);
    }
    consumer.drain(Duration::from_secs(5)).await.map_err(text)?;
    redis.shutdown(Duration::from_secs(5)).await.map_err(text)?;
    Ok((Percentiles::of(round_trips), Percentiles::of(delays)))
}

/// The last announced delay, and its time.
#[derive(Clone, Default)]
struct Announced(Arc<Mutex<Option<(Instant, Duration)>>>);

struct Listener(Announced);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Self::Context) {
        if let ConnectionEvent::Retrying { delay, .. } = event {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), delay));
        }
    }
}

async fn comebacks() -> Result<bool, String> {
    let server = Arc::new(RedisServer::builder().arg("--save", "").start().map_err(text)?);
    let announced = Announced::default();
    let policy = ReconnectPolicy::exponential(Duration::from_millis(20)..=Duration::from_millis(400))
        .stable_after(Duration::from_secs(60));
    let redis = Redis::builder(config(server.port())?).reconnect(policy);
    let redis = redis.on_event(Listener(announced.clone()).start().recipient()).start().map_err(text)?;
    redis.send(Incr::new("n")).await.map_err(text)?;
    let (mut late, mut whole) = (Vec::with_capacity(KILLS), Vec::with_capacity(KILLS));
    for nth in 0..KILLS {
        server.kill().map_err(text)?;
        // Long enough for a few attempts, and not in step with them.
        sleep(Duration::from_millis(150 + 37 * (nth as u64 % 7))).await;
        let waiting = actix::spawn({
            let redis = redis.clone();
            async move { redis.send(Incr::new("n")).await.map(|_| Instant::now()) }
        });
        let back = {
            let server = server.clone();
            tokio::task::spawn_blocking(move || server.restart().map(|()| Instant::now())).await.map_err(text)?
        };
        let back = back.map_err(text)?;
        let answered = waiting.await.map_err(text)?.map_err(text)?;
        let last = *announced.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.map_or(back, |(when, delay)| when + delay);
        late.push(answered.saturating_duration_since(due.max(back)));
        whole.push(answered.saturating_duration_since(back));
    }
    redis.shutdown(Duration::from_secs(5)).await.map_err(text)?;
    let (late, whole) = (Percentiles::of(late), Percentiles::of(whole));
    let well = late.high <= SLICES;
    whole.print("an INCR after its server was back", "");
    late.print("the same beyond the delay that was announced last", &format!("p99 <= {SLICES:?}"));
    Ok(well)
}

/// Percentiles of durations.
pub(crate) struct Percentiles {
    pub(crate) middle: Duration,
    pub(crate) high: Duration,
    most: Duration,
}

impl Percentiles {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: f64| {
            let at = (samples.len() as f64 * share) as usize;
            samples.get(at.min(samples.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Self { middle: at(0.5), high: at(0.99), most: at(1.0) }
    }

    fn print(&self, what: &str, bar: &str) {
        let Self { middle, high, most } = self;
        println!("| {what} | {middle:.1?} | {high:.1?} | {most:.1?} | {bar} |");
    }
}
