//! `cargo xtask chaos`, `soak`, `fault-table`, `failover-table`, `cache-check` and `structure`: programs of other packages.

use crate::{cannot, cargo, server};
use std::path::Path;
use std::process::ExitCode;

/// All faults at random, for `--minutes N` with `--seed S`.
pub(crate) fn run(args: &[String]) -> ExitCode {
    start("chaos", args)
}

/// Stream consumers whose servers and processes are killed, for `--minutes N` with `--seed S`.
pub(crate) fn soak(args: &[String]) -> ExitCode {
    start("soak", args)
}

/// The same faults against this crate and against redis-rs, as a table.
pub(crate) fn table(args: &[String]) -> ExitCode {
    start("fault-table", args)
}

/// Every kind of failover under every kind of load, as a table.
pub(crate) fn failovers(args: &[String]) -> ExitCode {
    start("failover-table", args)
}

/// Stale reads of client-side caching, for `--minutes N`.
pub(crate) fn cache_check(args: &[String]) -> ExitCode {
    start("cache-check", args)
}

/// The imports of the modules in `src`.
pub(crate) fn structure(args: &[String]) -> ExitCode {
    run_package(Path::new(""), &["redis-actix-structure"], args)
}

fn start(program: &str, args: &[String]) -> ExitCode {
    let server = match server::ensure() {
        Ok(server) => server,
        Err(e) => return cannot(&e),
    };
    run_package(&server, &["redis-actix-chaos", "--bin", program], args)
}

fn run_package(server: &Path, package: &[&str], args: &[String]) -> ExitCode {
    let run = cargo::command(server).args(["run", "--quiet", "--package"]).args(package).arg("--").args(args).status();
    match run {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(e) => cannot(&format!("cannot run cargo: {e}")),
    }
}
