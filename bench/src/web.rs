//! An actix-web service with two workers under HTTP load, with each client in turn.
//!
//! Every contender is a service in a process of its own. All of them run during the whole measurement, and in each round `wrk` loads
//! one after the other, so that they share the state of the machine.

mod options;
mod report;
mod service;
mod wrk;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use redis_actix_test::RedisServer;

use crate::client::text;
use options::Options;
pub use service::serve;
use wrk::Sample;

/// One HTTP load.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    endpoint: String,
    connections: usize,
}

/// A service in a process of its own.
struct Service {
    name: String,
    child: Child,
    port: u16,
}

impl Service {
    fn start(name: &str, redis: u16) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(text)?;
        let mut command = Command::new(program);
        let child = command.args(["web-service", name, &redis.to_string()]).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(text)?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("the service has no output")?;
        BufReader::new(output).read_line(&mut line).map_err(text)?;
        let port = line.trim().parse().map_err(|_| format!("{name}: the service did not start"));
        Ok(Self { name: name.to_owned(), port: port?, child })
    }

    /// The processor time of the process so far, in microseconds.
    fn processor_time(&self) -> Result<u64, String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).map_err(text)?;
        let (_, fields) = stat.rsplit_once(") ").ok_or("an unknown format of /proc")?;
        let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or_default());
        Ok(ticks.sum::<u64>() * 1_000_000 / rustix::param::clock_ticks_per_second())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures and prints the tables.
///
/// # Errors
/// When `wrk` is missing, a service does not start, or a request fails.
pub fn run(args: &[String]) -> Result<bool, String> {
    let options = Options::parse(args)?;
    wrk::check()?;
    let redis = RedisServer::start().map_err(text)?;
    for (key, len) in [(service::SMALL, 64), (service::LARGE, 16 * 1024)] {
        redis.command(["SET", key, &"x".repeat(len)]).map_err(text)?;
    }
    for nth in 0..10 {
        redis.command(["SET", &service::numbered(nth), &"x".repeat(64)]).map_err(text)?;
    }
    let names = service::names().into_iter().filter(|name| options.takes(name));
    let services = names.map(|name| Service::start(&name, redis.port())).collect::<Result<Vec<_>, _>>()?;
    let mut samples: Vec<(Load, Vec<Vec<Sample>>)> = Vec::new();
    for load in options.loads() {
        let mut rounds = Vec::new();
        for round in 0..options.rounds {
            let mut row = Vec::new();
            for service in &services {
                if round == 0 {
                    // Connections are made, and memory is warm.
                    wrk::run(service.port, &load, 1)?;
                }
                let before = service.processor_time()?;
                let mut sample = wrk::run(service.port, &load, options.seconds)?;
                sample.processor = (service.processor_time()? - before) as f64 / sample.requests.max(1.0);
                row.push(sample);
            }
            rounds.push(row);
        }
        eprintln!("{} with {} connections: done", load.endpoint, load.connections);
        samples.push((load, rounds));
    }
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    print!("{}", report::tables(&names, &samples, &options));
    Ok(true)
}
