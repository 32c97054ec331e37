//! Finds the server program.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fmt, io};

/// The environment variable with the path of the server program.
const VARIABLE: &str = "REDIS_SERVER";

/// No server program was found. One line with the missing program and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingServer {
    configured: Option<OsString>,
}

impl fmt::Display for MissingServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.configured {
            Some(value) => write!(
                f,
                "{VARIABLE} names {value:?}, which is no program that can be run: set it to the path of a redis-server or valkey-server, or unset it"
            ),
            None => write!(
                f,
                "no redis-server or valkey-server on PATH: run `cargo xtask test`, which installs one, or install it with the system's package manager, or set {VARIABLE} to its path"
            ),
        }
    }
}

impl std::error::Error for MissingServer {}

impl From<MissingServer> for io::Error {
    fn from(missing: MissingServer) -> Self {
        io::Error::new(io::ErrorKind::NotFound, missing)
    }
}

/// Finds the server program: `REDIS_SERVER`, then `redis-server`, then `valkey-server` on `PATH`.
///
/// # Errors
///
/// [`MissingServer`] where there is none. A `REDIS_SERVER` that cannot be run is an error too; otherwise the tests would
/// silently use another server.
pub fn find_server() -> Result<PathBuf, MissingServer> {
    let configured = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    find_in(configured.as_deref(), &env::var_os("PATH").unwrap_or_default())
}

/// The server with the modules of Redis Stack: `REDIS_MODULES_SERVER`, else the one that `cargo xtask modules` of
/// redis-actix installed below `target` of this workspace. `None` where there is none.
#[must_use]
pub fn find_modules_server() -> Option<PathBuf> {
    let configured = env::var_os("REDIS_MODULES_SERVER").filter(|value| !value.is_empty()).map(PathBuf::from);
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/redis-modules/redis-server-with-modules");
    Some(configured.unwrap_or_else(installed)).filter(|path| is_program(path))
}

fn find_in(configured: Option<&OsStr>, path: &OsStr) -> Result<PathBuf, MissingServer> {
    match configured {
        Some(value) => {
            let given = Path::new(value);
            let found = if given.components().count() > 1 {
                is_program(given).then(|| given.to_path_buf())
            } else {
                on_path(value, path)
            };
            found.ok_or_else(|| MissingServer { configured: Some(value.to_owned()) })
        }
        None => ["redis-server", "valkey-server"]
            .iter()
            .find_map(|name| on_path(OsStr::new(name), path))
            .ok_or(MissingServer { configured: None }),
    }
}

fn on_path(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|dir| dir.join(name)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Major, minor and patch version of the server program, and whether it is Valkey.
pub(crate) fn version_of(program: &Path) -> io::Result<((u32, u32, u32), bool)> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("{} --version: {e}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| {
        io::Error::other(format!(
            "{} --version does not look like a Redis server: {:?}",
            program.display(),
            text.trim()
        ))
    })
}

fn parse_version(text: &str) -> Option<((u32, u32, u32), bool)> {
    let numbers = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    let mut parts = numbers.split('.').map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>());
    let major = parts.next()?.parse().ok()?;
    let mut rest = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let (minor, patch) = (rest(), rest());
    Some(((major, minor, patch), text.to_ascii_lowercase().contains("valkey")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::TempDir;
    use std::fs;
    use std::io::Result;

    fn program(dir: &Path, name: &str) -> Result<PathBuf> {
        let path = dir.join(name);
        fs::write(&path, "#!/bin/sh\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    #[test]
    fn redis_comes_before_valkey_and_the_variable_before_both() -> Result<()> {
        let dir = TempDir::create()?;
        let path = dir.path().as_os_str();
        assert!(find_in(None, path).is_err());
        let valkey = program(dir.path(), "valkey-server")?;
        assert_eq!(find_in(None, path).ok(), Some(valkey.clone()));
        let redis = program(dir.path(), "redis-server")?;
        assert_eq!(find_in(None, path).ok(), Some(redis));
        assert_eq!(find_in(Some(valkey.as_os_str()), OsStr::new("")).ok(), Some(valkey.clone()));
        assert_eq!(find_in(Some(OsStr::new("valkey-server")), path).ok(), Some(valkey));
        Ok(())
    }

    #[test]
    fn a_variable_that_names_no_program_is_an_error_in_one_line() -> Result<()> {
        let dir = TempDir::create()?;
        program(dir.path(), "redis-server")?;
        fs::write(dir.path().join("plain"), "not executable")?;
        let plain = dir.path().join("plain");
        for value in [OsStr::new("/nowhere/redis-server"), plain.as_os_str(), dir.path().as_os_str()] {
            match find_in(Some(value), dir.path().as_os_str()) {
                Ok(found) => return Err(io::Error::other(format!("found {found:?}"))),
                Err(e) => {
                    assert!(e.to_string().contains("REDIS_SERVER"));
                    assert_eq!(e.to_string().lines().count(), 1);
                }
            }
        }
        assert_eq!(MissingServer { configured: None }.to_string().lines().count(), 1);
        Ok(())
    }

    #[test]
    fn versions_are_read() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1";
        assert_eq!(parse_version(redis), Some(((7, 0, 15), false)));
        let valkey = "Valkey server v=8.1.1-rc2 sha=00000000:0 bits=64";
        assert_eq!(parse_version(valkey), Some(((8, 1, 1), true)));
        assert_eq!(parse_version("hello"), None);
    }
}
