//! Certificates that are replaced while everything runs, and those without names.
#![cfg(feature = "tls")]

use std::{
    cell::{Cell, RefCell},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, RedisConfig, RedisConfigBuilder, TlsVerify};
use redis_actix_test::RedisServer;

use crate::support::{self, TIME_LIMIT, aside, eventually, hasty, until};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A certificate for `names` and its key.
fn pair(issuer: &Authority, names: &[&str]) -> (String, String) {
    let params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, issuer).expect("signed").pem(), key.serialize_pem())
}

/// Files in the directory of a server that ends with the test.
struct Files(RedisServer);

impl Files {
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.dir().join(name);
        fs::write(&path, text).expect("written");
        path
    }
}

fn secure(port: u16, ca: &Path) -> RedisConfigBuilder {
    RedisConfig::builder().host("localhost").port(port).key_prefix("test:").tls(true).tls_ca(ca)
}

/// Callers that write and read all the time, and their outcomes.
struct Load {
    over: Rc<Cell<bool>>,
    errors: Rc<RefCell<Vec<String>>>,
    calls: Rc<Cell<u64>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(redis: &Redis) -> Self {
        let (over, errors) = (Rc::<Cell<bool>>::default(), Rc::<RefCell<Vec<String>>>::default());
        let calls = Rc::<Cell<u64>>::default();
        let tasks = (0..4).map(|nth| {
            let (redis, over, errors, calls) = (redis.clone(), over.clone(), errors.clone(), calls.clone());
            actix::spawn(async move {
                let key = format!("k{nth}");
                while !over.get() {
                    let written = redis.send(Set::new(&key, calls.get()).idempotent()).await.map(drop);
                    let read = redis.send(Get::<u64>::new(&key)).await.map(drop);
                    let failed = [written, read].into_iter().filter_map(Result::err);
                    errors.borrow_mut().extend(failed.map(|error| error.to_string()));
                    calls.set(calls.get() + 1);
                    tokio::task::yield_now().await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { over, errors, calls, tasks }
    }

    async fn goes_on(&self) {
        let before = self.calls.get();
        eventually("more calls", || (self.calls.get() > before + 20).then_some(())).await;
    }

    async fn end(self) -> (u64, Vec<String>) {
        self.over.set(true);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        (self.calls.get(), self.errors.take())
    }
}

/// Ends every link, and waits for the next one to serve callers.
async fn redialled(redis: &Redis, server: &Arc<RedisServer>, load: &Load) {
    let generation = redis.status().borrow().generation;
    let killing = server.clone();
    aside(move || killing.command(["CLIENT", "KILL", "TYPE", "normal"]).expect("asked").int().expect("killed")).await;
    until(redis, "reconnected", |status| status.generation > generation && status.state == ConnectionState::Ready)
        .await;
    load.goes_on().await;
}

/// Ablation: with the files read once, the third step ends in "unknown issuer", and callers get errors.
#[actix::test]
async fn authorities_certificates_and_keys_are_replaced_without_an_error() {
    let files = Files(support::server());
    let (one, two) = (authority("one"), authority("two"));
    let both = format!("{}{}", one.pem(), two.pem());
    let (old, new) = (pair(&one, &["localhost"]), pair(&two, &["localhost"]));
    let (old_client, new_client) = (pair(&one, &["client"]), pair(&two, &["client"]));
    let (certificate, key) = (files.write("server.pem", old.0), files.write("server.key", old.1));
    let clients_of_one = files.write("clients-one.pem", one.pem());
    let server = RedisServer::builder().tls(&certificate, &key, Some(&clients_of_one)).start();
    let server = Arc::new(server.unwrap_or_else(|error| panic!("{error}")));
    let ca = files.write("ca.pem", one.pem());
    let (client, client_key) = (files.write("client.pem", old_client.0), files.write("client.key", old_client.1));
    let config = secure(server.tls_port().expect("a port"), &ca).tls_cert(client).tls_key(client_key);
    let redis = hasty(config.max_retries(1_000)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let load = Load::start(&redis);

    // The client trusts both, the server both, and shows the new one.
    files.write("ca.pem", &both);
    redialled(&redis, &server, &load).await;
    let (trusted, shown, shown_key) =
        (files.write("clients-both.pem", &both), files.write("new.pem", new.0), files.write("new.key", new.1));
    let [trusted, shown, shown_key] = [trusted, shown, shown_key].map(|path| path.to_str().expect("a path").to_owned());
    let set = ["CONFIG", "SET", "tls-ca-cert-file", &trusted, "tls-cert-file", &shown, "tls-key-file", &shown_key];
    server.command(set).expect("asked").ok().expect("set");
    redialled(&redis, &server, &load).await;
    // The client's own, of which one file is there before the other.
    files.write("client.pem", new_client.0);
    redialled(&redis, &server, &load).await;
    files.write("client.key", new_client.1);
    redialled(&redis, &server, &load).await;
    // Half of a file, then the old one is trusted no more, here and there.
    files.write("ca.pem", &two.pem()[..100]);
    redialled(&redis, &server, &load).await;
    files.write("ca.pem", two.pem());
    redialled(&redis, &server, &load).await;
    let only_new = files.write("clients-two.pem", two.pem());
    let only_new = only_new.to_str().expect("a path");
    server.command(["CONFIG", "SET", "tls-ca-cert-file", only_new]).expect("asked").ok().expect("set");
    redialled(&redis, &server, &load).await;

    let (calls, errors) = load.end().await;
    assert!(errors.is_empty(), "{} errors in {calls} calls, the first: {}", errors.len(), errors[0]);
}

async fn refused(config: RedisConfigBuilder, words: &[&str]) {
    let redis = hasty(config).start().expect("started");
    let error = redis.ready(TIME_LIMIT).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert!(!text.contains("REDIS_TLS_CA"), "the authority is right: {text}");
}

/// Ablation: without the verifier of its own the certificate is refused for its name.
#[actix::test]
async fn a_certificate_without_a_name_is_explained_and_accepted_where_only_the_authority_counts() {
    let files = Files(support::server());
    let (good, other) = (authority("good"), authority("other"));
    let (certificate, key) = pair(&good, &[]);
    let (certificate, key) = (files.write("server.pem", certificate), files.write("server.key", key));
    let server = RedisServer::builder().tls(&certificate, &key, None).start().unwrap_or_else(|error| panic!("{error}"));
    let port = server.tls_port().expect("a port");
    let (ca, other_ca) = (files.write("ca.pem", good.pem()), files.write("other.pem", other.pem()));
    refused(secure(port, &ca), &["no subjectAltName", "localhost", "REDIS_TLS_VERIFY=ca"]).await;
    let redis = hasty(secure(port, &ca).tls_verify(TlsVerify::Ca)).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("over tls");
    let stranger = hasty(secure(port, &other_ca).tls_verify(TlsVerify::Ca)).start().expect("started");
    let error = stranger.ready(TIME_LIMIT).await.expect_err("another authority");
    assert!(error.to_string().contains("unknown issuer"), "{error}");
    let described = eventually("described", || Some(redis.config().describe().to_string())).await;
    assert!(described.contains("tls verify"), "{described}");
}

/// Ablation: with the words for any other problem it says to set REDIS_TLS_CA, which is set.
#[actix::test]
async fn a_certificate_of_version_1_is_explained() {
    let files = Files(support::server());
    let (certificate, key) = (files.write("server.pem", VERSION_1), files.write("server.key", VERSION_1_KEY));
    let ca = files.write("ca.pem", VERSION_1_CA);
    let server = RedisServer::builder().tls(&certificate, &key, None).start().unwrap_or_else(|error| panic!("{error}"));
    refused(secure(server.tls_port().expect("a port"), &ca), &["version 1", "subjectAltName"]).await;
}

/// As openssl makes it without extensions; valid until 2126, and of no other use.
const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBFjCBvQIBATAKBggqhkjOPQQDAjAZMRcwFQYDVQQDDA50ZXN0IGF1dGhvcml0
eTAgFw0yNjExMzAyMzIzNTNaGA8yMTI2MTEwNjIzMjM1M1owFDESMBAGA1UEAwwJ
bG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+Px1G3DUFMwoYDjw
PdlzUn8Bu8Tcx0MVbkVLZ7L2DF0yNbYoYSaxoxDYIBhtLCfodB4D5G61EpJ9o36Z
avF4BzAKBggqhkjOPQQDAgNIADBFAiEAg9VouEZ9MZrqmzD4Q8DPdTTFVI52w8Rv
4jdgRPt31iMCIEsMvnZxrmTZ0HT0lRuvgSFNP+Lzm/8yadIvZfZOPY8+
-----END CERTIFICATE-----
";
const VERSION_1_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIPhShiL1PXSMtscoBewoqcVgPO3q1zuXdGo3aeZaznpkoAoGCCqGSM49
AwEHoUQDQgAE+Px1G3DUFMwoYDjwPdlzUn8Bu8Tcx0MVbkVLZ7L2DF0yNbYoYSax
oxDYIBhtLCfodB4D5G61EpJ9o36ZavF4Bw==
-----END EC PRIVATE KEY-----
";
const VERSION_1_CA: &str = "-----BEGIN CERTIFICATE-----
MIIBiDCCAS+gAwIBAgIUUN7NyKRGYdF23cBNNFt2j3tUgAswCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOdGVzdCBhdXRob3JpdHkwIBcNMjYxMTMwMjMyMzUzWhgPMjEy
NjExMDYyMzIzNTNaMBkxFzAVBgNVBAMMDnRlc3QgYXV0aG9yaXR5MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAElUusNF2TRgutv0tBx8uqZRO/RodNEiu0FAKNUYcS
VK88NgcXEXSg3GmaQeNMBRyOf24xXOBq1oXdheovvi+jcaNTMFEwHQYDVR0OBBYE
FERHQoCeej7Y2wM4Tv4MoWZK3hlrMB8GA1UdIwQYMBaAFERHQoCeej7Y2wM4Tv4M
oWZK3hlrMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgaaBZ2/Wn
9VMwQUM8dt1W/T/thFvFJS8GA/XNCaCjZBYCICkEe1NBjWgkr82TwuDeTrbzYQ+P
WubKhHEjrZZSQt+/
-----END CERTIFICATE-----
";
