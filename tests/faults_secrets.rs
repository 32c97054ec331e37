//! Row 24: secrets appear in no output. One test, because the log belongs to the whole process.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    ffi::OsString,
    fmt::{Debug, Display},
    io,
    sync::{Arc, Mutex},
};

use redis_actix::prelude::*;
use redis_actix::{Credentials, Frame, RedisConfigBuilder, Secret};
use redis_actix_test::{Answer, FakeServer, Proxy, RedisServer};
use support::{Diary, Own, TIME_LIMIT, config, eventually, hasty, ms, until};

/// In every password, key, value and malformed variable of this test.
const CANARY: &str = "canary7Hq";

/// Everything that was logged, or would have been shown to a user.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl io::Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seen {
    fn debug(&self, what: &dyn Debug) {
        self.0.lock().expect("whole").extend_from_slice(format!("{what:?} {what:#?}\n").as_bytes());
    }

    fn show(&self, what: &(impl Debug + Display)) {
        self.debug(what);
        self.0.lock().expect("whole").extend_from_slice(format!("{what}\n").as_bytes());
    }

    fn error(&self, error: &redis_actix::Error) {
        self.show(error);
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            self.0.lock().expect("whole").extend_from_slice(format!("{cause} {cause:?}\n").as_bytes());
            source = cause.source();
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("whole")).into_owned()
    }
}

/// Ablations: deriving `Debug` for the configuration, a frame, or the credentials; quoting the server's
/// "with args beginning with"; quoting the value of a variable that is wrong.
#[actix::test]
async fn row_24_secrets_are_seen_nowhere() {
    let seen = Seen::default();
    let log = seen.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || log.clone()).init();
    // A panic of a user's decoder is written by the hook of the process.
    let hook = seen.clone();
    std::panic::set_hook(Box::new(move |info| hook.debug(&info.to_string())));

    variables(&seen);
    logins(&seen).await;
    commands(&seen).await;
    hostile(&seen).await;

    // From here on a failure is to be read.
    drop(std::panic::take_hook());
    let text = seen.text();
    for word in ["trying again", "redis refuses the connection", "lost the connection"] {
        assert!(text.contains(word), "the log is not what it should be: no {word:?} in {} bytes", text.len());
    }
    let at = text.find(CANARY);
    assert!(at.is_none(), "seen: {:?}", &text[at.unwrap_or_default().saturating_sub(200)..][..400.min(text.len())]);
}

/// Each variable malformed, and the password in each place it may be put by mistake.
fn variables(seen: &Seen) {
    const NAMES: [&str; 32] = [
        "REDIS_URL",
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_USERNAME",
        "REDIS_PASSWORD",
        "REDIS_PASSWORD_FILE",
        "REDIS_DB",
        "REDIS_TLS",
        "REDIS_TLS_CA",
        "REDIS_TLS_CERT",
        "REDIS_TLS_KEY",
        "REDIS_TLS_VERIFY",
        "REDIS_MAX_RETRIES",
        "REDIS_CONNECT_TIMEOUT",
        "REDIS_COMMAND_TIMEOUT",
        "REDIS_BUSY_POLL",
        "REDIS_CLUSTER_ADDRESS_MAP",
        "REDIS_CONNECTIONS",
        "REDIS_PROTOCOL",
        "REDIS_CLIENT_COMMANDS",
        "REDIS_CLUSTER_HOSTS",
        "REDIS_SENTINEL_HOSTS",
        "REDIS_SENTINEL_MASTER",
        "REDIS_SENTINEL_USERNAME",
        "REDIS_SENTINEL_PASSWORD",
        "APP_ENV",
        "NODE_ENV",
        "REDIS_KEY_NAMESPACE",
        "REDIS_KEY_PREFIX",
        "REDIS_CLIENT_NAME",
        "REDIS_PASWORD",
        "REDIS_PASSWORD2",
    ];
    let shapes = [
        format!("{CANARY} {CANARY}"),
        format!("redis://user:{CANARY}@host:port/{CANARY}"),
        format!("redis://user:{CANARY}@[::1/0"),
        format!("-{CANARY}\u{7f}*"),
        format!("{CANARY}:{CANARY}:{CANARY},"),
    ];
    for name in NAMES {
        for shape in &shapes {
            let given: [(OsString, OsString); 1] = [(name.into(), shape.into())];
            let builder = RedisConfigBuilder::from_vars(given.clone());
            seen.debug(&builder);
            match RedisConfig::from_vars(given) {
                Err(error) => seen.show(&error),
                // A name that could be one is no secret; a password stays hidden.
                Ok(config) if name.contains("PAS") => {
                    seen.show(config.describe());
                    seen.debug(&config);
                    config.warnings().iter().for_each(|warning| seen.show(warning));
                }
                Ok(_) => {}
            }
        }
    }
    let url = format!("redis://user:{CANARY}@10.0.0.1:7000/3");
    let config = RedisConfig::builder().url(url).build().expect("valid");
    seen.debug(&config);
    seen.show(config.describe());
    seen.debug(&Secret::from(CANARY));
    seen.debug(&Credentials::user("svc", CANARY));
}

async fn logins(seen: &Seen) {
    let server = RedisServer::builder().requirepass(format!("{CANARY}!")).start().expect("a server");
    // Refused, then rotated, then renewed.
    let wrong = hasty(config(server.port()).password(CANARY)).start().expect("started");
    seen.error(&wrong.ready(TIME_LIMIT).await.expect_err("wrong"));
    seen.error(&wrong.send(Get::<String>::new(CANARY)).await.expect_err("wrong"));
    seen.error(&wrong.reauthenticate().await.expect_err("wrong"));
    let (builder, diary) = Diary::of(hasty(config(server.port()).password(format!("{CANARY}!"))));
    let right = builder.start().expect("started");
    right.ready(TIME_LIMIT).await.expect("ready");
    right.reauthenticate().await.expect("logged in");
    server.set_password(Some(CANARY)).expect("rotated");
    seen.error(&right.reauthenticate().await.expect_err("rotated"));
    server.command(["CLIENT", "KILL", "TYPE", "normal"]).expect("killed");
    until(&right, "refused", |status| status.state == redis_actix::ConnectionState::Parked).await;
    seen.debug(&diary.events());
    for redis in [&wrong, &right] {
        seen.debug(redis);
        seen.debug(&redis.connection_info());
        seen.debug(&*redis.status().borrow());
        seen.debug(redis.config());
    }
    // An old server quotes what it does not know.
    let quoting = FakeServer::builder()
        .own_handshake()
        .on(|argv| {
            let args: Vec<_> = argv.iter().skip(1).map(|arg| format!("'{}'", String::from_utf8_lossy(arg))).collect();
            Answer::raw(format!("-ERR unknown command, with args beginning with: {}\r\n", args.join(" ")))
        })
        .start()
        .expect("started");
    let redis = hasty(config(quoting.port()).username("svc").password(CANARY)).start().expect("started");
    seen.error(&redis.ready(TIME_LIMIT).await.expect_err("unknown"));
    // The password of the sentinels, wrong and quoted.
    let sentinel = RedisServer::builder().sentinel().requirepass(format!("{CANARY}!")).start().expect("a sentinel");
    for address in [sentinel.addr(), quoting.addr()] {
        let config = RedisConfig::builder().sentinel([address], "m").key_prefix("test:").sentinel_username("svc");
        let redis = hasty(config.sentinel_password(CANARY)).start().expect("started");
        seen.error(&redis.ready(TIME_LIMIT).await.expect_err("wrong"));
        seen.debug(&redis);
        seen.debug(redis.config());
        seen.show(redis.config().describe());
    }
    let unreadable = std::env::temp_dir().join(format!("{CANARY}-{}", std::process::id()));
    let redis = hasty(config(server.port()).password_file(unreadable)).start().expect("started");
    seen.error(&redis.ready(TIME_LIMIT).await.expect_err("no file"));
    seen.error(&redis.reauthenticate().await.expect_err("no file"));
}

async fn commands(seen: &Seen) {
    struct Nosy;
    impl actix::Message for Nosy {
        type Result = redis_actix::Result<()>;
    }
    impl Command for Nosy {
        type Reply = ();
        fn frame(&self) -> Frame {
            Frame::new("GET").key(CANARY)
        }
        fn reply(_: redis_actix::Value) -> redis_actix::Result<()> {
            panic!("a decoder that keeps its secrets to itself")
        }
    }
    let server = support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis =
        hasty(config(proxy.port()).command_timeout(ms(60)).max_in_flight(2).max_queued(1)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let own = |name: &str| Own(Frame::new(name).key(CANARY).arg(CANARY));
    seen.debug(&own("SET").0);
    let set = Set::new(CANARY, CANARY);
    seen.debug(&set);
    redis.send(set).await.expect("written");
    seen.error(&redis.send(Get::<i64>::new(CANARY)).await.expect_err("no number"));
    seen.error(&redis.send(Incr::new(CANARY)).await.expect_err("no number"));
    seen.error(&redis.send(own("NOSUCH")).await.expect_err("unknown"));
    seen.error(&redis.send(own("SELECT")).await.expect_err("reserved"));
    seen.error(&redis.send(own("XADD")).await.expect_err("wrong"));
    redis.addr().do_send(own("NOSUCH"));
    seen.error(&redis.send(Nosy).await.expect_err("it panics"));
    proxy.hold();
    let calls: Vec<_> = (0..5).map(|_| redis.addr().send(own("APPEND"))).collect();
    for call in futures_util::future::join_all(calls).await {
        seen.error(&call.expect("alive").expect_err("held"));
    }
    let call = redis.send(own("APPEND"));
    seen.debug(&call);
    proxy.reset_all();
    seen.error(&call.await.expect_err("reset"));
    seen.debug(&redis.status().borrow().clone());
}

/// Texts of the peer may contain user data as well.
async fn hostile(seen: &Seen) {
    let server = FakeServer::builder()
        .on(|argv| match &argv[0][..] {
            b"GET" => Answer::raw(format!("?{CANARY}\r\n")),
            b"INCR" => Answer::raw(format!(":{CANARY}\r\n")),
            b"PING" => Answer::raw(format!("${CANARY}\r\n{CANARY}\r\n")),
            _ => Answer::raw(format!("+OK\r\n+{CANARY}\r\n")),
        })
        .start()
        .expect("started");
    let (builder, diary) = Diary::of(hasty(config(server.port()).command_timeout(ms(300)).max_retries(0)));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    seen.error(&redis.send(Get::<String>::new("k")).await.expect_err("garbage"));
    seen.error(&redis.send(Incr::new("k")).await.expect_err("garbage"));
    let _ = redis.send(Set::new("k", "v")).await;
    eventually("three lost links", || (redis.status().borrow().disconnects >= 3).then_some(())).await;
    seen.debug(&diary.events());
}
