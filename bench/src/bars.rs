//! The bars: minimum speed of this crate relative to its peers, as ratios within one run. Each of three consecutive runs
//! must meet every bar.

use std::{fmt::Write, time::Duration};

use crate::client::Connect;
use crate::clients::{ours, redis_rs};
use crate::load::{self, Load, Place};
use crate::outside;
use crate::report::{self, Summary};
use crate::round::Times;
use crate::suite::{self, Plan};

const RUSTIS: &str = "rustis";
const RUNS: usize = 3;

/// The compared quantity.
#[derive(Clone, Copy)]
enum Of {
    /// Minimum ratio of operations per second, this crate over the peer.
    Rate,
    /// Maximum ratio of the 99th percentiles, this crate over the peer.
    Slowest,
    /// Maximum ratio of processor time per operation, this crate over the peer.
    Time,
}

struct Bar {
    load: &'static str,
    callers: usize,
    place: Place,
    against: &'static str,
    of: Of,
    bar: f64,
}

const fn bar(load: &'static str, callers: usize, place: Place, against: &'static str, of: Of, bar: f64) -> Bar {
    Bar { load, callers, place, against, of, bar }
}

fn all() -> Vec<Bar> {
    const THREE: [&str; 3] = [redis_rs::Multiplexed::NAME, redis_rs::Tuned::NAME, RUSTIS];
    let rates: [(&'static str, usize, Place, [f64; 3]); 10] = [
        ("get64", 1, Place::Same, [1.05, 1.05, 1.05]),
        ("get64", 16, Place::Same, [1.35, 1.25, 1.15]),
        ("get64", 256, Place::Same, [2.5, 1.8, 1.6]),
        ("get64", 2000, Place::Same, [4.0, 2.3, 2.0]),
        ("get64", 1, Place::Other, [1.0, 1.0, 1.0]),
        ("get64", 16, Place::Other, [1.0, 1.0, 1.0]),
        ("get64", 256, Place::Other, [1.7, 1.6, 1.2]),
        ("get64", 2000, Place::Other, [3.0, 1.6, 1.3]),
        ("get16k", 64, Place::Same, [1.1, 1.1, 1.2]),
        ("set16k", 64, Place::Same, [1.1, 1.1, 1.2]),
    ];
    let mut bars: Vec<_> = rates
        .into_iter()
        .flat_map(|(load, callers, place, least)| {
            THREE
                .into_iter()
                .zip(least)
                .map(move |(against, least)| bar(load, callers, place, against, Of::Rate, least))
        })
        .collect();
    let theirs = redis_rs::Multiplexed::NAME;
    bars.extend([
        bar("get64", 2000, Place::Same, outside::BENCHMARK, Of::Rate, 1.0),
        bar("get64", 2000, Place::Same, theirs, Of::Slowest, 0.4),
        bar("get64", 256, Place::Same, theirs, Of::Time, 0.35),
        bar("get64", 2000, Place::Same, theirs, Of::Time, 0.25),
    ]);
    bars
}

impl Bar {
    fn is_of(&self, load: &Load) -> bool {
        self.load == load.name && self.callers == load.callers && self.place == load.place
    }

    /// The measured ratio; `None` if the contender did not take part.
    fn measured(&self, summaries: &[Summary]) -> Option<f64> {
        let ours = summaries.first()?;
        let theirs = summaries.iter().find(|summary| summary.name == self.against)?;
        Some(match self.of {
            Of::Rate => theirs.ratio.middle,
            Of::Slowest => ours.latencies[1] / theirs.latencies[1],
            Of::Time => ours.time[0] / theirs.time[0],
        })
    }

    fn is_met_by(&self, measured: f64) -> bool {
        match self.of {
            Of::Rate => measured >= self.bar,
            Of::Slowest | Of::Time => measured <= self.bar,
        }
    }
}

/// Duration and rounds per load. The rate of a single caller varies by more than the margin of its bar, so its median needs
/// more rounds.
fn plan(load: Load, quick: bool) -> Plan {
    let (rounds, millis) = match (load.callers, quick) {
        (1, false) => (40, 150),
        (_, false) => (9, 350),
        (1, true) => (5, 40),
        (_, true) => (3, 40),
    };
    let measured = Duration::from_millis(millis);
    Plan { load, rounds, times: Times { warm_up: measured / 4, measured } }
}

/// Measures three times, prints the results, and returns whether every bar was met. `--quick` only checks that it works.
///
/// # Errors
/// When a contender fails, or the server does.
pub fn run(args: &[String]) -> Result<bool, String> {
    let quick = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--quick"] => true,
        _ => return Err("--bars takes --quick and nothing else".to_owned()),
    };
    let command = format!("cargo xtask bench --bars {}", args.join(" "));
    print!("# Bars\n\n{}", report::preamble(command.trim_end()));
    let (table, well) = measure(quick)?;
    print!("{table}");
    Ok(well)
}

/// The table of all bars, and whether all were met.
///
/// # Errors
/// When a contender fails, or the server does.
pub fn measure(quick: bool) -> Result<(String, bool), String> {
    let bars = all();
    let mut results = vec![Vec::new(); bars.len()];
    let takes = |name: &str| name == ours::Here::NAME || bars.iter().any(|bar| bar.against == name);
    for n in 1..=RUNS {
        eprintln!("bench: run {n} of {RUNS}");
        let loads = load::all().into_iter().filter(|load| bars.iter().any(|bar| bar.is_of(load)));
        let plans = loads.map(|load| plan(load, quick)).collect();
        suite::run(
            plans,
            &takes,
            || 0,
            |outcome| {
                let summaries = report::summaries(&outcome);
                for (bar, results) in bars.iter().zip(&mut results).filter(|(bar, _)| bar.is_of(&outcome.load)) {
                    results.push(bar.measured(&summaries));
                }
            },
        )?;
    }
    let (mut table, mut well) =
        (String::from("| load | against | | bar | runs | |\n|---|---|---|---|---|---|\n"), true);
    for (bar, results) in bars.iter().zip(&results) {
        let missed = results.iter().any(|measured| measured.is_some_and(|measured| !bar.is_met_by(measured)));
        well &= !missed;
        let word = match (missed, results.contains(&None)) {
            (true, _) => "**missed**",
            (false, true) => "not measured",
            (false, false) => "ok",
        };
        let (what, sign) = match bar.of {
            Of::Rate => ("ops/s", ">="),
            Of::Slowest => ("p99", "<="),
            Of::Time => ("client us/op", "<="),
        };
        let runs = results.iter().map(|measured| measured.map_or("-".to_owned(), |measured| format!("{measured:.2}")));
        let runs = runs.collect::<Vec<_>>().join(", ");
        let Bar { load, callers, place, against, bar, .. } = bar;
        let place = place.name();
        // Writing to a String does not fail.
        let _ =
            writeln!(table, "| {load}/{callers}, {place} | {against} | {what} | {sign} {bar:.2} | {runs} | {word} |");
    }
    Ok((table, well))
}
