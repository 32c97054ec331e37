//! A message service on Redis streams that loses no message while its server is killed.
//!
//! Producers append WhatsApp-like message events to a stream. Consumers of one group handle them and keep the state of
//! each conversation with typed messages. Meanwhile the server is killed and restarted. At the end every message is
//! accounted for. `cargo xtask demo` runs it.

#[path = "message_service/chaos.rs"]
mod chaos;
#[path = "message_service/inbox.rs"]
mod inbox;
#[path = "message_service/ledger.rs"]
mod ledger;
#[path = "message_service/producer.rs"]
mod producer;
#[path = "message_service/progress.rs"]
mod progress;

use std::{process::ExitCode, rc::Rc, time::Duration};

use actix::prelude::*;
use clap::Parser;
use redis_actix::prelude::*;
use redis_actix::{ReconnectPolicy, StreamConsumer};

use chaos::Chaos;
use inbox::{Inbox, MessageEvent};
use ledger::{EventLog, Ledger};
use progress::Progress;

const STREAM: &str = "messages";
const GROUP: &str = "conversations";

/// A message service on Redis streams whose server is killed while it runs.
#[derive(Parser)]
struct Options {
    /// How many messages to send.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// How often to kill the server with SIGKILL and restart it.
    #[arg(long, default_value_t = 3)]
    kills: u32,
    /// How many stream consumers share the work.
    #[arg(long, default_value_t = 2)]
    consumers: u32,
    /// Seed of the conversations, texts and times of the kills.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Use this server instead of starting one; it is not killed.
    #[arg(long)]
    url: Option<String>,
    /// Run on a cluster of six nodes that the demo starts; its primaries are killed and replaced.
    #[arg(long, conflicts_with = "url")]
    cluster: bool,
    /// Acknowledge each message before it is handled, to show the loss.
    #[arg(long)]
    acknowledge_first: bool,
}

#[actix::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(lost) => ExitCode::from(u8::from(lost > 0)),
        Err(error) => {
            eprintln!("the demo could not run: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<u64, Box<dyn std::error::Error>> {
    // A prefix per run: with --url the server may still have keys of an earlier run.
    let prefix = format!("whatsapp:demo-{}:", std::process::id());
    let (kills, messages, seed) = (options.kills, options.messages, options.seed);
    let mut chaos = match &options.url {
        Some(_) => Chaos::none(),
        None if options.cluster => Chaos::start_cluster(kills, messages, seed, &format!("{prefix}{STREAM}"))?,
        None => Chaos::start(kills, messages, seed)?,
    };
    let address = match &options.url {
        Some(url) => RedisConfig::builder().url(url.clone()),
        None => chaos.address(),
    };
    let config = address.key_prefix(prefix).command_timeout(Duration::from_secs(10)).build()?;
    let ledger = Rc::new(Ledger::new(options.messages));
    let log = EventLog::new(ledger.clone()).start();
    let redis = Redis::builder(config)
        .reconnect(ReconnectPolicy::exponential(Duration::from_millis(20)..=Duration::from_millis(500)))
        .on_event(log.recipient())
        .start()?;
    redis.ready(Duration::from_secs(5)).await?;
    println!(
        "{} messages, {} consumers, {} kills, on {}",
        options.messages,
        options.consumers,
        chaos.planned(),
        redis.connection_info().addresses.join(", ")
    );

    let mut consumers = Vec::new();
    for nth in 1..=options.consumers {
        let inbox = Inbox::new(redis.clone(), ledger.clone(), options.acknowledge_first).start();
        let consumer = StreamConsumer::builder(STREAM, GROUP)
            .consumer(format!("service-{nth}"))
            .max_in_flight(256)
            .batch(128)
            .min_idle(Duration::from_secs(5))
            .retry([Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(1)])
            .max_deliveries(100)
            // In the slot of the stream: a cluster moves an entry within one node only.
            .dead_letter(format!("{{{STREAM}}}:dlq"))
            .start::<MessageEvent>(&redis, inbox.recipient())?;
        consumers.push(consumer);
    }
    let producing = producer::start(&redis, &ledger, options.messages, options.seed);

    let mut progress = Progress::new(options.messages);
    while !(producing.is_finished() && ledger.is_settled(chaos.is_idle())) {
        chaos.proceed(ledger.handled());
        progress.show(&ledger, &redis);
        actix::clock::sleep(Duration::from_millis(50)).await;
    }
    producing.await?;
    progress.finish(&ledger, &redis);
    for consumer in consumers {
        consumer.drain(Duration::from_secs(5)).await?;
    }
    let kept = ledger.messages_in_state(&redis).await?;
    let removed = redis.send(Del::key(STREAM)).await;
    drop(removed);
    redis.shutdown(Duration::from_secs(5)).await?;
    println!("{}", ledger.account(chaos.kills(), kept));
    Ok(ledger.lost())
}
