//! TLS settings.

use std::{fmt, path::Path, str::FromStr};

use super::pem::Pem;

/// Which parts of a server's certificate are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TlsVerify {
    /// The signature of a trusted authority, and the name of the server. The default.
    #[default]
    Full,
    /// Only the signature of a trusted authority, for certificates that do not contain the name of the server. If the
    /// authority also signs for others, each of those can impersonate the server.
    Ca,
}

impl fmt::Display for TlsVerify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Ca => "ca",
        })
    }
}

/// The value of REDIS_TLS_VERIFY.
impl FromStr for TlsVerify {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => Ok(Self::Full),
            "ca" => Ok(Self::Ca),
            _ => Err("must be full (authority and name) or ca (authority only); verification cannot be disabled"),
        }
    }
}

/// How to connect with TLS. Files are read when a connection is made, not before. `Debug` shows paths, and no PEM
/// text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub(crate) ca: Option<Pem>,
    pub(crate) cert: Option<Pem>,
    pub(crate) key: Option<Pem>,
    pub(super) server_name: Option<String>,
    pub(super) verify: TlsVerify,
}

impl TlsSettings {
    /// The PEM file of the trusted certificate authorities; `None` if they were given as text, or are those of the
    /// system.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_ref()?.file()
    }

    /// The PEM file of the client's certificate chain; `None` if it was given as text, or there is none.
    #[must_use]
    pub fn cert(&self) -> Option<&Path> {
        self.cert.as_ref()?.file()
    }

    /// The PEM file of the client's private key; `None` if it was given as text, or there is none.
    #[must_use]
    pub fn key(&self) -> Option<&Path> {
        self.key.as_ref()?.file()
    }

    /// Whether the client presents a certificate.
    #[must_use]
    pub fn has_client_certificate(&self) -> bool {
        self.cert.is_some()
    }

    /// Which parts of a server's certificate are verified.
    #[must_use]
    pub fn verify(&self) -> TlsVerify {
        self.verify
    }

    /// The expected name in the server's certificate; `None` means the host that is dialled.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}
