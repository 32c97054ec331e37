//! The project's own commands.

mod keytable;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((command, rest)) if command == "keytable" => keytable::run(rest),
        _ => {
            eprintln!("usage: cargo xtask keytable");
            ExitCode::FAILURE
        }
    }
}
