//! The project's own commands: `cargo xtask demo`, `cargo xtask test`.
//!
//! Both need nothing but the Rust toolchain: a Redis server is installed where there is none.

mod args;
mod bench;
mod cargo;
mod chaos;
mod cluster;
mod install;
mod keytable;
mod prefix_report;
mod server;
mod steps;
mod structure;
mod totals;

use args::Task;
use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo [args]      runs the message service against a real server of its own; args go to it, see `demo --help`
  test [--quick]   formatting, lints, tests and documentation; --quick leaves lints and documentation out
  bench [args]     measures against other clients, in a minute with --quick; --only W picks a workload (get64,
                   get64/256, streams, memory, promptness, instructions, or endurance with --minutes N), --place where
                   its callers are (same, queue, other); --bars compares with what is promised, --publish writes docs/performance.md;
                   --check counts instructions by valgrind instead and compares, --update stores them
  keytable         writes the key-position table anew from data/; --check compares, --from-server ADDR reads a server
  prefix-report    what the prefix does to every command, by server; --server ADDR, --program PATH, else its own
  chaos [args]     all faults at random against the invariants: --minutes N (1), --seed S; prints an account. One server
                   behind a proxy, or --cluster, or --sentinel: failovers, partitions, moving slots
  soak [args]      stream consumers while servers and consumers are killed at random: --minutes N (3), --seed S;
                   prints an account of every entry, and fails if one was lost
  fault-table      what redis-actix and redis-rs do under the same faults, measured, as a table
  failover-table   what callers of every kind see of a failover, in a cluster and with sentinels, as a table; fails if
                   more was lost than the servers lose; sentinel, cluster or cluster:killed picks rows
  structure        checks that modules import one way and that pure ones use no clock, socket or actor
  cluster up       starts a cluster of six on loopback that stays, and prints the environment to set; with --sentinel
                   a master, a replica and three sentinels; `cluster status` looks at it, `cluster down` ends it
  help             this text

Both use the server REDIS_SERVER names, else redis-server or valkey-server from PATH, else install one with the
system's package manager (as root or with `sudo -n`) and say what they run. Exit codes: 0 all well, 1 something
failed, 2 wrong usage or no server.";

/// Wrong usage, or something is missing that only the user can bring.
const CANNOT: u8 = 2;

/// What takes its own arguments.
const TOOLS: &[(&str, Tool)] = &[
    ("keytable", keytable::run),
    ("prefix-report", prefix_report::run),
    ("structure", structure::run),
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
            Ok(server) => steps::run_all(&server, quick),
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
