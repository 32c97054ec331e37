//! The project's commands: `cargo xtask demo`, `cargo xtask test`.
//!
//! They need the Rust toolchain only: a Redis server is installed if there is none.

mod args;
mod bench;
mod cargo;
mod chaos;
mod cluster;
mod commands;
mod install;
mod keytable;
mod modules;
mod package;
mod prefix_report;
mod server;
mod steps;
mod totals;

use args::Task;
use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo [args]      runs the example message_service against a server that it starts; see `demo --help`
  test [--quick]   formatting, lints, tests and documentation; --quick skips lints and documentation
  bench [args]     measures this crate and other clients, in a minute with --quick; --only W selects a workload (get64,
                   get64/256, streams, memory, promptness, instructions, or endurance with --minutes N), --place the thread
                   of the callers (same, queue, other); --bars compares with the bars, --publish writes
                   docs/performance.md; --web loads an actix-web service with each client over HTTP, with wrk; --check counts instructions with valgrind and compares, --update stores them
  commands         how users reach each command of each server; writes docs/commands.md; --check fails if one is missing
  keytable         generates the key-position table from data/; --check compares, --from-server ADDR reads a server
  modules          installs the server with modules that tests of JSON, Bloom, time series, vector sets and search use,
                   in target/redis-modules, and prints its path; `test` does so too
  prefix-report    the effect of the prefix on every command, by server; --server ADDR or --program PATH selects one
  chaos [args]     random faults, invariants checked: --minutes N (1), --seed S; prints a summary. One server behind a
                   proxy, or with --cluster or --sentinel several: failovers, partitions, moving slots
  soak [args]      stream consumers while servers and consumers are killed at random: --minutes N (3), --seed S;
                   accounts for every entry, and fails if one was lost
  fault-table      behaviour of redis-actix and redis-rs under the same faults, as a table
  failover-table   effect of failovers on callers of every kind, in a cluster and with sentinels, as a table; fails if
                   more was lost than the servers lose; sentinel, cluster or cluster:killed selects rows
  package          packs every published crate and builds it from its archive
  cache-check      looks for stale reads of client-side caching under faults: --minutes N (1), --seed S, --cluster,
                   --broadcast, --per-thread; fails if one was stale
  structure        checks that modules import one way and that pure modules use no clock, socket or actor
  cluster up       starts a cluster of six nodes on loopback that keeps running, and prints the environment to set;
                   with --sentinel a master, a replica and three sentinels; `cluster status` shows it, `cluster down`
                   ends it
  help             this text

The server is REDIS_SERVER, else redis-server or valkey-server from PATH. If there is none, demo, test and bench install
one with the system's package manager (as root or with `sudo -n`) and print the command. Exit codes: 0 success,
1 failure, 2 wrong usage or no server.";

/// Wrong usage, or a missing program that the user must install.
const CANNOT: u8 = 2;

/// Commands with their own arguments.
const TOOLS: &[(&str, Tool)] = &[
    ("commands", commands::run),
    ("keytable", keytable::run),
    ("modules", modules::run),
    ("prefix-report", prefix_report::run),
    ("package", package::run),
    ("cache-check", chaos::cache_check),
    ("structure", chaos::structure),
    ("chaos", chaos::run),
    ("cluster", cluster::run),
    ("soak", chaos::soak),
    ("fault-table", chaos::table),
    ("failover-table", chaos::failovers),
];

type Tool = fn(&[String]) -> ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some((name, rest)) = words.split_first()
        && let Some((_, run)) = TOOLS.iter().find(|(tool, _)| tool == name)
    {
        return run(rest);
    }
    match args::parse(env::args_os().skip(1)) {
        Ok(Task::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Task::Demo(args)) => match server::ensure() {
            Ok(server) => cannot(&cargo::become_demo(&server, &args)),
            Err(e) => cannot(&e),
        },
        Ok(Task::Test { quick }) => match server::ensure() {
            Ok(server) => match modules::ensure() {
                Ok(modules) => steps::run_all(&server, Some(&modules), quick),
                // Not everyone has Python, but the tests of modules must not be missing unnoticed.
                Err(e) if env::var_os("CI").is_some() => cannot(&e),
                Err(e) => {
                    println!("tests of module commands are skipped: {e}");
                    steps::run_all(&server, None, quick)
                }
            },
            Err(e) => cannot(&e),
        },
        Ok(Task::Bench(args)) => match server::ensure() {
            Ok(server) => bench::run(&server, &args),
            Err(e) => cannot(&e),
        },
        Err(e) => {
            eprintln!("{USAGE}\n");
            cannot(&e)
        }
    }
}

fn cannot(why: &str) -> ExitCode {
    eprintln!("xtask: {why}");
    ExitCode::from(CANNOT)
}
