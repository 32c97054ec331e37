//! Finds or installs a Redis server.

use crate::install::{Manager, Rights};
use redis_actix_test::find_server;
use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};

/// Finds the server, or installs one. The error is one line with the remedy.
pub(crate) fn ensure() -> Result<PathBuf, String> {
    let missing = match find_server() {
        Ok(found) => return absolute(&found).map_err(|e| format!("{}: {e}", found.display())),
        Err(missing) => missing,
    };
    // An error if it cannot run: the user selected this server.
    if env::var_os("REDIS_SERVER").is_some_and(|value| !value.is_empty()) {
        return Err(missing.to_string());
    }
    if let Some(found) = beside_path() {
        return Ok(found);
    }
    install()?;
    find_server().ok().or_else(beside_path).ok_or_else(|| {
        "the package was installed, but there is no redis-server or valkey-server on PATH: set REDIS_SERVER to its path".to_owned()
    })
}

/// Directories of packaged servers outside of a user's PATH.
fn beside_path() -> Option<PathBuf> {
    ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"]
        .iter()
        .flat_map(|dir| ["redis-server", "valkey-server"].map(|name| Path::new(dir).join(name)))
        .find(|path| is_program(path))
}

fn install() -> Result<(), String> {
    let Some(manager) = Manager::choose(on_path) else {
        return Err(
            "there is no Redis server and no package manager known here (apt-get, dnf, apk, pacman, zypper, brew): \
             install redis-server or valkey-server, or set REDIS_SERVER to its path"
                .to_owned(),
        );
    };
    let rights = rights();
    let by_hand = manager.by_hand();
    let Some(plan) = manager.plan(rights) else {
        return Err(format!(
            "there is no Redis server, and installing one needs root (`sudo -n` is refused): run `{by_hand}`, or set REDIS_SERVER to its path"
        ));
    };
    println!("no redis-server or valkey-server found: installing one");
    for command in &plan.before {
        // An outdated package list may suffice; the installation decides.
        run(command);
    }
    if !plan.alternatives.iter().any(|command| run(command)) {
        return Err(format!(
            "the Redis server could not be installed: run `{by_hand}` and see, or set REDIS_SERVER to its path"
        ));
    }
    if Path::new("/run/systemd/system").exists() {
        for command in &plan.no_daemon {
            run(command);
        }
    }
    Ok(())
}

/// Prints the command line and runs it with visible output.
fn run(words: &[String]) -> bool {
    println!("+ {}", words.join(" "));
    let Some((program, args)) = words.split_first() else {
        return false;
    };
    match Command::new(program).args(args).stdin(Stdio::null()).status() {
        Ok(status) => status.success(),
        Err(e) => {
            eprintln!("xtask: cannot run {program}: {e}");
            false
        }
    }
}

fn rights() -> Rights {
    let quietly = |program: &str, args: &[&str]| {
        Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output()
    };
    if quietly("id", &["-u"]).is_ok_and(|output| output.stdout.trim_ascii() == b"0") {
        Rights::Root
    } else if quietly("sudo", &["-n", "true"]).is_ok_and(|output| output.status.success()) {
        Rights::Sudo
    } else {
        Rights::None
    }
}

pub(crate) fn on_path(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| is_program(&dir.join(name))))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
