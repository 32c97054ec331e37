//! Password and user change while loads of every kind run, and no caller sees an error as long as old and new overlap.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis_actix::{Credentials, CredentialsError, CredentialsProvider, Redis, RedisConfigBuilder};
use redis_actix_test::RedisServer;
use tokio::task::spawn_blocking;

use super::chaos::account::Account;
use super::chaos::deployment::{Deployment, Losses, Mode};
use super::chaos::load::{LIVENESS, Load, quick};

/// The credentials of now.
#[derive(Clone)]
struct Vault(Arc<Mutex<(&'static str, &'static str)>>);

impl CredentialsProvider for Vault {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let (user, password) = *self.0.lock().expect("whole");
        Ok(Credentials::user(user, password))
    }
}

impl Vault {
    fn set(&self, user: &'static str, password: &'static str) {
        *self.0.lock().expect("whole") = (user, password);
    }
}

fn acl(servers: &[RedisServer], user: &str, rules: &[&str]) {
    let words: Vec<_> = ["ACL", "SETUSER", user].iter().chain(rules).copied().collect();
    for server in servers {
        server.command(&words).expect("asked").ok().expect("set");
    }
}

/// Connections that are logged in as this user.
fn connections_of(servers: &[RedisServer], user: &str) -> Vec<String> {
    let word = format!(" user={user} ");
    let clients = servers.iter().flat_map(|server| server.clients().expect("listed"));
    clients.filter(|client| client.contains(&word)).collect()
}

pub(crate) async fn served(load: &Load, what: &str) {
    load.take_served();
    // Nothing depends on the time, and a busy machine needs more of it.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    // Each kind goes on, over whatever connection it has or gets.
    while seen.len() < 9 || seen.values().any(|times| *times < 20) {
        assert!(Instant::now() < deadline, "{what}: only {seen:?} were served");
        tokio::time::sleep(Duration::from_millis(20)).await;
        for (kind, times) in load.take_served() {
            *seen.entry(kind).or_default() += times.len();
        }
    }
}

/// Every connection is logged in as the new user before the old one is deleted, and no caller sees an error.
async fn rotate(mode: Mode, config: impl FnOnce(&Deployment) -> RedisConfigBuilder) {
    let deployment = spawn_blocking(move || Deployment::start(mode, "chaos:")).await.expect("no panic");
    let deployment = Arc::new(deployment.unwrap_or_else(|error| panic!("{error}")));
    let servers = deployment.servers();
    acl(servers, "one", &["on", ">canary-1", "~*", "&*", "+@all"]);
    let vault = Vault(Arc::new(Mutex::new(("one", "canary-1"))));
    let redis = quick(config(&deployment).command_timeout(Duration::from_secs(10)).liveness(LIVENESS))
        .credentials(vault.clone())
        .start()
        .expect("started");
    redis.ready(Duration::from_secs(20)).await.expect("ready");
    let account = Arc::new(Account::default());
    let load = Load::start(&redis, &account, &deployment).await;
    load.begin(1);
    served(&load, "with the first password").await;
    assert!(!connections_of(servers, "one").is_empty());

    acl(servers, "one", &[">canary-2"]);
    vault.set("one", "canary-2");
    redis.reauthenticate().await.expect("the new password is known");
    acl(servers, "one", &["<canary-1"]);
    served(&load, "with the second password").await;

    acl(servers, "two", &["on", ">canary-3", "~*", "&*", "+@all"]);
    vault.set("two", "canary-3");
    reauthenticate_all(&redis, servers).await;
    for server in servers {
        server.command(["ACL", "DELUSER", "one"]).expect("asked").int().expect("deleted");
    }
    served(&load, "as the second user").await;
    load.end().await;
    assert!(!connections_of(servers, "two").is_empty());
    let errors = load.take_errors();
    assert!(errors.is_empty(), "{errors:?}");
    load.verify(&deployment, &Losses::default()).await;
    assert_eq!(account.violations(), 0, "see the violations above");
}

/// What has to end before it can be replaced, such as a command that waits, takes its time.
async fn reauthenticate_all(redis: &Redis, servers: &[RedisServer]) {
    redis.reauthenticate().await.expect("the new user is known");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = connections_of(servers, "one");
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still logged in as the old user: {left:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix::test]
async fn credentials_of_one_server_rotate_without_an_error() {
    rotate(Mode::Sentinel, Deployment::config_of_one_server).await;
}

#[actix::test]
async fn credentials_rotate_behind_sentinels_without_an_error() {
    rotate(Mode::Sentinel, Deployment::config).await;
}

#[actix::test]
async fn credentials_of_a_cluster_rotate_without_an_error() {
    rotate(Mode::Cluster, Deployment::config).await;
}
