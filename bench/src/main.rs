//! Measures, and prints Markdown. `check` counts instructions instead.

use std::process::ExitCode;

use redis_actix_bench::{args, check, report, streams, suite};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = args.split_first()
        && first == "check"
    {
        return check::run(rest);
    }
    measure(args).map_or_else(
        |error| {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn measure(args: Vec<String>) -> Result<(), String> {
    let command = format!("cargo xtask bench {}", args.join(" "));
    let options = args::parse(args)?;
    print!("# Measurements\n\n{}", report::preamble(command.trim_end()));
    if options.only.as_deref() == Some("streams") {
        return streams::run(&options);
    }
    suite::run(&options, || 0, |outcome| print!("{}", report::table(outcome)))?;
    Ok(())
}
