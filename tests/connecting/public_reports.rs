//! Public reports about other clients.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, ErrorKind, HostPort, RedisConfig};
use redis_actix_test::{Answer, FakeServer, Proxy, RedisServer, SentinelSet};

use crate::support::{self, Diary, TIME_LIMIT, aside, eventually_within, hasty, ms, until};

async fn set(builder: redis_actix_test::SentinelSetBuilder) -> Arc<SentinelSet> {
    aside(|| Arc::new(builder.start().unwrap_or_else(|error| panic!("{error}")))).await
}

/// redis/lettuce#2007, redis/redis#11566: no sentinel can be reached while the master changes.
#[actix::test]
async fn a_failover_that_no_link_to_a_sentinel_saw_is_found_afterwards() {
    let set = set(SentinelSet::builder()).await;
    let proxies: Vec<_> = set.hosts().into_iter().map(|host| Proxy::start(host).expect("started")).collect();
    let ports: HashMap<u16, u16> =
        set.sentinels().iter().zip(&proxies).map(|(sentinel, proxy)| (sentinel.port(), proxy.port())).collect();
    let config = RedisConfig::builder()
        .sentinel(proxies.iter().map(Proxy::addr), set.name())
        .key_prefix("test:")
        .command_timeout(TIME_LIMIT * 2)
        .address_map(move |announced| {
            let port = ports.get(&announced.port).copied().unwrap_or(announced.port);
            HostPort { host: announced.host.clone(), port }
        });
    let redis = hasty(config).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("written");
    for proxy in &proxies {
        proxy.refuse();
        proxy.reset_all();
    }
    let old = set.master().expect("a master").port();
    let failing_over = set.clone();
    aside(move || {
        let master = failing_over.master().expect("a master");
        assert_eq!(master.command(["WAIT", "1", "5000"]).expect("asked").int().expect("a number"), 1);
        failing_over.sentinels()[0].command(["SENTINEL", "FAILOVER", "mymaster"]).expect("asked").ok().expect("begun");
    })
    .await;
    let switched = || set.master().is_ok_and(|master| master.port() != old).then_some(());
    eventually_within(TIME_LIMIT * 2, "another master", switched).await;
    proxies.iter().for_each(Proxy::pass);
    until(&redis, "away from the old master", |status| status.disconnects > 0).await;
    redis.send(Set::new("k", "w")).await.expect("written at the new master");
    assert_eq!(set.master().expect("a master").command(["GET", "test:k"]).expect("asked").text().expect("text"), "w");
}

/// redis/go-redis#1446, bitnami/charts#3472: the second failover leads to the address that was right after the first.
#[actix::test]
async fn two_failovers_in_a_row_are_followed() {
    let set = set(SentinelSet::builder().replicas(2)).await;
    let config = RedisConfig::builder().sentinel(set.hosts(), set.name()).key_prefix("test:");
    let redis = hasty(config.command_timeout(TIME_LIMIT * 3)).start().expect("started");
    for round in 1..=2 {
        redis.send(Set::new("k", round)).await.expect("written");
        let killing = set.clone();
        aside(move || {
            let master = running_master(&killing);
            let replicas = (3 - round).to_string();
            eventually_replicated(master, &replicas);
            master.kill().expect("killed");
        })
        .await;
        until(&redis, "without its master", |status| status.disconnects >= round).await;
        let read = redis.send(Get::<u64>::new("k")).await.expect("served by the next master");
        assert_eq!(read, Some(round));
    }
}

/// The master, once the sentinel that is asked knows of the last failover.
fn running_master(set: &SentinelSet) -> &RedisServer {
    let deadline = std::time::Instant::now() + TIME_LIMIT;
    loop {
        if let Some(master) = set.master().ok().filter(|master| master.is_running()) {
            return master;
        }
        assert!(std::time::Instant::now() < deadline, "never saw a master that runs");
        std::thread::yield_now();
    }
}

/// Until `count` replicas have the writes of other connections: INFO shows which are up to date.
fn eventually_replicated(master: &RedisServer, replicas: &str) {
    let deadline = std::time::Instant::now() + TIME_LIMIT;
    loop {
        let done = master.command(["WAIT", replicas, "1000"]).expect("asked").int().expect("a number");
        if done.to_string() == replicas {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "never saw {replicas} replicas, only {done}");
    }
}

/// redis/redis-py#300: the login is answered LOADING, and the link stays without one.
#[actix::test]
async fn a_login_that_is_answered_loading_is_sent_again() {
    let logins = Arc::new(AtomicUsize::new(0));
    let counted = logins.clone();
    let server = FakeServer::builder()
        .own_handshake()
        .on(move |argv| match &argv[0][..] {
            b"HELLO" if counted.fetch_add(1, Ordering::SeqCst) < 2 => {
                Answer::raw("-LOADING Redis is loading the dataset in memory\r\n")
            }
            b"HELLO" => Answer::raw("%1\r\n$5\r\nproto\r\n:3\r\n"),
            b"PING" => Answer::raw("+PONG\r\n"),
            b"INCR" => Answer::raw(":1\r\n"),
            _ => Answer::raw("+OK\r\n"),
        })
        .start()
        .expect("started");
    let redis = hasty(support::config(server.port()).password("secret")).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    assert_eq!((logins.load(Ordering::SeqCst), server.connections()), (3, 1));
    assert_eq!(redis.health().await.expect("healthy").protocol, 3);
}

/// redis/node-redis#1728, redis-rs/redis-rs#153, whatyouhide/redix#282, oven-sh/bun#41795: a password in a URL that is not
/// decoded, or not byte for byte.
#[actix::test]
async fn passwords_in_urls_are_decoded_byte_for_byte() {
    let server = support::server();
    for (encoded, password) in [
        ("p%40s%3As%2F%3F%23%25%2B%20", b"p@s:s/?#%+ ".as_slice()),
        ("p%E9ss", b"p\xe9ss"),
        ("a+b", b"a+b"),
        ("%C3%A9", "é".as_bytes()),
    ] {
        let set = [b"CONFIG".as_slice(), b"SET", b"requirepass", password];
        let connection = server.connect().expect("connected");
        let mut connection = connection;
        connection.command(set).expect("asked").ok().expect("set");
        let url = format!("redis://:{encoded}@127.0.0.1:{}", server.port());
        let redis = hasty(RedisConfig::builder().url(url).key_prefix("test:")).start().expect("started");
        redis.send(Set::new("k", "v")).await.unwrap_or_else(|error| panic!("{encoded}: {error}"));
        redis.shutdown(TIME_LIMIT).await.expect("ended");
        let clear = [b"CONFIG".as_slice(), b"SET", b"requirepass", b""];
        connection.command(clear).expect("asked").ok().expect("set");
    }
}

/// redis/redis-py#1125: sentinels that do not answer in time are reported as if they did not know the master.
#[actix::test]
async fn sentinels_that_are_silent_are_named_as_such() {
    let silent = FakeServer::builder().own_handshake().on(|_| Answer::Silence).start().expect("started");
    let config = RedisConfig::builder().sentinel([silent.addr()], "mymaster").key_prefix("test:");
    let (builder, diary) = Diary::of(hasty(config.connect_timeout(ms(300))));
    let redis = builder.start().expect("started");
    let error = redis.send(Get::<String>::new("k").timeout(ms(2_000))).await.expect_err("no sentinel answers");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let in_time = |cause: &redis_actix::Cause| cause.to_string().contains("did not answer HELLO in time");
    diary.entry("the cause", |event| matches!(event, ConnectionEvent::Retrying { cause, .. } if in_time(cause))).await;
}

/// redis/lettuce#3920: a service that answers a part of the commands of sentinels, with the names of before Redis 5.0.
///
/// Ablation: without the former name of SENTINEL REPLICAS no replica is ever read from.
#[actix::test]
async fn a_sentinel_that_knows_slaves_alone_names_replicas() {
    let master = support::server();
    let port = master.port().to_string();
    let replica = aside(move || {
        RedisServer::builder()
            .args(["--replicaof", "127.0.0.1", &port])
            .start()
            .unwrap_or_else(|error| panic!("{error}"))
    })
    .await;
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let address = format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&master.port().to_string()));
    let port = replica.port().to_string();
    let fields = ["ip", "127.0.0.1", "port", &port, "flags", "slave", "master-link-status", "ok"].map(bulk).concat();
    let slaves = format!("*1\r\n*8\r\n{fields}");
    let sentinel = FakeServer::builder()
        .on(move |argv| {
            let word = String::from_utf8_lossy(argv.get(1).map_or(&[][..], Vec::as_slice)).to_uppercase();
            match (argv[0].to_ascii_uppercase().as_slice(), word.as_str()) {
                (b"SENTINEL", "GET-MASTER-ADDR-BY-NAME") => Answer::raw(address.as_str()),
                (b"SENTINEL", "SLAVES") => Answer::raw(slaves.as_str()),
                (b"SUBSCRIBE", _) => Answer::raw(">3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"),
                _ => Answer::raw("-ERR unknown command\r\n"),
            }
        })
        .start()
        .expect("started");
    let config = RedisConfig::builder().sentinel([sentinel.addr()], "mymaster").key_prefix("test:");
    let redis = hasty(config.read_from(ReadFrom::Replica)).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("written");
    support::replicas::replicas_ready(&redis, &["k".to_owned()], 1).await;
}
