//! Why there is no connection, in words that say what to do.

use std::fmt;

use crate::config::Address;

/// What kind of failure, for decisions; the words are in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialErrorKind {
    /// The host name does not resolve.
    Resolve,
    /// No address of the server took the connection.
    Connect,
    /// The deadline passed.
    Timeout,
    /// A certificate or key file is missing or bad, or TLS cannot be had as configured.
    TlsConfig,
    /// The server's certificate was refused: unknown issuer, wrong name, expired, not yet valid.
    TlsCertificate,
    /// The server refused our certificate, or that there was none.
    TlsClientCertificate,
    /// Any other end of a TLS handshake, above all a peer that does not speak TLS.
    TlsHandshake,
    /// The connected socket failed.
    Io,
}

/// A connection that could not be made. Holds no secret: addresses, file names and what the other side said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialError {
    kind: DialErrorKind,
    message: String,
}

impl DialError {
    pub(crate) fn new(kind: DialErrorKind, address: &Address, problem: impl fmt::Display) -> Self {
        Self { kind, message: format!("cannot connect to redis at {address}: {problem}") }
    }

    pub(crate) fn kind(&self) -> DialErrorKind {
        self.kind
    }

    /// Whether the same attempt fails until somebody changes a configuration, here or at the server. The connection is parked then;
    /// everything else is worth a try after a short while.
    pub(crate) fn is_refusal(&self) -> bool {
        match self.kind {
            DialErrorKind::TlsConfig | DialErrorKind::TlsCertificate | DialErrorKind::TlsClientCertificate => true,
            DialErrorKind::Resolve
            | DialErrorKind::Connect
            | DialErrorKind::Timeout
            | DialErrorKind::TlsHandshake
            | DialErrorKind::Io => false,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DialError {}
