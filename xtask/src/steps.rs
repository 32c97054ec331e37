//! The checks, in order. All run, also after a failure.

use crate::totals::Totals;
use crate::{cargo, modules, server};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// One check: its name in the table and cargo's arguments.
struct Step {
    name: &'static str,
    args: &'static [&'static str],
    env: Option<(&'static str, &'static str)>,
    /// Skipped by `--quick`.
    slow: bool,
}

const TESTS: &str = "test";

const STEPS: &[Step] = &[
    Step { name: "fmt", args: &["fmt", "--all", "--check"], env: None, slow: false },
    Step {
        name: "clippy",
        args: &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
        env: None,
        slow: true,
    },
    Step {
        name: "clippy without features",
        args: &["clippy", "--package", "redis-actix", "--lib", "--no-default-features", "--", "-D", "warnings"],
        env: None,
        slow: true,
    },
    Step { name: TESTS, args: &["test", "--workspace", "--all-features", "--no-fail-fast"], env: None, slow: false },
    Step {
        name: "doc",
        args: &["doc", "--workspace", "--no-deps", "--all-features"],
        env: Some(("RUSTDOCFLAGS", "-D warnings")),
        slow: true,
    },
    Step { name: "deny", args: &["deny", "check"], env: None, slow: false },
];

struct Outcome {
    name: &'static str,
    ok: bool,
    took: Duration,
}

/// Runs the checks and ends with the totals as the last line.
pub(crate) fn run_all(server: &Path, modules: Option<&Path>, quick: bool) -> ExitCode {
    println!("server: {}", server.display());
    let mut totals = Totals::default();
    let (mut outcomes, mut skipped) = (Vec::new(), Vec::new());
    for step in STEPS {
        if quick && step.slow {
            continue;
        }
        if step.name == "deny" && !server::on_path("cargo-deny") {
            println!("\n== deny: skipped, cargo-deny is not installed (cargo install cargo-deny --locked)");
            skipped.push(step.name);
            continue;
        }
        println!("\n== {}: cargo {}", step.name, step.args.join(" "));
        let start = Instant::now();
        let ok = match run(step, server, modules, &mut totals) {
            Ok(ok) => ok,
            Err(e) => {
                eprintln!("xtask: cannot run cargo: {e}");
                false
            }
        };
        let outcome = Outcome { name: step.name, ok, took: start.elapsed() };
        println!("== {}", line(&outcome));
        outcomes.push(outcome);
    }
    println!();
    for outcome in &outcomes {
        println!("{}", line(outcome));
    }
    for name in skipped {
        println!("{name:<24} not run: its program is not installed");
    }
    println!("{totals}");
    if outcomes.iter().all(|outcome| outcome.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(outcome: &Outcome) -> String {
    let word = if outcome.ok { "ok" } else { "failed" };
    format!("{:<24} {word:<6} {:>7.1} s", outcome.name, outcome.took.as_secs_f64())
}

fn run(step: &Step, server: &Path, modules: Option<&Path>, totals: &mut Totals) -> io::Result<bool> {
    let mut command = cargo::command(server);
    command.envs(modules.map(|modules| (modules::VARIABLE, modules)));
    command.args(step.args).stdin(Stdio::null()).envs(step.env);
    if step.name != TESTS {
        return Ok(command.status()?.success());
    }
    let ok = count_tests(&mut command, totals, &mut io::stdout())?;
    // A program that did not build or was killed prints no result line, but its tests did not pass.
    if !ok && totals.failed == 0 {
        totals.failed = 1;
    }
    Ok(ok)
}

/// Prints the output and counts the results in it.
fn count_tests(command: &mut Command, totals: &mut Totals, out: &mut impl Write) -> io::Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::new(output);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes)? > 0 {
            out.write_all(&bytes)?;
            totals.add_line(&String::from_utf8_lossy(&bytes));
            bytes.clear();
        }
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_on_their_way_through() -> io::Result<()> {
        let mut totals = Totals::default();
        let script = r"printf 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\377\n'; exit 3";
        // Not to standard output: the outer test run would count it.
        let mut shown = Vec::new();
        let ok = count_tests(Command::new("sh").args(["-c", script]), &mut totals, &mut shown)?;
        assert!(shown.ends_with(b"\xff\n"));
        assert!(!ok);
        assert_eq!((totals.passed, totals.skipped), (2, 1));
        Ok(())
    }

    #[test]
    fn quick_keeps_the_tests() {
        let quick: Vec<_> = STEPS.iter().filter(|step| !step.slow).map(|step| step.name).collect();
        assert_eq!(quick, ["fmt", "test", "deny"]);
    }
}
