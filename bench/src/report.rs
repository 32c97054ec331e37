//! Medians, spreads and ratios, as Markdown.

use std::{fmt::Write, process::Command};

use hdrhistogram::Histogram;

use crate::load::Place;
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
        "- machine: {model}, {cores} cores, {}\n- server: {}\n- redis-actix {}, {PEERS}, {}\n- `{command}`\n\n\
         Operations per second are medians over interleaved rounds (lowest to highest). Ratios are medians of the\n\
         ratios within each round: redis-actix over the contender of that line. Latencies in microseconds.\n\n",
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

/// One load as a table.
#[must_use]
pub fn table(outcome: &Outcome) -> String {
    let load = &outcome.load;
    let place = if load.place == Place::Same { "same thread" } else { "another thread" };
    let mut out = format!("### {}, {} callers, {place}\n\n", load.name, load.callers);
    out.push_str("| contender | ops/s | ratio | p50 | p99 | p99.9 | client us/op | server us/op |\n");
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    let ours: Vec<f64> =
        outcome.contenders.first().map(|(_, samples)| samples.iter().map(rate).collect()).unwrap_or_default();
    for (name, samples) in &outcome.contenders {
        let rates: Vec<f64> = samples.iter().map(rate).collect();
        let ratios = ours.iter().zip(&rates).map(|(ours, theirs)| ours / theirs).collect();
        let mut all: Option<Histogram<u64>> = None;
        for sample in samples {
            match &mut all {
                Some(all) => drop(all.add(&sample.latencies)),
                None => all = Some(sample.latencies.clone()),
            }
        }
        let at = |quantile| all.as_ref().map_or(0, |all| all.value_at_quantile(quantile)) as f64 / 1000.0;
        let per_op = |time: fn(&Sample) -> std::time::Duration| {
            median(samples.iter().map(|s| time(s).as_secs_f64() * 1e6 / s.ops.max(1) as f64).collect()).middle
        };
        let (rates, ratios) = (median(rates), median(ratios));
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "| {name} | {:.0} ({:.0} to {:.0}) | {:.2} ({:.2} to {:.2}) | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} |",
            rates.middle,
            rates.least,
            rates.most,
            ratios.middle,
            ratios.least,
            ratios.most,
            at(0.5),
            at(0.99),
            at(0.999),
            per_op(|s| s.own),
            per_op(|s| s.server),
        );
    }
    out.push('\n');
    out
}

fn rate(sample: &Sample) -> f64 {
    sample.ops as f64 / sample.took.as_secs_f64()
}

struct Spread {
    least: f64,
    middle: f64,
    most: f64,
}

fn median(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |n: usize| values.get(n).copied().unwrap_or_default();
    let last = values.len().saturating_sub(1);
    Spread { least: at(0), middle: f64::midpoint(at(last / 2), at(last.div_ceil(2))), most: at(last) }
}
