//! One probe, for callgrind: `probe <name> <times> <port>`, the port that of the peer where it needs one; or
//! `probe <client> <times> <port> <callers>`.

use std::process::ExitCode;

use redis_actix_bench::probe;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.as_slice() {
        [name, times, port] => match (times.parse(), port.parse()) {
            (Ok(times), Ok(port)) => probe::run(name, times, port),
            _ => Err("the times and the port are numbers".to_owned()),
        },
        [name, times, port, callers] => match (times.parse(), port.parse(), callers.parse()) {
            (Ok(times), Ok(port), Ok(callers)) => probe::run_client(name, callers, times, port),
            _ => Err("the times, the port and the callers are numbers".to_owned()),
        },
        _ => Err("usage: probe <name> <times> <port> [<callers>]".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}
