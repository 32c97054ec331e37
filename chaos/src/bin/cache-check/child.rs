//! The other process, which writes the same keys without a cache.

use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use redis_actix::prelude::*;

use crate::load::{CLOCK, COUNTERS, FILLERS, micros};

/// Starts this program again as the other process.
pub(crate) fn spawn(hosts: &[String], until: Instant) -> Child {
    let seconds = until.saturating_duration_since(Instant::now()).as_secs_f64();
    let program = std::env::current_exe().expect("this program has a path");
    Command::new(program).arg("--child").arg(seconds.to_string()).args(hosts).spawn().expect("started")
}

pub(crate) fn run(words: &[String]) -> ExitCode {
    let [seconds, hosts @ ..] = words else { return ExitCode::FAILURE };
    let until = Instant::now() + Duration::from_secs_f64(seconds.parse().expect("seconds"));
    let redis = crate::start(crate::config(hosts));
    actix_rt::System::new().block_on(async {
        let mut rng = fastrand::Rng::new();
        while Instant::now() < until {
            let _ = redis.send(Incr::new(format!("c{}", rng.usize(..COUNTERS)))).await;
            let _ = redis.send(Set::new(CLOCK, micros())).await;
            // Thousands of keys at once, which are cached by then.
            if rng.u32(..100) == 0 {
                let all = (0..FILLERS).map(|filler| Set::new(format!("f{filler}"), "x"));
                let _ = redis.send(Pipeline::new(all.collect::<Vec<_>>())).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    ExitCode::SUCCESS
}
