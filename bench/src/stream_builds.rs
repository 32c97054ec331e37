//! The stream consumer of this build beside that of another build, in interleaved rounds.
//!
//! Each round is a process of its own, which runs this harness's `stream-round`. To get the program of another commit,
//! check it out, put this `bench/` in place of its own, and build it with the same flags.

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::{Command, Stdio},
};

use redis_actix_test::RedisServer;

use crate::client::text;
use crate::promptness::entry_latencies;
use crate::streams::{Contender, fill, middle, one};

/// Entries per read, and in total.
const COUNTS: [(usize, usize); 3] = [(1, 20_000), (16, 100_000), (128, 200_000)];
/// Entries whose latency is measured, one per millisecond.
const LATENCIES: usize = 1_000;
const ROUNDS: usize = 8;

/// The values of one quantity, of the other build and of this one.
#[derive(Default)]
struct Values {
    other: Vec<f64>,
    this: Vec<f64>,
}

/// Prints one line for each quantity: its value, and its name.
///
/// # Errors
/// When the server or a consumer fails.
pub fn round() -> Result<bool, String> {
    let server = RedisServer::builder().arg("--save", "").start().map_err(text)?;
    fill(&server)?;
    actix_rt::System::new().block_on(async {
        for (count, entries) in COUNTS {
            for contender in [Contender::Batches, Contender::Messages] {
                let sample = one(contender, &server, count, entries).await?;
                println!("{} entries/s, COUNT {count}, {}", sample.rate, contender.name());
            }
        }
        let (_, delays) = entry_latencies(LATENCIES).await?;
        println!("{} us from XADD to the handler, p50", delays.middle.as_secs_f64() * 1e6);
        println!("{} us from XADD to the handler, p99", delays.high.as_secs_f64() * 1e6);
        Ok(true)
    })
}

/// Compares with the build whose program is the first argument, and prints a table. The second argument is the number of
/// rounds, 8 by default.
///
/// # Errors
/// When the arguments are wrong, or a program fails.
pub fn compare(args: &[String]) -> Result<bool, String> {
    let (other, rounds) = match args {
        [other] => (other, ROUNDS),
        [other, rounds] => (other, rounds.parse().map_err(|_| "the number of rounds is no number")?),
        _ => return Err("stream-builds needs the program of another build".to_owned()),
    };
    let this = env::current_exe().map_err(text)?;
    let mut all: BTreeMap<(usize, String), Values> = BTreeMap::new();
    for nth in 0..rounds {
        // The build that goes first alternates.
        for is_this in [nth % 2 == 0, nth % 2 == 1] {
            let program = if is_this { &this } else { Path::new(other) };
            for (at, (value, name)) in run(program)?.into_iter().enumerate() {
                let values = all.entry((at, name)).or_default();
                if is_this { values.this.push(value) } else { values.other.push(value) }
            }
        }
    }
    println!("| quantity, median of {rounds} rounds | other build | this build | ratio |\n|---|---|---|---|");
    for ((_, name), Values { other, this }) in all {
        let (range, (other, this)) = (format!("{} | {}", shown(&other), shown(&this)), (middle(other), middle(this)));
        println!("| {name} | {range} | {:.3} |", this / other);
    }
    Ok(true)
}

fn run(program: &Path) -> Result<Vec<(f64, String)>, String> {
    let output = Command::new(program).arg("stream-round").stderr(Stdio::inherit()).output().map_err(text)?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", program.display(), output.status));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| {
        let (value, name) = line.split_once(' ').ok_or("a round printed a line without a name")?;
        Ok((value.parse().map_err(|_| "a round printed a value that is no number")?, name.to_owned()))
    };
    lines.lines().map(line).collect()
}

/// The median, and the range.
fn shown(values: &[f64]) -> String {
    let (least, most) =
        values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
    format!("{:.0} ({least:.0} to {most:.0})", middle(values.to_vec()))
}
