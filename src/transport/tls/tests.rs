#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, crypto, version};

use super::super::dial::{Target, dial};
use super::super::dial_error::{DialError, DialErrorKind};
use super::super::socket::Transport;
use super::*;
use crate::config::{Address, HostPort};
use crate::protocol::decode::{Decoder, Limits, ProtocolError};

const LONG: Duration = Duration::from_secs(20);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `localhost`, modified by `change`.
fn certificate(issuer: &Authority, change: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}

fn text(pem: String) -> Pem {
    Pem::Text(pem.into())
}

/// Serves TLS on loopback: replies with one `+PONG` to each connection that sends bytes.
async fn server(
    (certificate, key): (Certificate, KeyPair),
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> u16 {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 64]).await;
                let _ = stream.write_all(b"+PONG\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    port
}

fn target(port: u16, options: TlsOptions) -> Target {
    Target {
        address: Address::Tcp(HostPort { host: "localhost".into(), port }),
        tls: Some(Arc::new(Tls::new(options))),
        user_timeout: None,
    }
}

fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions { ca: Some(text(authority.pem())), ..TlsOptions::default() }
}

/// Connects and sends PING. Returns the reply, or the error of the first step that failed.
async fn ping(target: &Target) -> Result<Vec<u8>, DialError> {
    let mut transport = dial(target, LONG).await?;
    assert_eq!(matches!(transport, Transport::Tls(_)), target.tls.is_some(), "never plain text if tls is configured");
    let mut answer = vec![0; 7];
    let asked = async {
        transport.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        transport.flush().await?;
        transport.read_exact(&mut answer).await
    };
    match asked.await {
        Ok(_) => Ok(answer),
        Err(error) => Err(target.before_ready(&error)),
    }
}

async fn refused(target: &Target, kind: DialErrorKind, words: &str) {
    let error = ping(target).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let shown = error.to_string();
    assert!(shown.contains(words), "{shown}");
    assert!(shown.contains(&target.address.to_string()), "{shown}");
}

#[tokio::test]
async fn a_good_server_is_reached_with_both_versions() {
    let ca = authority("good");
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        let port = server(certificate(&ca, |_| {}), None, versions).await;
        let target = target(port, trusting(&ca));
        for _ in 0..2 {
            assert_eq!(ping(&target).await.unwrap(), b"+PONG\r\n");
        }
    }
}

#[tokio::test]
async fn vectored_writes_are_supported() {
    let ca = authority("good");
    let port = server(certificate(&ca, |_| {}), None, &[&version::TLS13]).await;
    let mut transport = dial(&target(port, trusting(&ca)), LONG).await.unwrap();
    assert!(transport.is_write_vectored());
    let pieces = [io::IoSlice::new(b"PI"), io::IoSlice::new(b"NG\r\n")];
    assert_eq!(transport.write_vectored(&pieces).await.unwrap(), 6);
    transport.flush().await.unwrap();
    let mut answer = [0; 7];
    transport.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[tokio::test]
async fn an_unknown_issuer_is_refused() {
    let port = server(certificate(&authority("other"), |_| {}), None, &[&version::TLS13]).await;
    let target = target(port, trusting(&authority("ours")));
    refused(&target, DialErrorKind::TlsCertificate, "unknown issuer").await;
    assert!(ping(&target).await.unwrap_err().is_refusal());
}

#[tokio::test]
async fn the_test_authority_is_not_trusted_by_the_system() {
    let port = server(certificate(&authority("other"), |_| {}), None, &[&version::TLS13]).await;
    let error = ping(&target(port, TlsOptions::default())).await.unwrap_err();
    // A machine without any authority returns another error.
    assert!(matches!(error.kind(), DialErrorKind::TlsCertificate | DialErrorKind::TlsConfig), "{error}");
    assert!(error.is_refusal() && error.to_string().contains("REDIS_TLS_CA"), "{error}");
}

#[tokio::test]
async fn a_wrong_name_is_refused_unless_it_is_configured() {
    let ca = authority("good");
    let named = certificate(&ca, |params| {
        params.subject_alt_names = CertificateParams::new(vec!["redis.example".to_owned()]).unwrap().subject_alt_names;
    });
    let port = server(named, None, &[&version::TLS13]).await;
    let words = "wrong name, it is not valid for localhost but for redis.example;";
    refused(&target(port, trusting(&ca)), DialErrorKind::TlsCertificate, words).await;

    let mut options = trusting(&ca);
    options.server_name = Some("redis.example".into());
    assert_eq!(ping(&target(port, options)).await.unwrap(), b"+PONG\r\n");
}

#[tokio::test]
async fn an_expired_or_future_certificate_is_refused() {
    let ca = authority("good");
    for ((from, to), words) in [((2001, 2002), "expired"), ((2990, 2991), "not yet valid")] {
        let dated = certificate(&ca, |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        });
        let port = server(dated, None, &[&version::TLS13]).await;
        let target = target(port, trusting(&ca));
        refused(&target, DialErrorKind::TlsCertificate, words).await;
    }
}

#[tokio::test]
async fn errors_name_a_missing_or_untrusted_client_certificate() {
    let ca = authority("good");
    let own = |authority: &Authority| {
        let (certificate, key) = certificate(authority, |_| {});
        TlsOptions {
            identity: Some(ClientIdentity { certificate: text(certificate.pem()), key: text(key.serialize_pem()) }),
            ..trusting(&ca)
        }
    };
    let port = server(certificate(&ca, |_| {}), Some(&ca), &[&version::TLS13]).await;
    let wants = DialErrorKind::TlsClientCertificate;
    refused(&target(port, trusting(&ca)), wants, "requires a client certificate").await;
    refused(&target(port, own(&authority("foreign"))), wants, "refused the client certificate").await;
    assert_eq!(ping(&target(port, own(&ca))).await.unwrap(), b"+PONG\r\n");

    let port = server(certificate(&ca, |_| {}), Some(&ca), &[&version::TLS12]).await;
    let error = ping(&target(port, trusting(&ca))).await.unwrap_err();
    assert!(error.to_string().contains("client certificate"), "{error}");
}

/// A plain server that replies to the first bytes, or waits for the end of a line that is never sent.
async fn plain(answer: Option<&'static [u8]>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16]).await;
            if let Some(answer) = answer {
                let _ = stream.write_all(answer).await;
            }
            open.push(stream);
        }
    });
    port
}

#[tokio::test]
async fn errors_name_a_plain_server_on_the_tls_port() {
    let options = trusting(&authority("any"));
    let port = plain(Some(b"-ERR unknown command\r\n")).await;
    let words = "does not speak tls on this port";
    refused(&target(port, options.clone()), DialErrorKind::TlsHandshake, words).await;

    let port = plain(None).await;
    let error = dial(&target(port, options.clone()), Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Timeout);
    assert!(error.to_string().contains("does this port speak tls?"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let words = "does this port speak tls?";
    refused(&target(port, options), DialErrorKind::TlsHandshake, words).await;
}

#[tokio::test]
async fn errors_name_a_tls_server_on_the_plain_port() {
    let ca = authority("good");
    let port = server(certificate(&ca, |_| {}), None, &[&version::TLS13]).await;
    let mut plain = target(port, TlsOptions::default());
    plain.tls = None;
    let answer = ping(&plain).await.unwrap();
    let error = Decoder::new(Limits::default()).decode(&answer, &mut 0);
    assert_eq!(error, Err(ProtocolError::UnknownType(0x15)));
    let words = error.unwrap_err().to_string();
    assert!(words.contains("rediss://"), "{words}");
}

#[tokio::test]
async fn errors_name_invalid_files_and_these_are_read_again() {
    let ca = authority("good");
    let port = server(certificate(&ca, |_| {}), None, &[&version::TLS13]).await;
    let path = std::env::temp_dir().join(format!("redis-actix-ca-{}.pem", std::process::id()));
    let late = target(port, TlsOptions { ca: Some(Pem::File(path.clone())), ..TlsOptions::default() });
    refused(&late, DialErrorKind::TlsConfig, "redis-actix-ca-").await;
    std::fs::write(&path, "nothing in here").unwrap();
    refused(&late, DialErrorKind::TlsConfig, "no ca certificate").await;
    std::fs::write(&path, ca.pem()).unwrap();
    let answer = ping(&late).await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(answer.unwrap(), b"+PONG\r\n");
    // The configuration is built once: the file is not needed any more.
    assert_eq!(ping(&late).await.unwrap(), b"+PONG\r\n");

    let (own, _) = certificate(&ca, |_| {});
    let with_key = |key: String| TlsOptions {
        identity: Some(ClientIdentity { certificate: text(own.pem()), key: text(key) }),
        ..trusting(&ca)
    };
    let other = KeyPair::generate().unwrap().serialize_pem();
    let mismatch = target(port, with_key(other));
    refused(&mismatch, DialErrorKind::TlsConfig, "cannot be used together").await;
    let canary = "-----BEGIN PRIVATE KEY-----\nCANARY!!\n-----END PRIVATE KEY-----\n";
    let broken = target(port, with_key(canary.into()));
    let error = ping(&broken).await.unwrap_err();
    assert!(error.is_refusal() && !format!("{error:?} {broken:?}").contains("CANARY"));

    let mut unnamed = trusting(&ca);
    unnamed.server_name = Some("not a name".into());
    refused(&target(port, unnamed), DialErrorKind::TlsConfig, "'not a name'").await;
}
