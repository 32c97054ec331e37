//! `cargo xtask prefix-report`: the effect of the prefix on every command of a server.
//!
//! The report itself is an example of the corpus: it needs the crate, which this program must not, because it is built
//! before every other check.

use std::process::ExitCode;

use crate::{cargo, server};

const REPORT: [&str; 7] = ["run", "--quiet", "--package", "redis-actix-corpus", "--example", "prefix_report", "--"];

/// Runs the report with the arguments after `prefix-report`.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let program = if args.is_empty() {
        match server::ensure() {
            Ok(server) => server,
            Err(e) => return crate::cannot(&e),
        }
    } else {
        Default::default()
    };
    match cargo::command(&program).args(REPORT).args(args).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(e) => crate::cannot(&format!("cannot run cargo: {e}")),
    }
}
