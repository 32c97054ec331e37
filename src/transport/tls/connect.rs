//! The rustls configuration and the handshake.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use zeroize::Zeroizing;

use super::super::dial_error::{DialError, DialErrorKind};
use super::any_name::AnyName;
use super::{ClientIdentity, Pem, Tls, TlsOptions, refusal};
use crate::config::Address;

/// The maximum number of certificates read from one file: the system's bundles have about 150.
const MAX_CERTIFICATES: usize = 4096;

/// The maximum number of bytes read from a PEM file.
const MAX_PEM: u64 = 16 * 1024 * 1024;

impl Tls {
    /// Performs the TLS handshake on a connected socket.
    pub(crate) async fn secure(
        &self,
        address: &Address,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let name = self.options.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            let problem = format!("'{name}' is not a valid name in a certificate; set REDIS_TLS_SERVER_NAME");
            DialError::new(DialErrorKind::TlsConfig, address, problem)
        })?;
        let connector = self.connector(address).await?;
        connector.connect(name, stream).await.map_err(|error| {
            refusal(address, &error).unwrap_or_else(|| {
                DialError::new(
                    DialErrorKind::TlsHandshake,
                    address,
                    format_args!("the tls handshake failed: {error}; does this port speak tls?"),
                )
            })
        })
    }

    /// The configuration, which is rebuilt if one of its files has changed. A failure is not stored, because a
    /// missing file may be created later.
    async fn connector(&self, address: &Address) -> Result<TlsConnector, DialError> {
        let read = self.reads.run(|| {
            let (options, last) = (self.options.clone(), self.built.clone());
            // On a separate thread, because reading the files must not block the actors of this one.
            let read = tokio::task::spawn_blocking(move || refresh(&options, &last));
            async move { read.await.unwrap_or_else(|_| Err(INTERRUPTED.to_owned())) }
        });
        let last =
            || self.built.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|built| built.connector.clone());
        let read = match last() {
            // A disk that hangs must not prevent a connection with the previous files.
            Some(last) => timeout(SLOW_READ, read).await.unwrap_or(Some(Ok(last))),
            None => read.await,
        };
        read.unwrap_or_else(|| Err(INTERRUPTED.to_owned()))
            .map_err(|problem| DialError::new(DialErrorKind::TlsConfig, address, problem))
    }
}

/// If the files were read before, a slower read is not awaited.
const SLOW_READ: Duration = Duration::from_secs(1);
const INTERRUPTED: &str = "reading the certificates was interrupted";

/// A configuration, and the state of its files when they were read.
pub(super) struct Built {
    connector: TlsConnector,
    stamps: Stamps,
}

/// The most recent configuration.
pub(super) type LastBuilt = Arc<Mutex<Option<Built>>>;

/// The result of reading the files.
pub(super) type Read = Result<TlsConnector, String>;

/// Identifies the version of each file as far as the system reports it: its length and modification time, and on Unix
/// its inode and status change time.
type Stamps = Vec<Option<(u64, Option<SystemTime>, [i64; 3])>>;

/// The current configuration. Blocks while the files are read.
fn refresh(options: &TlsOptions, last: &Mutex<Option<Built>>) -> Read {
    let last_built = || last.lock().unwrap_or_else(PoisonError::into_inner);
    // Taken before the files are read, so that a change in between causes another read.
    let stamps = stamps(options);
    let known = last_built().as_ref().map(|built| (built.stamps == stamps, built.connector.clone()));
    if let Some((true, connector)) = known {
        return Ok(connector);
    }
    match (connector(options), known) {
        (Ok(connector), _) => {
            *last_built() = Some(Built { connector: connector.clone(), stamps });
            Ok(connector)
        }
        // The files may be in the middle of a replacement, and the previous configuration is still valid.
        (Err(problem), Some((_, connector))) => {
            tracing::warn!(event = "tls.files_invalid", %problem, "the tls files have changed and are invalid, the previous ones remain in use");
            Ok(connector)
        }
        (Err(problem), None) => Err(problem),
    }
}

fn stamps(options: &TlsOptions) -> Stamps {
    let identity = options.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
    let stamp = |pem: &Pem| match pem {
        Pem::File(path) => {
            std::fs::metadata(path).ok().map(|meta| (meta.len(), meta.modified().ok(), identity_of(&meta)))
        }
        Pem::Text(_) => None,
    };
    options.ca.iter().chain(identity).map(stamp).collect()
}

#[cfg(unix)]
fn identity_of(meta: &std::fs::Metadata) -> [i64; 3] {
    use std::os::unix::fs::MetadataExt;
    [meta.ino().cast_signed(), meta.ctime(), meta.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity_of(_: &std::fs::Metadata) -> [i64; 3] {
    [0; 3]
}

fn connector(options: &TlsOptions) -> Result<TlsConnector, String> {
    Ok(TlsConnector::from(Arc::new(client_config(options)?)))
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, String> {
    // Passed explicitly, because the process-wide default panics if two providers are compiled in.
    let provider = Arc::new(crypto::ring::default_provider());
    let roots = match &options.ca {
        Some(ca) => given_authorities(ca)?,
        None => system_authorities()?,
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("tls cannot be configured: {error}"))?;
    let builder = if options.any_name {
        let verifier = AnyName::new(roots, provider)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.with_root_certificates(roots)
    };
    let Some(ClientIdentity { certificate, key }) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate, "client certificate")?;
    let text = read(key, "client key")?;
    // The parser's text is not included, because it could quote the key.
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("the client key in the {key} is not an unencrypted pem key"))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| {
        format!("the client certificate in the {certificate} and the key in the {key} cannot be used together: {error}")
    })
}

fn given_authorities(ca: &Pem) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "ca certificate")? {
        roots.add(certificate).map_err(|error| format!("a ca certificate in the {ca} cannot be used: {error}"))?;
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Old bundles contain certificates that no verifier accepts; they are skipped.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let cause = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(format!(
            "no certificate authorities found on this system{cause}; install ca-certificates or set REDIS_TLS_CA"
        ));
    }
    Ok(roots)
}

fn certificates(pem: &Pem, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(pem, what)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .take(MAX_CERTIFICATES)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("the {what} in the {pem} is not pem"))?;
    if found.is_empty() {
        return Err(format!("there is no {what} in the {pem}; it must be pem"));
    }
    Ok(found)
}

/// The content of `pem`, erased when dropped.
fn read(pem: &Pem, what: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = match pem {
        Pem::Text(text) => return Ok(Zeroizing::new(text.expose().to_vec())),
        Pem::File(path) => path,
    };
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(MAX_PEM).read_to_end(&mut text))
        .map_err(|error| format!("the {what} in the {pem} cannot be read: {error}"))?;
    Ok(text)
}
