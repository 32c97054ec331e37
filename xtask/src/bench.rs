//! `cargo xtask bench`: builds the harness in release and runs it.

use crate::cargo;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Measures, or counts instructions with `--check`. The tables go to the terminal and into a file.
pub(crate) fn run(server: &Path, args: &[OsString]) -> ExitCode {
    match steps(server, args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("xtask: {e}");
            ExitCode::FAILURE
        }
    }
}

/// A program of `bench/` and its arguments.
type Run = (&'static str, Vec<String>);

const HARNESS: &str = "redis-actix-bench";

fn steps(server: &Path, args: &[OsString]) -> io::Result<ExitCode> {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let runs = runs(&args);
    let alone = runs.iter().any(|(name, args)| *name == "endurance" || args.first().is_some_and(|arg| arg == "check"));
    let mut build = cargo::command(server);
    build.args(["build", "--release", "--package", HARNESS, "--bins"]);
    if !alone {
        // A check of instructions does not need these minutes of compilation.
        build.args(["--features", "peers"]);
        ioredis();
    }
    if !build.status()?.success() {
        return Ok(ExitCode::FAILURE);
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| cargo::root().join("target"), Into::into);
    let report = target.join("bench.md");
    let mut file = fs::File::create(&report)?;
    let mut worst = 0;
    for (name, args) in runs {
        let mut command = Command::new(target.join("release").join(name));
        command.args(args).env("REDIS_SERVER", server).stdout(Stdio::piped());
        if name != HARNESS {
            println!("### {name}\n");
            writeln!(file, "### {name}\n")?;
        }
        let mut child = command.spawn()?;
        for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let line = line?;
            println!("{line}");
            writeln!(file, "{line}")?;
        }
        let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        worst = worst.max(code);
    }
    println!("\nwritten to {}", report.display());
    Ok(ExitCode::from(worst))
}

/// What these arguments ask for.
fn runs(args: &[String]) -> Vec<Run> {
    for mode in ["check", "bars", "publish", "web"] {
        if let Some(at) = args.iter().position(|arg| arg.strip_prefix("--") == Some(mode)) {
            let mut rest = args.to_vec();
            rest.remove(at);
            rest.insert(0, mode.to_owned());
            return vec![(HARNESS, rest)];
        }
    }
    let only = args.iter().position(|arg| arg == "--only").and_then(|at| Some((at, args.get(at + 1)?.as_str())));
    match only {
        Some((at, "endurance")) => {
            let mut rest = args.to_vec();
            rest.drain(at..at + 2);
            vec![("endurance", rest)]
        }
        Some((_, mode @ ("promptness" | "instructions"))) => vec![(HARNESS, vec![mode.to_owned()])],
        Some((_, "memory")) => vec![("memory", Vec::new()), (HARNESS, vec!["outstanding".to_owned()])],
        _ => {
            // They are the same in every round.
            let once = ["--rounds", "1", "--measured", "60"].map(str::to_owned);
            vec![(HARNESS, args.to_vec()), ("allocations", args.iter().cloned().chain(once).collect())]
        }
    }
}

/// Installs ioredis if node is there. The harness reports if it is missing.
fn ioredis() {
    let directory = cargo::root().join("bench/ioredis");
    if directory.join("node_modules/ioredis").is_dir() {
        return;
    }
    let npm = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&directory).status();
    if !npm.is_ok_and(|status| status.success()) {
        println!("ioredis is left out: there is no npm, or `npm ci` failed in {}", directory.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &[&str]) -> Vec<(&'static str, String)> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        runs(&args).into_iter().map(|(name, args)| (name, args.join(" "))).collect()
    }

    #[test]
    fn modes_choose_programs() {
        assert_eq!(names(&["--check", "--update"]), [(HARNESS, "check --update".to_owned())]);
        assert_eq!(names(&["--bars"]), [(HARNESS, "bars".to_owned())]);
        assert_eq!(names(&["--quick", "--publish"]), [(HARNESS, "publish --quick".to_owned())]);
        assert_eq!(names(&["--only", "endurance", "--minutes", "5"]), [("endurance", "--minutes 5".to_owned())]);
        assert_eq!(names(&["--web", "--rounds", "9"]), [(HARNESS, "web --rounds 9".to_owned())]);
        assert_eq!(names(&["--only", "memory"]).len(), 2);
        assert_eq!(names(&["--only", "promptness"]), [(HARNESS, "promptness".to_owned())]);
        assert_eq!(names(&["--only", "instructions"]), [(HARNESS, "instructions".to_owned())]);
        assert_eq!(names(&["--only", "get64"])[0], (HARNESS, "--only get64".to_owned()));
    }
}
