//! TLS with rustls: the options, the configuration built from them, and the error messages.

use std::fmt;

use crate::config::Pem;

#[cfg(feature = "tls")]
mod any_name;
#[cfg(feature = "tls")]
mod connect;
#[cfg(feature = "tls")]
mod refusal;
#[cfg(all(test, feature = "tls"))]
mod tests;

#[cfg(feature = "tls")]
pub(crate) use refusal::refusal;

/// The certificate that the client presents on request.
#[derive(Clone, Debug)]
pub(crate) struct ClientIdentity {
    /// The certificate, followed by the intermediate ones.
    pub(crate) certificate: Pem,
    pub(crate) key: Pem,
}

/// How the server is verified, and the client certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    /// The only trusted authorities; without them those of the system.
    pub(crate) ca: Option<Pem>,
    pub(crate) identity: Option<ClientIdentity>,
    /// The expected name in the server's certificate, if it is not the dialled host.
    pub(crate) server_name: Option<String>,
    /// Whether any name is accepted, so that only the authority is verified.
    pub(crate) any_name: bool,
}

/// The TLS state of one target. The configuration is built by the first connection and kept until one of its files
/// changes: reading the system's authorities takes milliseconds, and it contains the sessions for resumption.
pub(crate) struct Tls {
    options: TlsOptions,
    #[cfg(feature = "tls")]
    built: connect::LastBuilt,
    /// The running read of the files.
    #[cfg(feature = "tls")]
    reads: crate::single_flight::SingleFlight<connect::Read>,
}

impl Tls {
    pub(crate) fn new(options: TlsOptions) -> Self {
        Self {
            options,
            #[cfg(feature = "tls")]
            built: connect::LastBuilt::default(),
            #[cfg(feature = "tls")]
            reads: crate::single_flight::SingleFlight::default(),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.options).finish()
    }
}
