//! Random faults for a given time, with a summary of outcomes and violations.
//!
//! Run by `cargo xtask chaos --minutes N --seed S`: one server behind a proxy, or with `--cluster` or `--sentinel` several
//! servers that fail over.
#![allow(clippy::expect_used, clippy::panic, reason = "a panic here is a finding")]

#[path = "chaos/account.rs"]
mod account;
#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/servers.rs"]
mod servers;

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use account::{Account, Log};
use faults::World;
use load::Load;
use redis_actix::{ConnectionState, ReconnectPolicy, Redis, RedisConfig, RestartLimit};
use redis_actix_chaos::deployment::Mode;

/// The command timeout.
const DEADLINE: Duration = Duration::from_millis(1_500);
/// Duration of the faults before each check of a healthy state.
const EPOCH: Duration = Duration::from_secs(8);
const PREFIX: &str = "chaos:";

fn main() -> ExitCode {
    let (mode, minutes, seed) = match arguments() {
        Ok(arguments) => arguments,
        Err(words) => {
            eprintln!("chaos: {words}\nusage: chaos [--cluster | --sentinel] [--minutes N] [--seed S]");
            return ExitCode::from(2);
        }
    };
    println!(
        "chaos{} for {minutes} minutes with --seed {seed}",
        mode.map_or(String::new(), |mode| format!(" with a {}", mode.as_str()))
    );
    let log = Log::install();
    let time = Duration::from_secs_f64(minutes * 60.0);
    actix_rt::System::new().block_on(async move {
        match mode {
            Some(mode) => servers::run(mode, time, seed, log).await,
            None => run(time, seed, log).await,
        }
    })
}

fn arguments() -> Result<(Option<Mode>, f64, u64), String> {
    let (mut mode, mut minutes, mut seed) = (None, 1.0, fastrand::u64(..1_000_000));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let chosen = match word.as_str() {
            "--cluster" => Some(Mode::Cluster),
            "--sentinel" => Some(Mode::Sentinel),
            _ => None,
        };
        if chosen.is_some() {
            mode = chosen;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--minutes" => minutes = value.parse().map_err(|_| "--minutes takes a number".to_owned())?,
            "--seed" => seed = value.parse().map_err(|_| "--seed takes a whole number".to_owned())?,
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok((mode, minutes, seed))
}

async fn run(time: Duration, seed: u64, log: Log) -> ExitCode {
    let mut chance = fastrand::Rng::with_seed(seed);
    let world = Arc::new(World::new());
    let account = Rc::new(Account::default());
    let config = RedisConfig::builder()
        .host("127.0.0.1")
        .port(world.proxy.port())
        .password_file(world.password_file())
        .key_prefix(PREFIX)
        .command_timeout(DEADLINE)
        .connect_timeout(Duration::from_millis(800))
        .liveness(Duration::from_millis(600))
        .build()
        .expect("a valid configuration");
    let redis = Redis::builder(config)
        .reconnect(
            ReconnectPolicy::exponential(Duration::from_millis(5)..=Duration::from_millis(200))
                .stable_after(Duration::from_secs(1)),
        )
        .restarts(RestartLimit::new(1_000, Duration::from_secs(60)).pause(Duration::from_millis(5)))
        .start()
        .expect("started");
    redis.ready(Duration::from_secs(10)).await.expect("ready");
    actix::spawn(account.clone().watch_the_thread());
    let load = Load::new(&redis, &account, &world);
    let until = Instant::now() + time;
    let mut start = None;
    while Instant::now() < until && account.violations() == 0 {
        load.begin(chance.u64(..));
        let breaking = world.clone();
        let share = chance.fork();
        let left = EPOCH.min(until.saturating_duration_since(Instant::now()));
        let done = tokio::task::spawn_blocking(move || breaking.break_things(share, left)).await;
        account.add_faults(done.expect("the faults' thread"));
        load.end().await;
        calm(&redis, &world, &load, &account, &mut start).await;
    }
    account.check(redis.shutdown(Duration::from_secs(2)).await.is_ok(), "the shutdown gave no report");
    account.check(!log.shows_a_secret(), "a secret is in the log");
    account.print(&log, &redis);
    if account.violations() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// After all faults are repaired: the service must be healthy, and every call accounted for.
async fn calm(redis: &Redis, world: &World, load: &Load, account: &Account, start: &mut Option<(usize, usize)>) {
    if !world.server.is_running() {
        let log = world.server.log();
        let tail: Vec<_> = log.lines().rev().take(80).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        panic!("the server itself has ended:\n{}", tail.join("\n"));
    }
    let mut status = redis.status();
    let ready = status.wait_for(|status| status.state == ConnectionState::Ready);
    let ready = tokio::time::timeout(Duration::from_secs(10), ready).await.is_ok_and(|seen| seen.is_ok());
    account.check(ready, "not ready within 10 s of the last fault");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let now = (world.proxy.live_connections(), open_files());
        let first = *start.get_or_insert(now);
        if now.0 == 1 && world.clients() == 1 && now.1 <= first.1 + 2 {
            break;
        }
        if Instant::now() > deadline {
            account.check(
                false,
                &format!("left behind: {now:?} links and files, {} clients, {first:?} at first", world.clients()),
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load.verify(world, account);
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
