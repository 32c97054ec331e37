//! The tables of `--web`.

use std::fmt::Write;

use super::options::Options;
use super::wrk::Sample;
use super::{Load, service};

/// One table for each load.
pub(super) fn tables(names: &[&str], samples: &[(Load, Vec<Vec<Sample>>)], options: &Options) -> String {
    let mut out = format!(
        "An actix-web service with {} workers under `wrk`, GET and SET of 64 bytes, {} rounds of {} s, interleaved. Medians, \
         lowest to highest in parentheses. Ratio: the median over the rounds of requests/s divided by those of the best peer with \
         the same arrangement. CPU: microseconds of the service per request, and beyond the service without Redis.\n\n",
        service::WORKERS,
        options.rounds,
        options.seconds,
    );
    for (load, rounds) in samples {
        out += &table(names, load, rounds);
    }
    out
}

fn table(names: &[&str], load: &Load, rounds: &[Vec<Sample>]) -> String {
    let of = |nth: usize, value: fn(&Sample) -> f64| -> Vec<f64> {
        rounds.iter().filter_map(|row| row.get(nth)).map(value).collect()
    };
    let idle = median(of(0, |sample| sample.processor));
    let mut out = format!("### {}, {} connections\n\n", load.endpoint, load.connections);
    out += "| client | requests/s | ratio | p50 us | p99 us | CPU us | beyond |\n|---|---|---|---|---|---|---|\n";
    for (nth, name) in names.iter().enumerate() {
        let rates = of(nth, |sample| sample.per_second);
        let ratio = ratio(names, name, nth, rounds).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let (low, high) = rates.iter().fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        let processor = median(of(nth, |sample| sample.processor));
        let latency = [of(nth, |sample| sample.p50), of(nth, |sample| sample.p99)].map(median);
        let _ = writeln!(
            out,
            "| {name} | {:.0} ({low:.0} to {high:.0}) | {ratio} | {:.0} | {:.0} | {processor:.1} | {:.1} |",
            median(rates),
            latency[0],
            latency[1],
            processor - idle,
        );
    }
    out + "\n"
}

/// Of this crate: against the best peer with the same arrangement, in each round.
fn ratio(names: &[&str], name: &str, nth: usize, rounds: &[Vec<Sample>]) -> Option<f64> {
    let (_, arrangement) = name.strip_prefix("redis-actix").and(name.rsplit_once(", "))?;
    let is_peer = |other: &&str| !other.starts_with("redis-actix") && other.ends_with(arrangement);
    let ratio = |row: &Vec<Sample>| {
        let peers = names.iter().zip(row).filter(|(other, _)| is_peer(other));
        let best = peers.map(|(_, sample)| sample.per_second).fold(0.0, f64::max);
        row.get(nth).filter(|_| best > 0.0).map(|own| own.per_second / best)
    };
    let ratios: Vec<f64> = rounds.iter().filter_map(ratio).collect();
    (!ratios.is_empty()).then(|| median(ratios))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
