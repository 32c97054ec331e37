//! Looks for stale reads of client-side caching: threads of this process write and read through one handle with a cache, while
//! another process writes the same keys, links are killed, slots move, and thousands of cached keys are invalidated at once.
//!
//! A read is stale if it returns less than a counter's value that this process had received before the read was sent.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "the program fails by panicking")]

#[path = "cache-check/child.rs"]
mod child;
#[path = "cache-check/faults.rs"]
mod faults;
#[path = "cache-check/load.rs"]
mod load;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redis_actix::{CacheConfig, Connections, ReconnectPolicy, Redis, RedisConfig};
use redis_actix_test::{RedisCluster, RedisServer};

use load::Ledger;

const PREFIX: &str = "check:";
const WRITERS: usize = 3;

/// The servers of a run.
enum Servers {
    One(RedisServer),
    Cluster(RedisCluster),
}

impl Servers {
    fn start(is_cluster: bool) -> io::Result<Self> {
        let server = RedisServer::builder().arg("--tracking-table-max-keys", "20000");
        if is_cluster {
            RedisCluster::builder().primaries(3).replicas(0).nodes(server).start().map(Self::Cluster)
        } else {
            server.start().map(Self::One)
        }
    }

    fn all(&self) -> &[RedisServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    fn hosts(&self) -> Vec<String> {
        self.all().iter().map(RedisServer::addr).collect()
    }
}

fn config(hosts: &[String]) -> redis_actix::RedisConfigBuilder {
    let builder = RedisConfig::builder().key_prefix(PREFIX).command_timeout(Duration::from_secs(10));
    match hosts {
        [host] => builder.url(format!("redis://{host}")),
        hosts => builder.cluster_hosts(hosts),
    }
}

fn start(config: redis_actix::RedisConfigBuilder) -> Redis {
    let policy = ReconnectPolicy::exponential(Duration::from_millis(2)..=Duration::from_millis(50));
    let config = config.build().expect("a valid configuration");
    Redis::builder(config).reconnect(policy).start_on_own_thread().expect("started")
}

struct Options {
    minutes: f64,
    is_cluster: bool,
    is_broadcast: bool,
    per_thread: bool,
    seed: u64,
}

impl Options {
    fn parse(words: &[String]) -> Self {
        let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        let has = |name: &str| words.iter().any(|word| word == name);
        Self {
            minutes: value("--minutes").map_or(1.0, |text| text.parse().expect("--minutes takes a number")),
            seed: value("--seed").map_or(1, |text| text.parse().expect("--seed takes a number")),
            is_cluster: has("--cluster"),
            is_broadcast: has("--broadcast"),
            per_thread: has("--per-thread"),
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--child") {
        return child::run(&words[1..]);
    }
    let options = Options::parse(&words);
    let servers = match Servers::start(options.is_cluster) {
        Ok(servers) => Arc::new(servers),
        Err(error) => {
            eprintln!("cache-check: {error}");
            return ExitCode::from(2);
        }
    };
    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let hosts = servers.hosts();
    let settings = CacheConfig::new(16 << 20);
    let settings = if options.is_broadcast { settings.broadcast() } else { settings };
    let connections = if options.per_thread { Connections::per_thread() } else { Connections::Shared };
    let redis = start(config(&hosts).cache(settings).connections(connections));
    let ledger = Arc::new(Ledger::default());
    let mut child = child::spawn(&hosts, until);
    let faults = thread::spawn({
        let (servers, seed) = (servers.clone(), options.seed);
        move || faults::run(&servers, until, seed)
    });
    let workers: Vec<_> = (0..WRITERS)
        .map(|worker| {
            let (redis, ledger, seed) = (redis.clone(), ledger.clone(), options.seed * 100 + worker as u64);
            thread::spawn(move || actix_rt::System::new().block_on(load::run(&redis, &ledger, until, seed)))
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().expect("a worker panicked"));
    let faults = faults.join().expect("the faults panicked");
    let _ = child.kill();
    let _ = child.wait();
    println!("{}", ledger.summary());
    println!("{faults}");
    println!("{:?}", redis.stats().cache.expect("configured"));
    let is_well = ledger.stale() == 0 && ledger.hits_are_plausible(redis.stats().cache.map_or(0, |cache| cache.hits));
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
