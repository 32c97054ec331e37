//! What TLS needs to know.

use std::{fmt, path::Path, str::FromStr};

use super::pem::Pem;

/// What of a server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TlsVerify {
    /// That a trusted authority has signed it, and that it is for the name of the server. The default.
    #[default]
    Full,
    /// Only that a trusted authority has signed it: for certificates without the names of their servers. With an
    /// authority that signs for others as well, each of those can pose as the server.
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
            _ => Err("must be full (authority and name) or ca (authority only); there is no value for no verification"),
        }
    }
}

/// How to speak TLS with the server. Files are read when a connection is made, not before. `Debug` shows paths, and
/// nothing of PEM text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub(crate) ca: Option<Pem>,
    pub(crate) cert: Option<Pem>,
    pub(crate) key: Option<Pem>,
    pub(super) server_name: Option<String>,
    pub(super) verify: TlsVerify,
}

impl TlsSettings {
    /// The PEM file of the certificate authorities to trust; `None` if their text was given, or those of the system are
    /// trusted.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_ref()?.file()
    }

    /// The PEM file of the client's certificate chain; `None` if its text was given, or there is none.
    #[must_use]
    pub fn cert(&self) -> Option<&Path> {
        self.cert.as_ref()?.file()
    }

    /// The PEM file of the client's private key; `None` if its text was given, or there is none.
    #[must_use]
    pub fn key(&self) -> Option<&Path> {
        self.key.as_ref()?.file()
    }

    /// Whether the client shows a certificate.
    #[must_use]
    pub fn has_client_certificate(&self) -> bool {
        self.cert.is_some()
    }

    /// What of a server's certificate is verified.
    #[must_use]
    pub fn verify(&self) -> TlsVerify {
        self.verify
    }

    /// The name that the server's certificate must be for; `None` means the host that is dialled.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}
