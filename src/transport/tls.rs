//! TLS through rustls: what is configured, the one configuration built from it, and the words for what went wrong.

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

/// What we show to a server that asks who we are.
#[derive(Clone, Debug)]
pub(crate) struct ClientIdentity {
    /// The certificate, followed by those between it and its authority.
    pub(crate) certificate: Pem,
    pub(crate) key: Pem,
}

/// How the server is verified and what it is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    /// The only authorities that are trusted; without it those of the system.
    pub(crate) ca: Option<Pem>,
    pub(crate) identity: Option<ClientIdentity>,
    /// The name that the server's certificate must carry, where it is not the host that is dialled.
    pub(crate) server_name: Option<String>,
    /// Whether the certificate must carry a name at all; without it only its authority counts.
    pub(crate) any_name: bool,
}

/// TLS for one target. The configuration is built by the first connection and kept until a file of it changes: reading the
/// system's authorities costs milliseconds, and resumed sessions live in it.
pub(crate) struct Tls {
    options: TlsOptions,
    #[cfg(feature = "tls")]
    built: connect::LastBuilt,
    /// The read of the files under way.
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
