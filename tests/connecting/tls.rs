//! Row 23: TLS against real servers, with certificates made here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{TIME_LIMIT, eventually, hasty, ms, until_state};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, RedisConfig, RedisConfigBuilder};
use redis_actix_test::RedisServer;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// Files of certificates, in the directory of a server that ends with the test.
struct Files(RedisServer);

impl Files {
    fn write(&self, name: &str, text: String) -> PathBuf {
        let path = self.0.dir().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// A certificate for `name` and its key.
    fn pair(&self, issuer: &Authority, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, issuer).expect("signed");
        let file = format!("{}-{}", name, fastrand::u32(..));
        (self.write(&format!("{file}.pem"), certificate.pem()), self.write(&format!("{file}.key"), key.serialize_pem()))
    }
}

fn serve((certificate, key): &(PathBuf, PathBuf), clients: Option<&Path>) -> RedisServer {
    RedisServer::builder().tls(certificate, key, clients).start().unwrap_or_else(|error| panic!("{error}"))
}

fn secure(port: u16, ca: &Path) -> RedisConfigBuilder {
    RedisConfig::builder().host("localhost").port(port).key_prefix("test:").tls(true).tls_ca(ca)
}

/// The connection is refused, fails fast, and says which check it was.
async fn refused(config: RedisConfigBuilder, words: &str) {
    let redis = hasty(config).start().expect("started");
    let error = redis.ready(TIME_LIMIT).await.expect_err("refused");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotSent), "{error}");
    assert!(error.to_string().contains(words), "not `{words}`: {error}");
    until_state(&redis, ConnectionState::Parked).await;
    let error = redis.send(Get::<String>::new("k")).await.expect_err("refused");
    assert!(error.to_string().contains(words), "{error}");
}

#[actix::test]
async fn row_23_every_refusal_says_which_check_failed() {
    let files = Files(crate::support::server());
    let (good, other) = (authority("good"), authority("other"));
    let (ca, other_ca) = (files.write("ca.pem", good.pem()), files.write("other.pem", other.pem()));
    let well = files.pair(&good, "localhost", |_| {});
    let server = serve(&well, None);
    let port = server.tls_port().expect("a port");

    let redis = hasty(secure(port, &ca)).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("over tls");
    assert!(redis.connection_info().tls);

    refused(secure(port, &other_ca), "unknown issuer").await;
    refused(secure(port, &ca).tls_server_name("elsewhere"), "wrong name").await;
    let expired = files.pair(&good, "localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let server_of_old = serve(&expired, None);
    refused(secure(server_of_old.tls_port().expect("a port"), &ca), "expired").await;
    let strict = serve(&well, Some(&ca));
    let strict_port = strict.tls_port().expect("a port");
    refused(secure(strict_port, &ca), "client certificate").await;
    let (certificate, key) = files.pair(&good, "client", |_| {});
    // As text, as from a secret store, and as files.
    let text = |path: &Path| std::fs::read_to_string(path).expect("read");
    let texts = RedisConfig::builder().host("localhost").port(strict_port).tls(true).tls_ca(text(&ca));
    let by_text = hasty(texts.tls_cert(text(&certificate)).tls_key(text(&key))).start().expect("started");
    by_text.ready(TIME_LIMIT).await.expect("the same files, as text");
    let known = hasty(secure(strict_port, &ca).tls_cert(certificate).tls_key(key)).start().expect("started");
    known.send(Get::<String>::new("k")).await.expect("with a client certificate");
    refused(secure(port, Path::new("/nowhere/ca.pem")), "/nowhere/ca.pem").await;
}

/// Neither hangs, and plain text is never tried instead.
#[actix::test]
async fn row_23_the_wrong_kind_of_port_is_named() {
    let files = Files(crate::support::server());
    let good = authority("good");
    let ca = files.write("ca.pem", good.pem());
    let server = serve(&files.pair(&good, "localhost", |_| {}), None);
    let asks = |config: RedisConfigBuilder| async move {
        let redis = hasty(config.connect_timeout(ms(1_500)).command_timeout(ms(4_000))).start().expect("started");
        redis.send(Set::new("leak", "x")).await.expect_err("the wrong port").to_string()
    };
    let plain = asks(secure(server.port(), &ca)).await;
    assert!(plain.contains("speak tls"), "{plain}");
    let encrypted =
        RedisConfig::builder().host("localhost").port(server.tls_port().expect("a port")).key_prefix("test:");
    let encrypted = asks(encrypted).await;
    assert!(encrypted.contains("REDIS_TLS=true"), "{encrypted}");
    assert!(server.command(["GET", "test:leak"]).expect("asked").is_nil(), "never in plain text");
}

#[actix::test]
async fn a_name_may_be_given_where_servers_are_known_by_their_address() {
    let files = Files(crate::support::server());
    let good = authority("good");
    let ca = files.write("ca.pem", good.pem());
    let server = serve(&files.pair(&good, "redis.internal", |_| {}), None);
    let port = server.tls_port().expect("a port");
    refused(secure(port, &ca), "redis.internal").await;
    let named = hasty(secure(port, &ca).host("127.0.0.1").tls_server_name("redis.internal")).start().expect("started");
    named.send(Set::new("k", "v")).await.expect("over tls");
}

/// Ablation: with the configuration built only once the new authority is never read: "unknown issuer" until a restart.
#[actix::test]
async fn files_that_have_changed_are_read_again() {
    let files = Files(crate::support::server());
    let (before, after) = (authority("before"), authority("after"));
    let ca = files.write("ca.pem", before.pem());
    let (old, new) = (files.pair(&before, "localhost", |_| {}), files.pair(&after, "localhost", |_| {}));
    // The server's own files are replaced too, and read by it when it restarts.
    let (certificate, key) = (files.0.dir().join("server.pem"), files.0.dir().join("server.key"));
    let install = |(from, its_key): &(PathBuf, PathBuf)| {
        fs::copy(from, &certificate).expect("copied");
        fs::copy(its_key, &key).expect("copied");
    };
    install(&old);
    let server = serve(&(certificate.clone(), key.clone()), None);
    let redis = hasty(secure(server.tls_port().expect("a port"), &ca)).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("over tls");
    install(&new);
    files.write("ca.pem", after.pem());
    let restarting = std::sync::Arc::new(server);
    let server = restarting.clone();
    crate::support::aside(move || server.restart().expect("restarted")).await;
    let started = std::time::Instant::now();
    loop {
        match redis.send(Set::new("k", "w").idempotent()).await {
            Ok(_) => break,
            Err(error) => assert!(started.elapsed() < TIME_LIMIT, "never trusted: {error}"),
        }
    }
    // Invalid content in the place of a valid file changes nothing.
    files.write("ca.pem", "half of a file".to_owned());
    redis.send(Get::<String>::new("k")).await.expect("the link is there");
    restarting.command(["CLIENT", "KILL", "TYPE", "normal"]).expect("asked").int().expect("killed");
    eventually("another link", || (redis.status().borrow().generation > 2).then_some(())).await;
    redis.send(Get::<String>::new("k")).await.expect("with what the files were");
}
