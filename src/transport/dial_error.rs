//! Errors of connection attempts.

use std::fmt;

use crate::config::Address;

/// The kind of the failure, for decisions; the text is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialErrorKind {
    /// The host name does not resolve.
    Resolve,
    /// No address of the server accepted the connection.
    Connect,
    /// The deadline passed.
    Timeout,
    /// A certificate or key file is missing or invalid, or TLS is not possible as configured.
    TlsConfig,
    /// The server's certificate was refused: unknown issuer, wrong name, expired, not yet valid.
    TlsCertificate,
    /// The server refused the client certificate, or requires one.
    TlsClientCertificate,
    /// Any other failure of a TLS handshake, in particular a peer without TLS.
    TlsHandshake,
    /// The connected socket failed.
    Io,
}

/// A failed connection attempt. Contains no secret: addresses, file names, and the peer's words.
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

    /// Whether the attempt fails until the configuration, here or on the server, is changed. The connection is parked
    /// then; all other failures are retried soon.
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
