//! Allocations per operation. A separate program: counting slows down the contenders that allocate most.

use std::{alloc::System, process::ExitCode};

use redis_actix_bench::{args, suite};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let run = args::parse(std::env::args().skip(1)).and_then(|options| {
        let plans = options.plans();
        println!("| load | contender | allocations/op |\n|---|---|---|");
        suite::run(plans, &|name| options.takes(name), count, |outcome| {
            for (name, samples) in &outcome.contenders {
                let (allocations, ops) = samples.iter().fold((0, 0), |(a, o), s| (a + s.allocations, o + s.ops));
                let load = format!("{}/{} {:?}", outcome.load.name, outcome.load.callers, outcome.load.place);
                // External programs are not counted.
                if allocations > 0 {
                    println!("| {load} | {name} | {:.2} |", allocations as f64 / ops.max(1) as f64);
                }
            }
        })
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("allocations: {error}");
            ExitCode::FAILURE
        }
    }
}

fn count() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}
