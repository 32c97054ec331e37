//! The login: refused, rotated, renewed, and never hammered.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty, ms, until, until_state};
use redis_actix::prelude::*;
use redis_actix::{
    CauseKind, ConnectionEvent, ConnectionState, Credentials, CredentialsError, CredentialsProvider, ErrorKind, Fate,
    ReconnectPolicy,
};
use redis_actix_test::{Answer, FakeServer, Proxy, RedisServer};
use tokio::time::Instant;

/// Refusals are repeated at the longest delay: a minute here, so that a test that goes on does not owe it to luck.
fn rarely() -> ReconnectPolicy {
    ReconnectPolicy::exponential(ms(5)..=Duration::from_secs(60))
}

fn locked(password: &str) -> RedisServer {
    RedisServer::builder().requirepass(password).start().expect("a server")
}

fn kick(server: &RedisServer) {
    server.command(["CLIENT", "KILL", "TYPE", "normal"]).expect("killed");
}

/// A file of the test's own, removed with it.
struct PasswordFile(std::path::PathBuf);

impl PasswordFile {
    fn new(name: &str, password: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("redis-actix-{name}-{}", std::process::id())));
        file.write(password);
        file
    }

    fn write(&self, password: &str) {
        std::fs::write(&self.0, format!("{password}\n")).expect("written");
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Row 7, rotation. Ablations: without parking the server is asked for a login at every short delay;
/// with the password read once it is never healthy again.
#[actix::test]
async fn row_07_a_rotated_password_parks_and_the_right_one_heals() {
    let server = locked("old");
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let file = PasswordFile::new("rotated", "old");
    let policy = ReconnectPolicy::exponential(ms(5)..=ms(400));
    let (builder, diary) = Diary::of(hasty(config(proxy.port()).password_file(&file.0)).reconnect(policy));
    let redis = builder.start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    server.set_password(Some("new")).expect("rotated");
    kick(&server);
    until_state(&redis, ConnectionState::Parked).await;
    let (dials, parked) = (proxy.connections(), Instant::now());
    while parked.elapsed() < ms(900) {
        let asked = Instant::now();
        let error = redis.send(Incr::new("k")).await.map_or_else(|error| error, |_| panic!("the password is wrong"));
        let refused = error.kind() == ErrorKind::Refused;
        let between = matches!(error.kind(), ErrorKind::Disconnected) || refused;
        assert!(between && error.fate() == Fate::NotSent, "{error}");
        assert!(asked.elapsed() < ms(500), "not fast: {:?}", asked.elapsed());
        assert!(!error.to_string().contains("old"), "{error}");
        // The pace of the other callers.
        actix::clock::sleep(ms(1)).await;
    }
    let logins = proxy.connections() - dials;
    assert!((1..=4).contains(&logins), "{logins} logins in 0.9 s");
    file.write("new");
    until_state(&redis, ConnectionState::Ready).await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("healthy without a restart"), 2);
    diary.entry("the refusal", |event| matches!(event, ConnectionEvent::Refused { .. })).await;
}

/// Row 7, a user switched off.
#[actix::test]
async fn row_07_a_disabled_user_is_parked_until_it_is_enabled() {
    let server = crate::support::server();
    let acl = |words: &str| {
        let words = ["ACL", "SETUSER", "svc"].into_iter().chain(words.split(' '));
        server.command(words).expect("asked").ok().expect("set");
    };
    acl("on >secret ~* +@all");
    let policy = ReconnectPolicy::exponential(ms(5)..=ms(200));
    let config = config(server.port()).username("svc").password("secret");
    let redis = hasty(config).reconnect(policy).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    acl("off");
    kick(&server);
    let status = until_state(&redis, ConnectionState::Parked).await;
    assert!(
        status.cause.is_some_and(|cause| cause.kind() == CauseKind::Refused && !cause.to_string().contains("secret"))
    );
    acl("on");
    until_state(&redis, ConnectionState::Ready).await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("healthy"), 1);
}

/// Row 7, a login forgotten while the link lived. Ablation: every command fails with NOAUTH without end.
#[actix::test]
async fn row_07_a_link_that_lost_its_login_is_replaced() {
    let links = Arc::new(AtomicUsize::new(0));
    let server = FakeServer::builder()
        .own_handshake()
        .on({
            let links = links.clone();
            move |argv| match &argv[0][..] {
                b"HELLO" => {
                    links.fetch_add(1, Ordering::SeqCst);
                    Answer::raw("%0\r\n")
                }
                b"INCR" if links.load(Ordering::SeqCst) == 1 => Answer::raw("-NOAUTH Authentication required.\r\n"),
                b"INCR" => Answer::raw(":7\r\n"),
                _ => Answer::raw("+OK\r\n"),
            }
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port()).password("secret")).start().expect("started");
    let error = redis.send(Incr::new("k")).await.expect_err("forgotten");
    assert_eq!((error.code(), error.fate()), (Some("NOAUTH"), Fate::Rejected));
    assert_eq!(redis.send(Incr::new("k")).await.expect("logged in again"), 7);
}

/// Row 8. Ablation: without the PING at the end of the handshake an old server looks ready.
#[actix::test]
async fn row_08_without_a_password_a_locked_server_is_never_ready() {
    let server = locked("secret");
    let (builder, diary) = Diary::of(hasty(config(server.port())));
    let redis = builder.start().expect("started");
    let error = redis.ready(TIME_LIMIT).await.expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("REDIS_PASSWORD"), "{error}");
    let error = redis.send(Incr::new("k")).await.expect_err("locked");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotSent));
    // A server without HELLO says so only when it is asked for something.
    let old = FakeServer::builder()
        .own_handshake()
        .on(|argv| match &argv[0][..] {
            b"HELLO" => Answer::raw("-ERR unknown command 'HELLO'\r\n"),
            b"CLIENT" => Answer::raw("+OK\r\n"),
            _ => Answer::raw("-NOAUTH Authentication required.\r\n"),
        })
        .start()
        .expect("started");
    let redis = hasty(config(old.port())).start().expect("started");
    let error = redis.ready(TIME_LIMIT).await.expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(diary.count(|event| matches!(event, ConnectionEvent::Connected { .. })), 0);
}

/// Row 11. Ablation: without remembering that the server answered ERR its reason is lost to the broken pipe
/// that follows.
#[actix::test]
async fn row_11_a_full_server_is_no_refusal_and_keeps_its_words() {
    let server = crate::support::server();
    let mut operator = server.connect().expect("connected");
    let mut room =
        |clients: &str| operator.command(["CONFIG", "SET", "maxclients", clients]).expect("asked").ok().expect("set");
    room("1");
    let redis = hasty(config(server.port())).start().expect("started");
    let waits = redis.send(Incr::new("k"));
    let status = until(&redis, "turned away four times", |status| {
        status.attempt > 4 && status.state == ConnectionState::Backoff
    });
    let cause = status.await.cause.expect("a cause");
    assert!(cause.to_string().contains("max number of clients"), "{cause}");
    assert_eq!(cause.kind(), CauseKind::NotReady);
    room("100");
    assert_eq!(waits.await.expect("let in"), 1);
}

/// The answer to the next login, and the number of logins.
#[derive(Clone)]
struct Vault {
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Says {
    Login(&'static str, &'static str),
    Nothing,
    Error,
    Panic,
}

impl Vault {
    fn new(says: Says) -> Self {
        Self { says: Arc::new(Mutex::new(says)), asked: Arc::default() }
    }

    fn says(&self, says: Says) {
        *self.says.lock().expect("whole") = says;
    }
}

impl CredentialsProvider for Vault {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let says = self.says.lock().expect("whole").clone();
        match says {
            Says::Login(user, password) => Ok(Credentials::user(user, password)),
            Says::Nothing => std::future::pending().await,
            Says::Error => Err("the vault is sealed".into()),
            Says::Panic => panic!("injected into the provider"),
        }
    }
}

#[actix::test]
async fn a_provider_is_asked_at_every_dial_and_its_failures_are_retried() {
    let server = locked("one");
    let vault = Vault::new(Says::Error);
    let config = config(server.port()).connect_timeout(ms(200));
    let (builder, diary) = Diary::of(hasty(config).credentials(vault.clone()));
    let redis = builder.start().expect("started");
    let waits = redis.send(Incr::new("k"));
    for (says, words) in
        [(Says::Error, "the vault is sealed"), (Says::Panic, "panicked"), (Says::Nothing, "within the connect timeout")]
    {
        vault.says(says);
        // The status shows each cause for milliseconds only.
        let is_cause =
            |cause: &redis_actix::Cause| cause.kind() == CauseKind::NotReady && cause.to_string().contains(words);
        diary.entry(words, |event| matches!(event, ConnectionEvent::Retrying { cause, .. } if is_cause(cause))).await;
    }
    vault.says(Says::Login("default", "one"));
    assert_eq!(waits.await.expect("served when the vault opened"), 1);
    server.set_password(Some("two")).expect("rotated");
    vault.says(Says::Login("default", "two"));
    let asked = vault.asked.load(Ordering::SeqCst);
    kick(&server);
    until(&redis, "back", |status| status.disconnects == 1 && status.state == ConnectionState::Ready).await;
    assert!(vault.asked.load(Ordering::SeqCst) > asked);
    assert_eq!(redis.status().borrow().restarts, 0, "its panic is not the connection's");
}

#[actix::test]
async fn a_live_link_can_reauthenticate_without_losing_a_command() {
    let server = crate::support::server();
    for (user, password) in [("one", "1"), ("two", "2")] {
        let password = format!(">{password}");
        server.command(["ACL", "SETUSER", user, "on", &password, "~*", "+@all"]).expect("asked").ok().expect("set");
    }
    let vault = Vault::new(Says::Login("one", "1"));
    let redis = hasty(config(server.port())).credentials(vault.clone()).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    // The test's own questions come on connections that the server may still be closing.
    let client = async |user: &str| {
        eventually("one client, by its new name", || {
            let clients = server.clients().expect("listed");
            let one = clients.len() == 1 && clients[0].contains(&format!(" user={user} "));
            one.then(|| clients[0].split(' ').next().map(str::to_owned))
        })
        .await
    };
    let id = client("one").await;
    vault.says(Says::Login("two", "2"));
    let before: Vec<_> = (0..50).map(|_| redis.send(Incr::new("k"))).collect();
    redis.reauthenticate().await.expect("logged in");
    for count in before {
        count.await.expect("counted");
    }
    assert_eq!(client("two").await, id, "the same link");
    vault.says(Says::Login("one", "wrong"));
    let error = redis.reauthenticate().await.expect_err("wrong");
    assert_eq!((error.code(), error.command()), (Some("WRONGPASS"), Some("AUTH")), "{error}");
    assert_eq!(redis.send(Incr::new("k")).await.expect("with the old login"), 51);
    assert_eq!(client("two").await, id);
    vault.says(Says::Nothing);
    let config = config(server.port()).connect_timeout(ms(50));
    let slow = hasty(config).credentials(Vault::new(Says::Nothing)).start().expect("started");
    assert!(slow.reauthenticate().await.is_err(), "bounded by the connect timeout");
}

/// Ablation: without the immediate retry it waits out the minute of a refusal.
#[actix::test]
async fn a_parked_connection_is_healed_at_once_on_request() {
    let server = locked("right");
    let file = PasswordFile::new("parked", "wrong");
    let redis = hasty(config(server.port()).password_file(&file.0)).reconnect(rarely()).start().expect("started");
    assert_eq!(redis.ready(TIME_LIMIT).await.expect_err("wrong").kind(), ErrorKind::Refused);
    assert_eq!(redis.reauthenticate().await.expect_err("still wrong").kind(), ErrorKind::Refused);
    file.write("right");
    redis.reauthenticate().await.expect("right");
    assert_eq!(redis.send(Incr::new("k")).await.expect("healthy"), 1);
    let open = crate::support::server();
    let without_login = hasty(config(open.port())).start().expect("started");
    without_login.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(without_login.reauthenticate().await.expect_err("no credentials").kind(), ErrorKind::Config);
}
