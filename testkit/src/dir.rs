//! Resources of a server on the machine: a directory and a free port.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, io, process};

/// A directory that is removed with this value.
#[derive(Debug)]
pub(crate) struct TempDir {
    path: PathBuf,
}

impl TempDir {
    pub(crate) fn create() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            // A short name: the path of a Unix socket is limited to about a hundred bytes.
            let name = format!("redis-test-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                // The server reports its directory with links resolved, and that identifies the server.
                Ok(()) => {
                    return path.canonicalize().map(|path| Self { path });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    return Err(io::Error::new(e.kind(), format!("cannot create {}: {e}", path.display())));
                }
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // The error has no receiver; at worst a temporary directory remains.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// A loopback port that was free a moment ago.
///
/// On Linux it lies outside of the range for outgoing connections, so that it stays free while a server is down: a client
/// that dials a dead port repeatedly eventually gets that port as its local one, connects to itself, and blocks the
/// server's restart. It is at most 55535, so that `port + 10000` (the bus of a Redis cluster node) is a port as well.
/// Another process may take it before it is bound: then request another one.
///
/// # Errors
///
/// When the system has no free port.
pub fn free_port() -> io::Result<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_outgoing: u16 = range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap_or_default();
    for _ in 0..1000 {
        let port = LOWEST + random() % first_outgoing.saturating_sub(LOWEST).max(1);
        if first_outgoing > LOWEST && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    given_port()
}

/// Lower ports belong to well-known services.
const LOWEST: u16 = 10_240;

fn random() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

/// A port that the system chooses, by binding port 0.
fn given_port() -> io::Result<u16> {
    // Rejected ports stay bound until the end, or the system could return the same one again.
    let mut refused = Vec::new();
    for _ in 0..1000 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if port <= HIGHEST && port != 6379 {
            return Ok(port);
        }
        refused.push(listener);
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free loopback port below 55536"))
}

const HIGHEST: u16 = u16::MAX - 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_differ_and_are_removed() -> io::Result<()> {
        let (one, two) = (TempDir::create()?, TempDir::create()?);
        assert_ne!(one.path(), two.path());
        fs::write(one.path().join("file"), "x")?;
        let path = one.path().to_path_buf();
        drop(one);
        assert!(!path.exists());
        assert!(two.path().exists());
        Ok(())
    }

    #[test]
    fn a_free_port_can_be_bound() -> io::Result<()> {
        for port in [free_port()?, given_port()?] {
            assert!((1024..=HIGHEST).contains(&port), "{port}");
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        }
        Ok(())
    }
}
