//! Counts the instructions of every probe under callgrind and compares them with `bench/instructions.toml`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use crate::client::text;
use crate::{peer, probe};

/// Tolerance above the stored count. A count that is lower by as much means that the stored one is outdated.
const TOLERANCE: f64 = 0.03;

const HEAD: &str = "\
# Instructions per operation, counted by `cargo xtask bench --check` (valgrind --tool=callgrind), which fails
# where one costs 3 % more. After an intended change, update them: `cargo xtask bench --check --update`.
# They are of x86-64 and depend on the compiler and on the allocator of libc; ratios of changes do not.
";

/// Runs the check. Exit codes: 0 ok, 1 a probe costs more, 2 counting is not possible here.
#[must_use]
pub fn run(args: &[String]) -> ExitCode {
    let update = args.iter().any(|arg| arg == "--update");
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!(
            "bench: valgrind is missing: install it (apt-get install valgrind), instructions are counted with it"
        );
        return ExitCode::from(2);
    }
    match compare(update) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn compare(update: bool) -> Result<bool, String> {
    let store = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
    let stored = parse(&fs::read_to_string(&store).unwrap_or_default());
    let mut counted = String::from(HEAD);
    let mut well = true;
    println!("| probe | instructions/op | stored | |\n|---|---|---|---|");
    for (name, n) in probe::ALL {
        let (once, twice) = (count_probe(name, n)?, count_probe(name, 2 * n)?);
        let per_op = (twice.saturating_sub(once)) as f64 / n as f64;
        counted.push_str(&format!("{name} = {per_op:.0}\n"));
        let (before, word) = match stored.get(name) {
            None => (0.0, "new"),
            Some(before) if per_op > before * (1.0 + TOLERANCE) + 1.0 => {
                well = false;
                (*before, "costs more")
            }
            Some(before) if per_op < before * (1.0 - TOLERANCE) - 1.0 => (*before, "costs less: --update"),
            Some(before) => (*before, "as before"),
        };
        println!("| {name} | {per_op:.0} | {before:.0} | {word} |");
    }
    if update || stored.is_empty() {
        fs::write(&store, counted).map_err(|error| format!("{}: {error}", store.display()))?;
        return Ok(true);
    }
    Ok(well)
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = ")).filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?))).collect()
}

/// Counts the instructions per GET in the process of each client, against a peer that answers all callers at once. Unlike
/// times, they do not depend on the load of the machine.
///
/// # Errors
/// When counting is not possible here, or a client fails.
pub fn beside() -> Result<bool, String> {
    const CALLERS: [usize; 4] = [1, 16, 256, 2000];
    println!("| client | 1 caller | 16 | 256 | 2000 |\n|---|---|---|---|---|");
    let mut ours = None;
    for (name, _) in probe::clients() {
        let mut costs = [0.0; CALLERS.len()];
        for (cost, callers) in costs.iter_mut().zip(CALLERS) {
            let n = callers * (8_000 / callers).max(4);
            let port = peer::start(callers).map_err(text)?;
            let of = |n: usize| count(&[name, &n.to_string(), &port.to_string(), &callers.to_string()]);
            *cost = of(2 * n)?.saturating_sub(of(n)?) as f64 / n as f64;
        }
        let ours = *ours.get_or_insert(costs);
        let cells = costs.iter().zip(ours).map(|(theirs, ours)| format!("{theirs:.0} ({:.2}) | ", ours / theirs));
        println!("| {name} | {}", cells.collect::<String>().trim_end());
    }
    Ok(true)
}

/// The instructions of the whole process of a probe.
fn count_probe(name: &str, n: usize) -> Result<u64, String> {
    let port = match probe::callers(name) {
        0 => 0,
        callers => peer::start(callers).map_err(text)?,
    };
    count(&[name, &n.to_string(), &port.to_string()])
}

fn count(args: &[&str]) -> Result<u64, String> {
    let name = args.first().copied().unwrap_or_default();
    let program = env::current_exe().map_err(text)?.with_file_name("probe");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&program)
        .args(args)
        // Without it, glibc merges its free lists depending on how full its heap is: a difference of 14 %.
        .env("MALLOC_TOP_PAD_", "67108864")
        .output()
        .map_err(text)?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{name} failed: {log}"));
    }
    let collected =
        log.lines().find_map(|line| line.split_once("Collected :")).and_then(|(_, n)| n.trim().parse().ok());
    collected.ok_or_else(|| format!("callgrind said nothing of {name}: {log}"))
}
