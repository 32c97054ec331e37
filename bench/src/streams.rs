//! Stream consumers and redis-rs loops, both with empty handlers, in interleaved rounds.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use actix::prelude::*;
use redis::{Value, aio::MultiplexedConnection, streams::StreamReadReply};
use redis_actix::{Batch, Delivery, Outcome, Redis, StreamConsumer, StreamConsumerBuilder};
use redis_actix_test::RedisServer;
use tokio::sync::mpsc;

use crate::args::Options;
use crate::client::text;
use crate::clients::ours::{PREFIX, config};
use crate::meter::{ServerMeter, own_time};
use crate::stream_limit;

/// Entries per read and acknowledgement, and in total.
const COUNTS: [(usize, usize); 4] = [(1, 6_000), (16, 60_000), (128, 200_000), (1024, 200_000)];
const ENTRIES: usize = 200_000;
const STREAM: &str = "events";
const KEY: &str = "bench:events";
const GROUP: &str = "group";

/// The payload.
#[derive(serde::Deserialize)]
struct Event {
    #[expect(dead_code, reason = "a handler that does nothing reads nothing")]
    payload: String,
}

/// Counts its entries.
struct Counts {
    seen: usize,
    wanted: usize,
    first: Option<Instant>,
    done: mpsc::UnboundedSender<Instant>,
}

impl Actor for Counts {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4096);
    }
}

impl Counts {
    fn add(&mut self, entries: usize) {
        self.first.get_or_insert_with(Instant::now);
        self.seen += entries;
        if self.seen >= self.wanted
            && let Some(first) = self.first
        {
            // The receiver is gone if the consumer delivers more than the wanted entries.
            let _ = self.done.send(first);
        }
    }
}

impl Handler<Delivery<Event>> for Counts {
    type Result = Outcome;

    fn handle(&mut self, _: Delivery<Event>, _: &mut Self::Context) -> Outcome {
        self.add(1);
        Outcome::Ack
    }
}

impl Handler<Batch<Event>> for Counts {
    type Result = Outcome;

    fn handle(&mut self, events: Batch<Event>, _: &mut Self::Context) -> Outcome {
        self.add(events.len());
        Outcome::Ack
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Batches,
    Messages,
    Typed,
    Raw,
    /// The upper bound: see [`stream_limit`].
    Limit,
}

impl Contender {
    const ALL: [Self; 5] = [Self::Batches, Self::Messages, Self::Typed, Self::Raw, Self::Limit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batches => "redis-actix, a batch at a time",
            Self::Messages => "redis-actix, message by message",
            Self::Typed => "redis-rs typed loop",
            Self::Raw => "redis-rs raw loop",
            Self::Limit => "the server's limit",
        }
    }
}

/// The result of a round.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Entries per second.
    pub(crate) rate: f64,
    /// Microseconds per entry, of this process and of the server.
    own: f64,
    server: f64,
}

/// Measures, and prints a table for each count.
///
/// # Errors
/// When a contender fails, or the server does.
pub fn run(options: &Options) -> Result<(), String> {
    let server = RedisServer::builder().arg("--save", "").start().map_err(text)?;
    fill(&server)?;
    actix_rt::System::new().block_on(async {
        let mut one_by_one = None;
        for (count, entries) in COUNTS.into_iter().filter(|(count, _)| !options.quick || [1, 128].contains(count)) {
            let mut samples: [Vec<Sample>; 5] = Default::default();
            for round in 0..=options.rounds {
                for turn in 0..Contender::ALL.len() {
                    let at = (round + turn) % Contender::ALL.len();
                    let (Some(contender), Some(samples)) = (Contender::ALL.get(at), samples.get_mut(at)) else {
                        continue;
                    };
                    let sample = one(*contender, &server, count, entries).await?;
                    // The first round warms up.
                    if round > 0 {
                        samples.push(sample);
                    }
                }
            }
            print!("{}", table(count, entries, &samples, &mut one_by_one));
        }
        Ok(())
    })
}

pub(crate) fn fill(server: &RedisServer) -> Result<(), String> {
    let mut connection = server.connect().map_err(text)?;
    let script = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'payload', ARGV[2]) end return 1";
    for _ in 0..ENTRIES / 1000 {
        let payload = "x".repeat(64);
        connection.command(["EVAL", script, "1", KEY, "1000", &payload]).map_err(text)?.int().map_err(text)?;
    }
    Ok(())
}

pub(crate) async fn one(
    contender: Contender,
    server: &RedisServer,
    count: usize,
    entries: usize,
) -> Result<Sample, String> {
    let mut admin = server.connect().map_err(text)?;
    admin.command(["XGROUP", "DESTROY", KEY, GROUP]).map_err(text)?;
    admin.command(["XGROUP", "CREATE", KEY, GROUP, "0"]).map_err(text)?;
    let mut meter = ServerMeter::new(server).map_err(text)?;
    let before = meter.time().map_err(text)?;
    let (took, own) = match contender {
        Contender::Typed | Contender::Raw => {
            let client = redis::Client::open(("127.0.0.1", server.port())).map_err(text)?;
            let mut connection = client.get_multiplexed_async_connection().await.map_err(text)?;
            read_all(contender, &mut connection, count, entries).await?
        }
        Contender::Limit => {
            let before = own_time();
            let took = stream_limit::read_all(server.port(), (KEY, GROUP), count, entries).await?;
            (took, own_time() - before)
        }
        Contender::Batches => {
            ours(server.port(), count, entries, |consumer, redis, counts| {
                consumer.start_batches::<Event>(redis, counts.recipient())
            })
            .await?
        }
        Contender::Messages => {
            ours(server.port(), count, entries, |consumer, redis, counts| {
                consumer.start::<Event>(redis, counts.recipient())
            })
            .await?
        }
    };
    let server = meter.time().map_err(text)? - before;
    let per_entry = |time: Duration| time.as_secs_f64() * 1e6 / entries as f64;
    // The clock begins with the first page.
    let rate = (entries - count) as f64 / took.as_secs_f64();
    Ok(Sample { rate, own: per_entry(own), server: per_entry(server) })
}

async fn ours(
    port: u16,
    count: usize,
    entries: usize,
    start: impl FnOnce(StreamConsumerBuilder, &Redis, Addr<Counts>) -> redis_actix::Result<StreamConsumer>,
) -> Result<(Duration, Duration), String> {
    let redis = Redis::builder(config(port)?).start().map_err(text)?;
    redis.ready(Duration::from_secs(5)).await.map_err(text)?;
    let (done, mut over) = mpsc::unbounded_channel();
    let counts = Counts { seen: 0, wanted: entries, first: None, done }.start();
    let before = own_time();
    let consumer =
        StreamConsumer::builder(STREAM, GROUP).consumer("c").batch(count).max_in_flight(count).without_scheduled();
    let consumer = start(consumer, &redis, counts).map_err(text)?;
    let first = over.recv().await.ok_or("no handler")?;
    while consumer.stats().await.map_err(text)?.acked < entries as u64 {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let (took, own) = (first.elapsed(), own_time() - before);
    consumer.drain(Duration::from_secs(5)).await.map_err(text)?;
    redis.shutdown(Duration::from_secs(5)).await.map_err(text)?;
    Ok((took, own))
}

async fn read_all(
    contender: Contender,
    connection: &mut MultiplexedConnection,
    count: usize,
    entries: usize,
) -> Result<(Duration, Duration), String> {
    let mut first = None;
    let before = own_time();
    let mut seen = 0;
    while seen < entries {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("c").arg("COUNT").arg(count).arg("STREAMS").arg(KEY).arg(">");
        let mut ack = redis::cmd("XACK");
        ack.arg(KEY).arg(GROUP);
        if contender == Contender::Typed {
            let reply: StreamReadReply = read.query_async(connection).await.map_err(text)?;
            for entry in reply.keys.iter().flat_map(|key| &key.ids) {
                seen += 1;
                ack.arg(&entry.id);
            }
        } else {
            let reply: Value = read.query_async(connection).await.map_err(text)?;
            for id in ids(&reply) {
                seen += 1;
                ack.arg(id);
            }
        }
        first.get_or_insert_with(Instant::now);
        let _: u64 = ack.query_async(connection).await.map_err(text)?;
    }
    Ok((first.map_or(Duration::ZERO, |first| first.elapsed()), own_time() - before))
}

/// The ids of one stream's entries.
fn ids(reply: &Value) -> impl Iterator<Item = &[u8]> {
    fn items(value: Option<&Value>) -> &[Value] {
        match value {
            Some(Value::Array(items)) => items,
            _ => &[],
        }
    }
    let stream = items(Some(reply)).first();
    items(items(stream).get(1)).iter().filter_map(|entry| match items(Some(entry)).first() {
        Some(Value::BulkString(id)) => Some(&id[..]),
        _ => None,
    })
}

fn table(count: usize, entries: usize, samples: &[Vec<Sample>; 5], one_by_one: &mut Option<f64>) -> String {
    let mut out = format!("### streams, COUNT {count}, {entries} entries of 64 bytes, one consumer\n\n");
    out.push_str("| contender | entries/s | over typed | over raw | of the limit | client us/entry | server us/entry |\n|---|---|---|---|---|---|---|\n");
    let [.., typed, raw, limit] = samples;
    for (contender, own) in Contender::ALL.iter().zip(samples) {
        let over = |other: &[Sample]| middle(own.iter().zip(other).map(|(own, other)| own.rate / other.rate).collect());
        let of = |value: fn(&Sample) -> f64| own.iter().map(value).collect::<Vec<_>>();
        let mut rates = of(|sample| sample.rate);
        rates.sort_by(f64::total_cmp);
        let (least, most) = (rates.first().copied().unwrap_or_default(), rates.last().copied().unwrap_or_default());
        let rate = middle(rates);
        if count == 1 && *contender == Contender::Typed {
            *one_by_one = Some(rate);
        }
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "| {} | {rate:.0} ({least:.0} to {most:.0}) | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            contender.name(),
            over(typed),
            over(raw),
            over(limit),
            middle(of(|sample| sample.own)),
            middle(of(|sample| sample.server)),
        );
        if let Some(one_by_one) = one_by_one.filter(|_| count == 128 && *contender == Contender::Batches) {
            let _ =
                writeln!(out, "| .. over redis-rs typed, COUNT 1, XACK 1 | {:.0} times | | | | | |", rate / one_by_one);
        }
    }
    out.push('\n');
    out
}

pub(crate) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = |n: usize| values.get(n).copied().unwrap_or_default();
    f64::midpoint(at(last / 2), at(last.div_ceil(2)))
}

/// The group of each stream.
const _: () = assert!(KEY.len() == PREFIX.len() + STREAM.len());
