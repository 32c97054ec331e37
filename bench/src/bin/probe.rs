//! One probe, for callgrind: `probe <name> <times> <port>`, the port that of the peer where it needs one.

use std::process::ExitCode;

use redis_actix_bench::probe;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.as_slice() {
        [name, times, port] => match (times.parse(), port.parse()) {
            (Ok(times), Ok(port)) => probe::run(name, times, port),
            _ => Err("the times and the port are numbers".to_owned()),
        },
        _ => Err("usage: probe <name> <times> <port>".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}
