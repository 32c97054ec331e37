//! `cargo xtask bench`: builds the harness in release and runs it.

use crate::cargo;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};

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

fn steps(server: &Path, args: &[OsString]) -> io::Result<ExitCode> {
    let check = args.iter().any(|arg| arg == "--check");
    let mut build = cargo::command(server);
    build.args(["build", "--release", "--package", "redis-actix-bench", "--bins"]);
    if !check {
        // Minutes of compiling that a check of instructions has no use for.
        build.args(["--features", "peers"]);
    }
    if !build.status()?.success() {
        return Ok(ExitCode::FAILURE);
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| cargo::root().join("target"), Into::into);
    let programs = target.join("release");
    let harness = programs.join("redis-actix-bench");
    if check {
        let args = args.iter().filter(|arg| *arg != "--check");
        let status = std::process::Command::new(harness).arg("check").args(args).status()?;
        return Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from));
    }
    let report = target.join("bench.md");
    let mut file = fs::File::create(&report)?;
    let mut all_well = true;
    for program in [harness, programs.join("allocations")] {
        let mut command = std::process::Command::new(&program);
        command.args(args).env("REDIS_SERVER", server).stdout(Stdio::piped());
        if program.ends_with("allocations") {
            // They are the same in every round.
            command.args(["--rounds", "1", "--measured", "60"]);
            println!("### Allocations\n");
            writeln!(file, "### Allocations\n")?;
        }
        let mut child = command.spawn()?;
        for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let line = line?;
            println!("{line}");
            writeln!(file, "{line}")?;
        }
        all_well &= child.wait()?.success();
    }
    println!("\nwritten to {}", report.display());
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
