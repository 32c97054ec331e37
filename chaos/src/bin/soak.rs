//! Stream consumers for a given time, while servers and consumers are killed and frozen at random. Every entry is accounted
//! for.
//!
//! Run by `cargo xtask soak --minutes N --seed S`. Exit code 1 when an entry was lost, or handled twice without a cause.
#![allow(clippy::expect_used, clippy::panic, reason = "a panic here is a finding")]

#[path = "soak/account.rs"]
mod account;
#[path = "soak/crew.rs"]
mod crew;
#[path = "soak/faults.rs"]
mod faults;
#[path = "soak/worker.rs"]
mod worker;

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use account::Account;
use crew::Crew;
use faults::Faults;
use redis_actix::{
    Fate, ReconnectPolicy, Redis, RedisConfig, XAdd, XInfoConsumers, XInfoGroups, XInfoStream, XLen, XTrim,
};
use redis_actix_test::RedisServer;

pub(crate) const STREAM: &str = "orders";
pub(crate) const GROUP: &str = "billing";
/// Duration of the faults before each check of a healthy state.
const EPOCH: Duration = Duration::from_secs(20);
/// Time limit until everything is handled after all faults are repaired.
const CALM: Duration = Duration::from_secs(60);
const PRODUCERS: u64 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = words.split_first()
        && first == "worker"
    {
        return worker::run(rest);
    }
    match arguments(&words) {
        Ok((minutes, seed)) => {
            println!("soak for {minutes} minutes with --seed {seed}");
            actix_rt::System::new().block_on(run(Duration::from_secs_f64(minutes * 60.0), seed))
        }
        Err(words) => {
            eprintln!("soak: {words}\nusage: soak [--minutes N] [--seed S]");
            ExitCode::from(2)
        }
    }
}

fn arguments(words: &[String]) -> Result<(f64, u64), String> {
    let (mut minutes, mut seed) = (3.0, fastrand::u64(..1_000_000));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--minutes" => minutes = value.parse().map_err(|_| "--minutes takes a number".to_owned())?,
            "--seed" => seed = value.parse().map_err(|_| "--seed takes a whole number".to_owned())?,
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok((minutes, seed))
}

/// Milliseconds since the Unix epoch: the processes here share this clock.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn connect(port: u16) -> Redis {
    let config = RedisConfig::builder().host("127.0.0.1").port(port).key_prefix("soak:");
    let config = config.command_timeout(Duration::from_secs(2)).connect_timeout(Duration::from_secs(1));
    let config = config.liveness(Duration::from_millis(1_500)).build().expect("a valid configuration");
    let quick = ReconnectPolicy::exponential(Duration::from_millis(5)..=Duration::from_millis(200));
    Redis::builder(config).reconnect(quick).start().expect("started")
}

async fn run(time: Duration, seed: u64) -> ExitCode {
    let mut chance = fastrand::Rng::with_seed(seed);
    let server = RedisServer::builder().appendonly(true).fsync_always().start();
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let redis = connect(server.port());
    let mut crew = Crew::new(server.port());
    let mut account = Account::default();
    let until = Instant::now() + time;
    while Instant::now() < until && account.is_fine() {
        let over = Rc::new(Cell::new(false));
        let producers: Vec<_> = (0..PRODUCERS).map(|nth| produce(&redis, nth, &over)).collect();
        let mut faults = Faults::default();
        let end = until.min(Instant::now() + EPOCH);
        while Instant::now() < end {
            faults.one(&mut chance, &server, &mut crew).await;
            tokio::time::sleep(Duration::from_millis(chance.u64(50..1_200))).await;
        }
        faults.repair(&server, &mut crew);
        over.set(true);
        for producer in producers {
            account.produced(producer.await.expect("a producer"));
        }
        let calm = calm(&redis).await;
        if !calm {
            tell_what_is_left(&redis).await;
        }
        account.close(calm, faults, crew.read());
        // Settled entries are no longer needed; the next epoch starts with an empty stream.
        let _ = redis.send(XTrim::max_len(STREAM, 0)).await;
    }
    crew.dismiss();
    let dead = redis.send(XLen::new(format!("{STREAM}:dlq"))).await.unwrap_or_default();
    account.print(dead, crew.started());
    if account.is_fine() && dead == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the pending entries, with consumer and idle time, as the server reports them.
async fn tell_what_is_left(redis: &Redis) {
    println!("{:?}", redis.send(XInfoStream::new(STREAM)).await);
    println!("{:?}", redis.send(XInfoGroups::new(STREAM)).await);
    println!("{:?}", redis.send(XInfoConsumers::new(STREAM, GROUP)).await);
}

/// The sent entries of one producer in an epoch.
#[derive(Default)]
pub(crate) struct Produced {
    pub(crate) sent: u64,
    pub(crate) unknown: u64,
    pub(crate) acknowledged: Vec<String>,
}

fn produce(redis: &Redis, nth: u64, over: &Rc<Cell<bool>>) -> tokio::task::JoinHandle<Produced> {
    let (redis, over) = (redis.clone(), over.clone());
    actix::spawn(async move {
        let mut produced = Produced::default();
        while !over.get() {
            produced.sent += 1;
            let add = XAdd::new(STREAM).field("producer", nth).field("n", produced.sent);
            match redis.send(add).await {
                Ok(id) => produced.acknowledged.push(id.to_string()),
                Err(error) => produced.unknown += u64::from(error.fate() == Fate::Unknown),
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        produced
    })
}

/// Waits until everything is delivered and nothing is pending. Returns whether that happened in time. The server's lag is
/// not used: it may be too high for a trimmed stream (redis/redis#13957; 7,099 for a minute, after the last entry had been
/// delivered and all were acknowledged).
async fn calm(redis: &Redis) -> bool {
    let deadline = Instant::now() + CALM;
    while Instant::now() < deadline {
        let groups = redis.send(XInfoGroups::new(STREAM)).await.unwrap_or_default();
        let group = groups.iter().find(|group| group.name == GROUP.as_bytes());
        let stream = redis.send(XInfoStream::new(STREAM)).await;
        if let (Some(group), Ok(stream)) = (group, stream)
            && group.pending == 0
            && group.last_delivered_id >= stream.last_generated_id
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
