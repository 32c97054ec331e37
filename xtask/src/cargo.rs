//! Cargo, called from a program cargo started.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// The same cargo that runs us, in the workspace, with the server the tests are to use.
pub(crate) fn command(server: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("REDIS_SERVER", server);
    // Set for us by the outer cargo. Build scripts that watch them would run again each time the two ways of calling
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

/// Becomes the demo, so that its exit code and the signals to it are its own. Comes back only with the reason why not.
pub(crate) fn become_demo(server: &Path, args: &[OsString]) -> String {
    let error = command(server).args(["run", "--release", "--example", "message_service", "--"]).args(args).exec();
    format!("cannot run cargo: {error}")
}
