//! Medians, ranges and ratios, as Markdown.

use std::{fmt::Write, process::Command, time::Duration};

use hdrhistogram::Histogram;

use crate::load::Load;
use crate::outside::IOREDIS;
use crate::round::Sample;
use crate::suite::Outcome;

/// The versions of the peers, fixed in `Cargo.toml`.
const PEERS: &str = "redis 1.8.1, rustis 0.27.2, fred 10.1.0, deadpool-redis 0.23.1";

/// Machine, versions and command lines.
#[must_use]
pub fn preamble(command: &str) -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("?")
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    format!(
        "- machine: {model}, {cores} cores, {}\n- server: {}\n- redis-actix {}, {PEERS}, {IOREDIS}, {}\n- `{command}`\n\n\
         Operations per second are medians over interleaved rounds (lowest to highest). Ratios are medians of the\n\
         ratios within each round: redis-actix over the contender of that line. Latencies in microseconds.\n\n\
         \"busy poll\" is this crate with `busy_poll` of 100 us, which is off by default. \"Two links\" are two handles, each with its own connection.\n\n",
        output("uname", &["-sr"]),
        output(&program, &["--version"]),
        env!("CARGO_PKG_VERSION"),
        output("rustc", &["--version"]),
    )
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Summary of the samples of one contender.
pub struct Summary {
    /// Its name.
    pub name: &'static str,
    /// Operations per second.
    pub rate: MedianRange,
    /// The rate of this crate divided by the rate of the contender.
    pub ratio: MedianRange,
    /// Microseconds: the median, 99 and 99.9 per cent.
    pub latencies: [f64; 3],
    /// Microseconds of processor time per operation, of the client and of the server.
    pub time: [f64; 2],
}

/// Summarizes every contender of a load.
#[must_use]
pub fn summaries(outcome: &Outcome) -> Vec<Summary> {
    let rates = |samples: &[Sample]| samples.iter().map(rate).collect::<Vec<_>>();
    let ours = outcome.contenders.first().map(|(_, samples)| rates(samples)).unwrap_or_default();
    let one = |(name, samples): &(&'static str, Vec<Sample>)| {
        let rates = rates(samples);
        let ratio = MedianRange::of(ours.iter().zip(&rates).map(|(ours, theirs)| ours / theirs).collect());
        let mut all: Option<Histogram<u64>> = None;
        for sample in samples {
            match &mut all {
                Some(all) => drop(all.add(&sample.latencies)),
                None => all = Some(sample.latencies.clone()),
            }
        }
        let at = |quantile| all.as_ref().map_or(0, |all| all.value_at_quantile(quantile)) as f64 / 1000.0;
        let per_op = |time: fn(&Sample) -> Duration| {
            MedianRange::of(samples.iter().map(|s| time(s).as_secs_f64() * 1e6 / s.ops.max(1) as f64).collect()).middle
        };
        Summary {
            name,
            rate: MedianRange::of(rates),
            ratio,
            latencies: [0.5, 0.99, 0.999].map(at),
            time: [per_op(|s| s.own), per_op(|s| s.server)],
        }
    };
    outcome.contenders.iter().map(one).collect()
}

/// One load as a table.
#[must_use]
pub fn table(load: &Load, summaries: &[Summary]) -> String {
    let mut out = format!("### {}, {} callers, {}\n\n", load.name, load.callers, load.place.name());
    out.push_str("| contender | ops/s | ratio | p50 | p99 | p99.9 | client us/op | server us/op |\n");
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for Summary { name, rate, ratio, latencies, time } in summaries {
        let [p50, p99, p999] = latencies.map(|latency| known(latency, 0));
        let [client, server] = time.map(|time| known(time, 2));
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "| {name} | {:.0} ({:.0} to {:.0}) | {:.2} ({:.2} to {:.2}) | {p50} | {p99} | {p999} | {client} | {server} |",
            rate.middle, rate.least, rate.most, ratio.middle, ratio.least, ratio.most,
        );
    }
    out.push('\n');
    out
}

/// A number, unless it was not measured.
fn known(value: f64, digits: usize) -> String {
    if value > 0.0 { format!("{value:.digits$}") } else { "-".to_owned() }
}

fn rate(sample: &Sample) -> f64 {
    sample.ops as f64 / sample.took.as_secs_f64()
}

/// The median and range of some values.
#[derive(Clone, Copy)]
pub struct MedianRange {
    /// The least.
    pub least: f64,
    /// The median.
    pub middle: f64,
    /// The most.
    pub most: f64,
}

impl MedianRange {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self { least: at(0), middle: f64::midpoint(at(last / 2), at(last.div_ceil(2))), most: at(last) }
    }
}
