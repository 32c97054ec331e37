//! What an error of rustls means to somebody who set up a server.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::super::dial_error::{DialError, DialErrorKind};
use crate::config::Address;

/// Names in a server's certificate that are shown: it may hold thousands, and they are the peer's words.
const SHOWN_NAMES: usize = 8;

/// The meaning of a TLS error inside `error`; `None` when it is none, as when the peer just hung up.
pub(crate) fn refusal(address: &Address, error: &io::Error) -> Option<DialError> {
    let cause = error.get_ref()?.downcast_ref::<Error>()?;
    let (kind, problem) = match cause {
        Error::InvalidCertificate(problem) => (DialErrorKind::TlsCertificate, certificate(problem)),
        Error::AlertReceived(alert) => alerted(*alert),
        Error::InvalidMessage(_) => (
            DialErrorKind::TlsHandshake,
            "the server does not speak tls on this port; use its tls port, or redis:// if plain text is meant"
                .to_owned(),
        ),
        other => (DialErrorKind::TlsHandshake, format!("the tls handshake failed: {other}")),
    };
    Some(DialError::new(kind, address, problem))
}

fn certificate(problem: &CertificateError) -> String {
    let what = match problem {
        CertificateError::UnknownIssuer => {
            "unknown issuer, it is signed by no authority trusted here; set REDIS_TLS_CA to the authority that signed it".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let mut names = presented
                .iter()
                .take(SHOWN_NAMES)
                .map(|name| bare(name).escape_debug().to_string())
                .collect::<Vec<_>>()
                .join(", ");
            if presented.len() > SHOWN_NAMES {
                names.push_str(", ...");
            }
            if names.is_empty() {
                return format!(
                    "{REFUSED}it carries no name (no subjectAltName; a common name does not count); make it anew with {} \
                     as one, or set REDIS_TLS_VERIFY=ca to accept any name that the authority has signed",
                    expected.to_str()
                );
            }
            format!(
                "wrong name, it is not made for {} but for {names}; connect by a name that it carries, set \
                 REDIS_TLS_SERVER_NAME to one, or set REDIS_TLS_VERIFY=ca",
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => {
            "wrong name; connect by a name that it carries".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "expired; renew it, or check the clock of this machine".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not yet valid; check the clocks of this machine and of its issuer".to_owned()
        }
        CertificateError::Revoked => "revoked by its issuer; replace it".to_owned(),
        other => unusual(&other.to_string()),
    };
    format!("{REFUSED}{what}")
}

const REFUSED: &str = "the server's certificate was refused: ";

/// What no verifier takes, whatever authority is trusted.
fn unusual(problem: &str) -> String {
    if problem.contains("UnsupportedCertVersion") {
        return "it is of X.509 version 1, as openssl makes certificates without extensions; make it anew with the \
                server's host as subjectAltName (openssl x509 -req -extfile)"
            .to_owned();
    }
    if problem.contains("CaUsedAsEndEntity") {
        return "it is that of an authority, and not that of a server; have the authority sign one for the server"
            .to_owned();
    }
    format!("{problem}; replace it")
}

/// `redis.example` out of rustls' `DnsName("redis.example")`; anything else as it is.
fn bare(name: &str) -> &str {
    name.split_once('(')
        .and_then(|(_, inside)| inside.strip_suffix(')'))
        .map_or(name, |inside| inside.trim_matches('"'))
}

fn alerted(alert: AlertDescription) -> (DialErrorKind, String) {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => (
            DialErrorKind::TlsClientCertificate,
            "the server wants a client certificate; set REDIS_TLS_CERT and REDIS_TLS_KEY"
                .to_owned(),
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => (
            DialErrorKind::TlsClientCertificate,
            format!(
                "the server refused our client certificate ({alert:?}); check REDIS_TLS_CERT and REDIS_TLS_KEY"
            ),
        ),
        // Before TLS 1.3 servers have no alert of its own for a missing client certificate.
        AlertDescription::HandshakeFailure => (
            DialErrorKind::TlsHandshake,
            "the server refused the tls handshake; it may want a client certificate (REDIS_TLS_CERT and REDIS_TLS_KEY), or shares no cipher with us".to_owned(),
        ),
        other => (
            DialErrorKind::TlsHandshake,
            format!("the server ended the tls handshake ({other:?})"),
        ),
    }
}
