//! `endurance [--minutes N]`: checks that the process does not grow over hours of load.

use std::{alloc::System, process::ExitCode, time::Duration};

use redis_actix_bench::endurance::{self, Outstanding};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let minutes = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(60.0),
        ["--minutes", minutes] => minutes.parse().map_err(|_| "--minutes needs a number".to_owned()),
        _ => Err("endurance takes --minutes N and nothing else".to_owned()),
    };
    let how_long = minutes.and_then(|minutes: f64| {
        Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| "--minutes is out of range".to_owned())
    });
    match how_long.and_then(|how_long| endurance::run(how_long, outstanding)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("endurance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn outstanding() -> Outstanding {
    let stats = ALLOCATOR.stats();
    Outstanding {
        bytes: stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated),
        count: stats.allocations.wrapping_sub(stats.deallocations),
    }
}
