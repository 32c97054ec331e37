//! A cluster of three primaries under closed-loop callers: redis-actix beside redis-rs' `ClusterConnection`, round by round.
//!
//! `cargo run --release -p redis-actix-bench --bin cluster [rounds] [seconds]`

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use redis_actix::{Get, Redis, RedisConfig, Set};
use redis_actix_test::RedisCluster;

const CALLERS: u32 = 256;
const KEYS: u32 = 10_000;
const VALUE: [u8; 64] = [b'v'; 64];

/// One operation of either client.
trait Contender: Clone + 'static {
    async fn run(&mut self, key: u32, write: bool) -> Result<(), String>;
}

impl Contender for Redis {
    async fn run(&mut self, key: u32, write: bool) -> Result<(), String> {
        let key = format!("k{key}");
        if write {
            self.send(Set::new(key, &VALUE[..])).await.map(drop).map_err(|error| error.to_string())
        } else {
            let read = self.send(Get::<Vec<u8>>::new(key)).await;
            read.map(drop).map_err(|error| error.to_string())
        }
    }
}

impl Contender for redis::cluster_async::ClusterConnection {
    async fn run(&mut self, key: u32, write: bool) -> Result<(), String> {
        let key = format!("bench:k{key}");
        let mut cmd = redis::cmd(if write { "SET" } else { "GET" });
        cmd.arg(key);
        if write {
            let done: redis::RedisResult<()> = cmd.arg(&VALUE[..]).query_async(self).await;
            return done.map_err(|error| error.to_string());
        }
        let read: redis::RedisResult<Option<Vec<u8>>> = cmd.query_async(self).await;
        read.map(drop).map_err(|error| error.to_string())
    }
}

/// Operations a second over all callers, on this thread.
async fn round<C: Contender>(client: &C, seconds: f64) -> Result<f64, String> {
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let started = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let mut client = client.clone();
            actix_rt::spawn(async move {
                let (mut done, mut key) = (0_u32, caller.wrapping_mul(7919));
                while Instant::now() < until {
                    key = key.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    client.run(key % KEYS, key >> 31 == 0).await?;
                    done += 1;
                }
                Ok::<u32, String>(done)
            })
        })
        .collect();
    let mut all = 0;
    for caller in callers {
        all += caller.await.map_err(|error| error.to_string())??;
    }
    Ok(f64::from(all) / started.elapsed().as_secs_f64())
}

async fn measure(rounds: usize, seconds: f64) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let cluster = RedisCluster::start().map_err(|error| text(&error))?;
    let config = RedisConfig::builder().cluster_hosts(cluster.hosts()).key_prefix("bench:").build();
    let ours = Redis::builder(config.map_err(|error| text(&error))?).start().map_err(|error| text(&error))?;
    ours.ready(Duration::from_secs(5)).await.map_err(|error| text(&error))?;
    let hosts: Vec<_> = cluster.hosts().into_iter().map(|host| format!("redis://{host}")).collect();
    let client = redis::cluster::ClusterClient::new(hosts).map_err(|error| text(&error))?;
    let theirs = client.get_async_connection().await.map_err(|error| text(&error))?;
    round(&ours, seconds / 2.0).await?;
    round(&theirs, seconds / 2.0).await?;
    let mut ratios = Vec::new();
    println!("{CALLERS} callers, three primaries, GET and SET of 64 bytes, operations a second");
    for nth in 1..=rounds {
        let (our, their) = (round(&ours, seconds).await?, round(&theirs, seconds).await?);
        println!(
            "round {nth}: redis-actix {our:>9.0}, redis-rs ClusterConnection {their:>9.0}, ratio {:.2}",
            our / their
        );
        ratios.push(our / their);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios.first().copied().unwrap_or(0.0), ratios.last().copied().unwrap_or(0.0));
    println!("median ratio {:.2} ({least:.2} to {most:.2})", ratios.get(rounds / 2).copied().unwrap_or(0.0));
    ours.shutdown(Duration::from_secs(5)).await.map(drop).map_err(|error| text(&error))
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let rounds = words.next().and_then(|word| word.parse().ok()).unwrap_or(5);
    let seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or(2.0);
    match actix_rt::System::new().block_on(measure(rounds, seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("it could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}
