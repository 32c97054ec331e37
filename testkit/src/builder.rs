//! Options of a server.

use std::path::{Path, PathBuf};

/// Options of a server, see [`RedisServer::builder`](crate::RedisServer::builder).
#[derive(Debug, Clone, Default)]
#[must_use = "no server runs before `start`"]
pub struct RedisServerBuilder {
    pub(crate) program: Option<PathBuf>,
    pub(crate) password: Option<String>,
    pub(crate) unix_socket: bool,
    pub(crate) tls_port: bool,
    pub(crate) sentinel: bool,
    pub(crate) extra: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl RedisServerBuilder {
    /// Runs this program instead of what [`find_server`](crate::find_server) finds.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Keeps an append-only file, so that data outlives [`kill`](crate::RedisServer::kill). Off unless set.
    pub fn appendonly(self, on: bool) -> Self {
        self.arg("--appendonly", if on { "yes" } else { "no" })
    }

    /// Syncs the append-only file before every acknowledgement.
    pub fn fsync_always(self) -> Self {
        self.arg("--appendfsync", "always")
    }

    /// Requires this password from clients.
    pub fn requirepass(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Listens on a unix socket as well, see [`RedisServer::socket_path`](crate::RedisServer::socket_path).
    pub fn unix_socket(mut self, on: bool) -> Self {
        self.unix_socket = on;
        self
    }

    /// Listens for TLS on a second port as well, see [`RedisServer::tls_port`](crate::RedisServer::tls_port). The plain port stays: the kit itself
    /// speaks no TLS. `client_ca` verifies the certificates of clients, which are asked for only where it is given.
    pub fn tls(mut self, certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Self {
        self.tls_port = true;
        let this =
            self.arg("--tls-cert-file", certificate.to_string_lossy()).arg("--tls-key-file", key.to_string_lossy());
        match client_ca {
            Some(ca) => this.arg("--tls-ca-cert-file", ca.to_string_lossy()).arg("--tls-auth-clients", "yes"),
            None => this.arg("--tls-ca-cert-file", certificate.to_string_lossy()).arg("--tls-auth-clients", "no"),
        }
    }

    /// Starts the server as a cluster node. Its bus listens on `port + 10000`.
    pub fn cluster(self) -> Self {
        self.arg("--cluster-enabled", "yes")
    }

    /// Starts a sentinel instead of a server. It monitors no master yet: see `SENTINEL MONITOR`.
    pub fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Adds an option and its value, such as `("--maxmemory", "10mb")`. Later ones win.
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.extend([name.into(), value.into()]);
        self
    }

    /// Adds arguments unchanged, for options with several values such as `["--replicaof", "127.0.0.1", "7000"]`.
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.extra.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable in the environment of the server, such as `LD_PRELOAD`.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}
