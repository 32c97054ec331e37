//! Measures and prints Markdown. `check` counts instructions, `instructions` those of the peers as well, `bars` compares
//! with the bars, `publish` writes `docs/performance.md`, `outstanding` measures the processor time per operation with a
//! million outstanding commands, `web` a service under HTTP load, `promptness` the latency of entries to handlers and of commands after a restart.
//! `stream-builds PROGRAM [ROUNDS]` compares the stream consumer of this build with that of another one.

use std::process::ExitCode;

use redis_actix_bench::{
    args, bars, check, outstanding, promptness, publish, report, stream_builds, streams, suite, web,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        Some((first, rest)) if first == "check" => return check::run(rest),
        Some((first, rest)) if first == "bars" => bars::run(rest),
        Some((first, [])) if first == "instructions" => check::beside(),
        Some((first, [])) if first == "outstanding" => outstanding::run(),
        Some((first, [])) if first == "promptness" => promptness::run(),
        Some((first, rest)) if first == "web" => web::run(rest),
        Some((first, rest)) if first == "web-service" => web::serve(rest),
        Some((first, [])) if first == "stream-round" => stream_builds::round(),
        Some((first, rest)) if first == "stream-builds" => stream_builds::compare(rest),
        Some((first, rest)) if first == "publish" => publish::run(rest),
        _ => measure(args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: Vec<String>) -> Result<bool, String> {
    let command = format!("cargo xtask bench {}", args.join(" "));
    let options = args::parse(args)?;
    print!("# Measurements\n\n{}", report::preamble(command.trim_end()));
    if options.only.as_deref() == Some("streams") {
        return streams::run(&options).map(|()| true);
    }
    suite::run(
        options.plans(),
        &|name| options.takes(name),
        || 0,
        |outcome| {
            print!("{}", report::table(&outcome.load, &report::summaries(&outcome)));
        },
    )?;
    Ok(true)
}
