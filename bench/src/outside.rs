//! External contenders: ioredis, if node is installed, and redis-benchmark.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::client::text;
use crate::clients::ours::PREFIX;
use crate::load::{Load, Place};
use crate::round::{Contender, Outside, Sample, Times, histogram};

/// The version of ioredis, fixed in `ioredis/package.json`.
pub const IOREDIS: &str = "ioredis 6.0.0";

/// The name of redis-benchmark in tables.
pub const BENCHMARK: &str = "redis-benchmark";

/// The contenders of this load. Missing programs are reported on standard error, once per load.
///
/// # Errors
/// When one does not start.
pub fn contenders(load: &Load, port: u16, takes: &dyn Fn(&str) -> bool) -> Result<Vec<Contender>, String> {
    let mut contenders = Vec::new();
    if load.place != Place::Same {
        return Ok(contenders);
    }
    if matches!(load.name, "get64" | "set64") {
        let wanted =
            [("ioredis", "false"), ("ioredis autopipelining", "true")].into_iter().filter(|(name, _)| takes(name));
        match main_js() {
            Some(program) => {
                for (name, autopipelining) in wanted {
                    contenders.push(Contender::outside(name, Node::start(&program, load, port, autopipelining)?));
                }
            }
            None if wanted.count() == 0 => {}
            None => eprintln!("bench: ioredis is left out: there is no node, or `npm ci` was not run in bench/ioredis"),
        }
    }
    if load.name == "get64" && load.callers == 2000 && takes(BENCHMARK) {
        match benchmark() {
            Some(program) => contenders.push(Contender::outside(BENCHMARK, Benchmark { program, port })),
            None => eprintln!("bench: redis-benchmark is left out: it is neither beside the server nor on PATH"),
        }
    }
    Ok(contenders)
}

fn main_js() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("ioredis");
    let runs =
        Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    (runs && directory.join("node_modules/ioredis").is_dir()).then(|| directory.join("main.js"))
}

/// One node process for all rounds of a load.
struct Node {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Node {
    fn start(program: &Path, load: &Load, port: u16, autopipelining: &str) -> Result<Self, String> {
        let mut process = Command::new("node")
            .arg(program)
            .args([&port.to_string(), load.name, &load.callers.to_string(), autopipelining])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let input = process.stdin.take();
        let output = process.stdout.take().map(BufReader::new).ok_or("node has no output")?;
        Ok(Self { process, input, output })
    }
}

impl Outside for Node {
    fn round(&mut self, times: Times) -> Result<Sample, String> {
        let input = self.input.as_mut().ok_or("node has no input")?;
        writeln!(input, "run {} {}", times.warm_up.as_millis(), times.measured.as_millis()).map_err(text)?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(text)?;
        let mut words = line.split_ascii_whitespace();
        let mut next = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or("ioredis ended");
        let (ops, took, own) = (next()?, Duration::from_nanos(next()?), Duration::from_micros(next()?));
        let mut latencies = histogram()?;
        for word in words {
            let (latency, count) = word.split_once(':').ok_or("ioredis said something else")?;
            let nanos = latency.parse::<u64>().map_err(text)? * 1000;
            latencies.saturating_record_n(nanos, count.parse().map_err(text)?);
        }
        Ok(Sample { ops, took, own, server: Duration::ZERO, allocations: 0, latencies })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It ends at the end of its input.
        self.input = None;
        drop(self.process.wait());
    }
}

/// redis-benchmark with 50 connections and pipelines of 50: no waiting for single replies.
struct Benchmark {
    program: PathBuf,
    port: u16,
}

impl Outside for Benchmark {
    fn round(&mut self, times: Times) -> Result<Sample, String> {
        let asked = self.operations_per_second(100_000)? * times.measured.as_secs_f64();
        let ops = asked.max(10_000.0) as u64;
        let took = Duration::from_secs_f64(ops as f64 / self.operations_per_second(ops)?);
        // It reports no processor time, and latencies of whole pipelines only.
        let latencies: Histogram<u64> = histogram()?;
        Ok(Sample { ops, took, own: Duration::ZERO, server: Duration::ZERO, allocations: 0, latencies })
    }
}

impl Benchmark {
    fn operations_per_second(&self, ops: u64) -> Result<f64, String> {
        let key = format!("{PREFIX}user:0001");
        let output = Command::new(&self.program)
            .args(["-p", &self.port.to_string(), "-c", "50", "-P", "50", "-n", &ops.to_string(), "--csv", "GET", &key])
            .output()
            .map_err(text)?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        // "GET bench:user:0001","1234567.89", and latencies
        let rate = output.lines().find_map(|line| line.strip_prefix("\"GET")?.split('"').nth(2)?.parse().ok());
        rate.filter(|rate| *rate > 0.0).ok_or_else(|| format!("redis-benchmark said nothing of use: {output}"))
    }
}

fn benchmark() -> Option<PathBuf> {
    let server = env::var_os("REDIS_SERVER").map(PathBuf::from).unwrap_or_default();
    let beside = server.parent().map(Path::to_path_buf);
    let path = env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(env::split_paths(&path))
        .flat_map(|directory| ["redis-benchmark", "valkey-benchmark"].map(|name| directory.join(name)))
        .find(|program| program.is_file())
}
