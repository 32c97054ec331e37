//! Writes `docs/performance.md` and its diagram.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::args;
use crate::client::text;
use crate::load::Place;
use crate::plot::{self, Diagram, Line};
use crate::report::{self, Summary};
use crate::{bars, suite};

const HARNESS: &str = "redis-actix-bench";

const HEAD: &str = "\
# Performance

One run on one machine: this crate and its peers at fixed versions, callers in closed loops with one command outstanding each.
Absolute numbers differ between machines; compare the ratios. `cargo xtask bench --publish` writes this page;
`cargo xtask bench --quick` measures your machine.

";

/// Measures everything and writes the page. The arguments are those of a measurement.
///
/// # Errors
/// When a contender fails, or the page cannot be written.
pub fn run(args: &[String]) -> Result<bool, String> {
    let options = args::parse(args.iter().cloned())?;
    let (mut tables, mut shown) = (String::new(), Vec::new());
    suite::run(
        options.plans(),
        &|name| options.takes(name),
        || 0,
        |outcome| {
            let summaries = report::summaries(&outcome);
            let table = report::table(&outcome.load, &summaries);
            print!("{table}");
            tables.push_str(&table);
            if outcome.load.name == "get64" && outcome.load.place == Place::Same {
                shown.push((outcome.load.callers, summaries));
            }
        },
    )?;
    let (held, well) = bars::measure(options.quick)?;
    print!("{held}");

    let allocations =
        run_program("allocations", &["--only", "get64", "--place", "same", "--rounds", "1", "--measured", "60"])?;
    let memory = run_program("memory", &[])?;
    let outstanding = run_program(HARNESS, &["outstanding"])?;
    let instructions = run_program(HARNESS, &["instructions"])?;
    let streams = run_program(HARNESS, &["--only", "streams"])?;
    let promptness = run_program(HARNESS, &["promptness"])?;

    let command = format!("cargo xtask bench --publish {}", args.join(" "));
    let page = [
        HEAD,
        &report::preamble(command.trim_end()),
        "![Operations per second and 99th percentile over callers](performance.svg)\n\n",
        "## Bars\n\nMedians of the ratios of three consecutive runs; each run has to meet the bar.\n\n",
        &held,
        "\n## Instructions\n\nInstructions per GET of 64 bytes in each client's process, against a peer that answers all callers \
         at once; in brackets this crate's share. Busy polling is off, because the number of polls depends on the speed \
         of the reply. Times vary on a busy machine, these counts do not.\n\n",
        &instructions,
        "\n## Streams\n\n",
        streams.find("###").and_then(|at| streams.get(at..)).unwrap_or_default(),
        "## Latency\n\n",
        &promptness,
        "\n## Memory\n\nAllocated bytes per waiting command, without its caller.\n\n",
        &memory,
        "\n",
        &outstanding,
        "\n## Allocations\n\n",
        &allocations,
        "\n## Tables\n\n",
        tables.trim_end(),
        "\n",
    ];
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    write(&docs.join("performance.md"), &page.concat())?;
    write(&docs.join("performance.svg"), &plot::svg(&diagrams(&shown)))?;
    Ok(well)
}

/// Runs another program of this crate and returns its output. Its bars are checked when it runs alone.
fn run_program(name: &str, args: &[&str]) -> Result<String, String> {
    let program = env::current_exe().map_err(text)?.with_file_name(name);
    let output = Command::new(program).args(args).stderr(Stdio::inherit()).output().map_err(text)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{printed}");
    Ok(printed)
}

fn diagrams(shown: &[(usize, Vec<Summary>)]) -> [Diagram; 2] {
    let lines = |value: fn(&Summary) -> f64| -> Vec<Line> {
        let names = shown.first().into_iter().flat_map(|(_, summaries)| summaries.iter().map(|summary| summary.name));
        let points = |name| {
            let of = |summaries: &[Summary]| summaries.iter().find(|summary| summary.name == name).map(value);
            shown.iter().filter_map(|(callers, summaries)| Some((*callers as f64, of(summaries)?))).collect()
        };
        names.map(|name| Line { name, points: points(name) }).collect()
    };
    [
        Diagram { title: "GET of 64 bytes: operations per second", lines: lines(|summary| summary.rate.middle) },
        Diagram { title: "99th percentile, microseconds", lines: lines(|summary| summary.latencies[1]) },
    ]
}

fn write(path: &PathBuf, contents: &str) -> Result<(), String> {
    fs::write(path, contents).map_err(|error| format!("{}: {}", path.display(), text(error)))?;
    println!("written: {}", path.display());
    Ok(())
}
