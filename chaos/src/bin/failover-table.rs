//! What callers of every kind see of a failover, measured and printed as a table of the documentation.
//!
//! Run by `cargo xtask failover-table`. Exit code 1 when something was lost that the servers have not lost themselves, or
//! a kind was deaf.

use std::process::ExitCode;

use redis_actix_chaos::deployment::Mode;
use redis_actix_chaos::matrix::{FAULTS, heading, row};

fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    actix_rt::System::new().block_on(async {
        let (mut violations, mut lines) = (0, Vec::new());
        for mode in [Mode::Sentinel, Mode::Cluster] {
            for how in FAULTS {
                if !chosen(mode.as_str()) && !chosen(&format!("{}:{}", mode.as_str(), how.as_str())) {
                    continue;
                }
                let row = row(mode, how).await;
                let deaf = row.deaf();
                if !deaf.is_empty() {
                    println!("VIOLATION: {}: {}: deaf: {deaf:?}", mode.as_str(), how.as_str());
                }
                violations += row.violations + deaf.len() as u64;
                println!("{}", row.line());
                lines.push(row.line());
            }
        }
        println!("\n{}\n{}", heading(), lines.join("\n"));
        println!("\nviolations: {violations}");
        if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}
