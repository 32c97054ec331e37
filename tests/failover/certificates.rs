//! Certificates of server and client change while loads of every kind run, and no caller sees an error as long as both
//! authorities are trusted.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redis_actix::prelude::*;
use redis_actix::{RedisConfig, RedisConfigBuilder};
use redis_actix_test::RedisServer;
use tokio::task::spawn_blocking;

use super::chaos::account::Account;
use super::chaos::deployment::{Deployment, Losses, Mode};
use super::chaos::load::{LIVENESS, Load, quick};
use super::rotation::served;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A directory that is removed with this value.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Files {
    fn create() -> Self {
        let dir =
            std::env::temp_dir().join(format!("redis-actix-certificates-{}-{}", std::process::id(), fastrand::u32(..)));
        fs::create_dir(&dir).expect("a directory");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Replaced at once, as by a tool that rotates certificates.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        fs::write(&new, text).expect("written");
        fs::rename(new, &path).expect("renamed");
        path
    }

    /// A certificate and its key.
    fn pair(&self, issuer: &Authority, name: &str) -> (PathBuf, PathBuf) {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names).expect("names").signed_by(&key, issuer).expect("signed");
        (
            self.write(&format!("{name}.pem"), &certificate.pem()),
            self.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

fn configure(servers: &[RedisServer], words: &[&str]) {
    let words: Vec<_> = ["CONFIG", "SET"].iter().chain(words).copied().collect();
    for server in servers {
        server.command(&words).expect("asked").ok().expect("set");
    }
}

/// Another file each time: a server does not read a file again that it has been given before.
fn trust(files: &Files, servers: &[RedisServer], name: &str, authorities: &str) {
    let path = files.write(name, authorities);
    configure(servers, &["tls-ca-cert-file", path.to_str().expect("a path")]);
}

fn one_server(deployment: &Deployment) -> RedisConfigBuilder {
    RedisConfig::builder().host("127.0.0.1").port(deployment.servers()[0].tls_port().expect("a port"))
}

fn cluster(deployment: &Deployment) -> RedisConfigBuilder {
    let ports = deployment.servers().iter().filter_map(RedisServer::tls_port);
    RedisConfig::builder().cluster_hosts(ports.map(|port| format!("127.0.0.1:{port}")))
}

fn sentinels(deployment: &Deployment) -> RedisConfigBuilder {
    let set = deployment.sentinels().expect("sentinels");
    let ports = set.sentinels().iter().filter_map(RedisServer::tls_port);
    RedisConfig::builder().sentinel(ports.map(|port| format!("127.0.0.1:{port}")), set.name())
}

/// A sentinel reads its files at its start only. One after the other, so that most are there at any time.
async fn restart_sentinels(deployment: &Arc<Deployment>) {
    let deployment = deployment.clone();
    let restart = move || {
        for sentinel in deployment.sentinels().iter().flat_map(|set| set.sentinels()) {
            sentinel.restart().expect("restarted");
            deployment.wait_well(&[]).expect("it sees the master and the others");
        }
    };
    spawn_blocking(restart).await.expect("no panic");
}

async fn rotate(mode: Mode, config: fn(&Deployment) -> RedisConfigBuilder) {
    let (files, old, new) = (Files::create(), authority("old"), authority("new"));
    let ca = files.write("ca.pem", &old.pem());
    let (certificate, key) = files.pair(&old, "server");
    let server = RedisServer::builder().tls(&certificate, &key, Some(&ca));
    let deployment = spawn_blocking(move || Deployment::start_tls(mode, "chaos:", server)).await.expect("no panic");
    let deployment = Arc::new(deployment.unwrap_or_else(|error| panic!("{error}")));
    let servers = deployment.servers();
    for sentinel in deployment.sentinels().iter().flat_map(|set| set.sentinels()) {
        // A busy machine must not look like a master that died.
        let slow = ["SENTINEL", "SET", "mymaster", "down-after-milliseconds", "30000"];
        sentinel.command(slow).expect("asked").ok().expect("set");
    }
    let (certificate, key) = files.pair(&old, "client");
    let secure = |certificate: PathBuf, key: PathBuf| {
        let config = config(&deployment).key_prefix("chaos:").tls(true).tls_ca(files.path("ca.pem"));
        config.tls_cert(certificate).tls_key(key).command_timeout(Duration::from_secs(10)).liveness(LIVENESS)
    };
    let redis = quick(secure(certificate, key)).start().expect("started");
    redis.ready(Duration::from_secs(20)).await.expect("ready");
    let account = Arc::new(Account::default());
    let load = Load::start(&redis, &account, &deployment).await;
    load.begin(1);
    served(&load, "with the old certificates").await;

    // Both authorities are trusted, then both ends get new certificates.
    let both = format!("{}{}", old.pem(), new.pem());
    files.write("ca.pem", &both);
    trust(&files, servers, "ca-2.pem", &both);
    restart_sentinels(&deployment).await;
    files.pair(&new, "server");
    let (certificate, key) = files.pair(&new, "server-2");
    let (certificate, key) = (certificate.to_str().expect("a path"), key.to_str().expect("a path"));
    configure(servers, &["tls-cert-file", certificate, "tls-key-file", key]);
    let (client_certificate, client_key) = files.pair(&new, "client");
    restart_sentinels(&deployment).await;
    served(&load, "with the new certificates").await;
    files.write("ca.pem", &new.pem());
    trust(&files, servers, "ca-3.pem", &new.pem());
    restart_sentinels(&deployment).await;
    served(&load, "without the old authority").await;
    load.end().await;
    let errors = load.take_errors();
    assert!(errors.is_empty(), "{errors:?}");
    load.verify(&deployment, &Losses::default()).await;
    assert_eq!(account.violations(), 0, "see the violations above");
    load.close().await;

    // New links are dialled with the new certificates only.
    for server in servers {
        server.command(["CLIENT", "KILL", "TYPE", "normal"]).expect("asked").int().expect("killed");
    }
    redis.send(Get::<String>::new("own:1")).await.expect("over a new link");
    let another = quick(secure(client_certificate, client_key)).start().expect("started");
    another.ready(Duration::from_secs(20)).await.expect("over new links only");
    let (certificate, key) = files.pair(&old, "outdated");
    let outdated = quick(secure(certificate, key)).start().expect("started");
    outdated.ready(Duration::from_secs(5)).await.expect_err("a certificate of the old authority");
}

#[actix::test]
async fn certificates_of_one_server_rotate_without_an_error() {
    rotate(Mode::Sentinel, one_server).await;
}

/// Ablation: sentinels dialled without TLS (`tls: None` in the target of `Sentinels::new`) fails with
/// "no connection within 20s, still connecting".
#[actix::test]
async fn certificates_rotate_behind_sentinels_without_an_error() {
    rotate(Mode::Sentinel, sentinels).await;
}

#[actix::test]
async fn certificates_of_a_cluster_rotate_without_an_error() {
    rotate(Mode::Cluster, cluster).await;
}
