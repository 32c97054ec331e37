//! What TLS needs to know.

use std::path::{Path, PathBuf};

/// How to speak TLS with the server. The files are read when a connection is made, not before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) server_name: Option<String>,
}

impl TlsSettings {
    /// A PEM file of the certificate authorities to trust; `None` trusts those of the system.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// A PEM file of the client's certificate chain. Never set without [`key`](Self::key).
    #[must_use]
    pub fn cert(&self) -> Option<&Path> {
        self.cert.as_deref()
    }

    /// A PEM file of the client's private key. Never set without [`cert`](Self::cert).
    #[must_use]
    pub fn key(&self) -> Option<&Path> {
        self.key.as_deref()
    }

    /// The name that the server's certificate must be for; `None` means the host that is dialled.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}
