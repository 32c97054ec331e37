//! What TLS needs to know.

use std::path::Path;

use super::pem::Pem;

/// How to speak TLS with the server. Files are read when a connection is made, not before. `Debug` shows paths, and
/// nothing of PEM text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub(crate) ca: Option<Pem>,
    pub(crate) cert: Option<Pem>,
    pub(crate) key: Option<Pem>,
    pub(super) server_name: Option<String>,
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

    /// The name that the server's certificate must be for; `None` means the host that is dialled.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}
