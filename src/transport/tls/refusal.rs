//! Error messages for rustls errors.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::super::dial_error::{DialError, DialErrorKind};
use crate::config::Address;

/// The maximum number of shown names of a server's certificate, which may contain thousands and are the peer's words.
const SHOWN_NAMES: usize = 8;

/// Interprets a TLS error inside `error`; `None` if it is another error, for example if the peer closed the
/// connection.
pub(crate) fn refusal(address: &Address, error: &io::Error) -> Option<DialError> {
    let cause = error.get_ref()?.downcast_ref::<Error>()?;
    let (kind, problem) = match cause {
        Error::InvalidCertificate(problem) => (DialErrorKind::TlsCertificate, certificate(problem)),
        Error::AlertReceived(alert) => alerted(*alert),
        Error::InvalidMessage(_) => (
            DialErrorKind::TlsHandshake,
            "the server does not speak tls on this port; use its tls port, or redis:// for plain text".to_owned(),
        ),
        other => (DialErrorKind::TlsHandshake, format!("the tls handshake failed: {other}")),
    };
    Some(DialError::new(kind, address, problem))
}

fn certificate(problem: &CertificateError) -> String {
    let what = match problem {
        CertificateError::UnknownIssuer => {
            "unknown issuer, it is not signed by a trusted authority; set REDIS_TLS_CA to the authority that signed it"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
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
                    "{REFUSED}it contains no name (no subjectAltName; a common name does not count); issue a new one with {} \
                     as a name, or set REDIS_TLS_VERIFY=ca to accept any name that the authority has signed",
                    expected.to_str()
                );
            }
            format!(
                "wrong name, it is not valid for {} but for {names}; connect with one of its names, set \
                 REDIS_TLS_SERVER_NAME to one, or set REDIS_TLS_VERIFY=ca",
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => "wrong name; connect with one of its names".to_owned(),
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

/// Errors that do not depend on the trusted authorities.
fn unusual(problem: &str) -> String {
    if problem.contains("UnsupportedCertVersion") {
        return "it is of X.509 version 1, as openssl issues certificates without extensions; issue a new one with the \
                server's host as subjectAltName (openssl x509 -req -extfile)"
            .to_owned();
    }
    if problem.contains("CaUsedAsEndEntity") {
        return "it is the certificate of an authority and not of a server; use one that the authority signed for the server"
            .to_owned();
    }
    format!("{problem}; replace it")
}

/// `redis.example` from rustls' `DnsName("redis.example")`; other texts are unchanged.
fn bare(name: &str) -> &str {
    name.split_once('(')
        .and_then(|(_, inside)| inside.strip_suffix(')'))
        .map_or(name, |inside| inside.trim_matches('"'))
}

fn alerted(alert: AlertDescription) -> (DialErrorKind, String) {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => (
            DialErrorKind::TlsClientCertificate,
            "the server requires a client certificate; set REDIS_TLS_CERT and REDIS_TLS_KEY"
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
                "the server refused the client certificate ({alert:?}); check REDIS_TLS_CERT and REDIS_TLS_KEY"
            ),
        ),
        // Before TLS 1.3 there is no separate alert for a missing client certificate.
        AlertDescription::HandshakeFailure => (
            DialErrorKind::TlsHandshake,
            "the server refused the tls handshake; it may require a client certificate (REDIS_TLS_CERT and REDIS_TLS_KEY), or supports no common cipher".to_owned(),
        ),
        other => (
            DialErrorKind::TlsHandshake,
            format!("the server ended the tls handshake ({other:?})"),
        ),
    }
}
