//! Measures what callers of every kind see of a failover and prints the table of FAULTS.md.
//!
//! Run by `cargo xtask failover-table`. Exit code 1 when a write was lost that the servers did not lose themselves, or
//! when a kind of caller had no success for too long.

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
                let silent = row.silent_too_long();
                if !silent.is_empty() {
                    println!("VIOLATION: {}: {}: silent for too long: {silent:?}", mode.as_str(), how.as_str());
                }
                violations += row.violations + silent.len() as u64;
                println!("{}", row.line());
                lines.push(row.line());
            }
        }
        println!("\n{}\n{}", heading(), lines.join("\n"));
        println!("\nviolations: {violations}");
        if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}
