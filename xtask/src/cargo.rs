//! Runs cargo from a program that cargo started.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// The cargo that started this program, in the workspace, with the server for tests.
pub(crate) fn command(server: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("REDIS_SERVER", server);
    // The outer cargo sets them. Build scripts that depend on them would run again whenever the two ways to call
    // cargo alternate.
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// Replaces this process by the demo, which then has its own exit code and signals. Returns only on an error.
pub(crate) fn become_demo(server: &Path, args: &[OsString]) -> String {
    let cargo = ["run", "--profile", "demo", "--package", "redis-actix-demo", "--"];
    let error = command(server).args(cargo).args(args).exec();
    format!("cannot run cargo: {error}")
}
