//! The server: demoted, loading, busy, slow, or unwilling.

use crate::support::{Diary, TIME_LIMIT, aside, config, eventually, hasty, ms, until, until_state};
use redis_actix::prelude::*;
use redis_actix::{CauseKind, ConnectionEvent, ConnectionState, ErrorKind, Fate};
use redis_actix_test::{Proxy, RedisServer};

/// Row 9. Ablations: without leaving the link all writes fail for good; leaving it before the answers on
/// their way came makes fates unknown that are known.
#[actix::test]
async fn row_09_a_demoted_server_is_left_and_says_that_nothing_ran() {
    let primary = crate::support::server();
    let port = primary.port().to_string();
    let replica = RedisServer::builder().args(["--replicaof", "127.0.0.1", &port]).start().expect("a replica");
    let proxy = Proxy::start(primary.addr()).expect("a proxy");
    let (builder, diary) = Diary::of(hasty(config(proxy.port())));
    let redis = builder.start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    let value = || replica.command(["GET", "test:k"]).ok().and_then(|reply| reply.text().ok());
    eventually("the replica in step", || (value().as_deref() == Some("1")).then_some(())).await;

    replica.command(["REPLICAOF", "NO", "ONE"]).expect("promoted").ok().expect("promoted");
    primary.command(["REPLICAOF", "127.0.0.1", &replica.port().to_string()]).expect("demoted").ok().expect("demoted");
    proxy.set_upstream(replica.addr());
    // So that the answers come one by one.
    proxy.split(64);
    let burst: Vec<_> = (0..100).map(|_| redis.send(Incr::new("k"))).collect();
    let mut acknowledged = 1;
    for write in burst {
        match write.await {
            Ok(_) => acknowledged += 1,
            Err(error) => {
                assert_eq!((error.code(), error.fate()), (Some("READONLY"), Fate::Rejected), "{error}");
            }
        }
    }
    assert!(acknowledged < 100, "nothing met the demoted server");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted by the new primary"), acknowledged + 1);
    let lost = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Disconnected { cause, unknown: 0, .. } if cause.kind() == CauseKind::ReadOnly);
    diary.entry("the link that was left", lost).await;
}

/// Row 10, loading. Ablation: handing LOADING to callers fails a hundred commands that only had to wait.
#[actix::test]
async fn row_10_a_loading_server_is_waited_for_on_the_same_link() {
    let server = RedisServer::builder()
        .args(["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"])
        .start()
        .expect("a server");
    server.command(["DEBUG", "POPULATE", "400"]).expect("filled").ok().expect("filled");
    let (builder, diary) = Diary::of(hasty(config(server.port())));
    let redis = builder.start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    let mut operator = server.connect().expect("connected");
    operator.set_timeout(TIME_LIMIT);
    operator.send(["DEBUG", "RELOAD"]).expect("sent");
    let mut looking = server.connect().expect("connected");
    let mut is_loading = || looking.command(["GET", "x"]).is_ok_and(|reply| reply.error().is_some());
    eventually("the server loading", || is_loading().then_some(())).await;
    let started = tokio::time::Instant::now();
    let counts: Vec<_> = (0..100).map(|_| redis.send(Incr::new("k"))).collect();
    for (count, expected) in counts.into_iter().zip(2..) {
        assert_eq!(count.await.expect("waits"), expected, "each once, in order");
    }
    assert!(started.elapsed() > ms(90), "it was not loading");
    aside(move || operator.read().expect("answered").ok().expect("reloaded")).await;
    assert_eq!((redis.status().borrow().disconnects, redis.status().borrow().generation), (0, 1));
    assert_eq!(diary.count(|event| matches!(event, ConnectionEvent::Disconnected { .. })), 0);
}

/// Row 10, busy. What it is asked meanwhile is bounded by its deadline as everything is.
#[actix::test]
async fn row_10_a_busy_server_is_waited_for_until_the_deadline() {
    let server = RedisServer::builder().arg("--busy-reply-threshold", "50").start().expect("a server");
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    crate::support::keep_busy(&server).await;
    let waits = redis.send(Incr::new("k"));
    let error = redis.send(Incr::new("k").timeout(ms(250))).await.expect_err("busy beyond its deadline");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent), "{error}");
    server.command(["SCRIPT", "KILL"]).expect("killed").ok().expect("killed");
    assert_eq!(waits.await.expect("served when the script was gone"), 1);
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// Row 10, a replica without its primary. It is temporary, not a refusal.
#[actix::test]
async fn row_10_a_replica_without_its_primary_is_waited_for() {
    let unused_port = redis_actix_test::free_port().expect("a port").to_string();
    let server = crate::support::server();
    for words in [vec!["CONFIG", "SET", "replica-serve-stale-data", "no"], vec!["REPLICAOF", "127.0.0.1", &unused_port]]
    {
        server.command(words).expect("set").ok().expect("set");
    }
    let redis = hasty(config(server.port()).connect_timeout(ms(300))).start().expect("started");
    let first = redis.send(Get::<String>::new("k"));
    let status = until_state(&redis, ConnectionState::Backoff).await;
    let cause = status.cause.expect("a cause");
    assert_eq!(cause.kind(), CauseKind::NotReady);
    assert!(cause.to_string().contains("MASTERDOWN"), "{cause}");
    server.command(["REPLICAOF", "NO", "ONE"]).expect("promoted").ok().expect("promoted");
    assert_eq!(first.await.expect("served when there was a primary"), None);
}

/// Row 20. Ablation: taking one late answer for a dead link.
#[actix::test]
async fn row_20_slow_is_not_dead() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).command_timeout(ms(500))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    server.command(["CLIENT", "PAUSE", "300"]).expect("paused").ok().expect("paused");
    assert_eq!(redis.send(Incr::new("k")).await.expect("late, but in time"), 1);
    server.connect().expect("connected").send(["DEBUG", "SLEEP", "0.4"]).expect("sent");
    let counts: Vec<_> = (0..10).map(|_| redis.send(Incr::new("k"))).collect();
    for count in counts {
        count.await.expect("late, but in time");
    }
    // Beyond every deadline, and not yet beyond the liveness limit of the link.
    server.connect().expect("connected").send(["DEBUG", "SLEEP", "0.8"]).expect("sent");
    let error = eventually_late(&redis).await;
    assert_eq!(error.fate(), Fate::Unknown, "{error}");
    until(&redis, "still there", |status| status.state == ConnectionState::Ready).await;
    redis.send(Incr::new("k")).await.expect("late, but in time");
    assert_eq!((redis.status().borrow().disconnects, redis.status().borrow().generation), (0, 1));
}

async fn eventually_late(redis: &Redis) -> redis_actix::Error {
    loop {
        if let Err(error) = redis.send(Incr::new("k")).await {
            return error;
        }
    }
}

/// Row 20, a slow line. Ablation: counting the time that a request is still being written as silence.
#[actix::test]
async fn row_20_a_large_request_on_a_slow_line_is_no_silence() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let config = config(proxy.port()).command_timeout(TIME_LIMIT).liveness(ms(1_500));
    let redis = hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.split(64 * 1024);
    proxy.delay(ms(3));
    // The buffers of the system hold half a second of it, so the write looks complete.
    let started = tokio::time::Instant::now();
    redis.send(Set::new("k", vec![b'x'; 48 << 20])).await.expect("written");
    assert!(started.elapsed() > ms(1_800), "not slow: {:?}", started.elapsed());
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// Row 22. Ablation: sending again what the server rejected.
#[actix::test]
async fn row_22_what_the_server_rejects_is_the_callers() {
    let server = RedisServer::builder().args(["--save", "3600 1"]).start().expect("a server");
    server.command(["ACL", "SETUSER", "svc", "on", ">secret", "~*", "+@all", "-set"]).expect("set").ok().expect("set");
    let user = config(server.port()).username("svc").password("secret");
    let (anybody, svc) =
        (hasty(config(server.port())).start().expect("started"), hasty(user).start().expect("started"));
    let set = |words: [&str; 2]| {
        server
            .command(["CONFIG", "SET", words[0], words[1]])
            .expect("asked")
            .ok()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    };
    let rejected = || {
        let stats = server.command(["INFO", "commandstats"]).expect("asked");
        let line = stats.text().expect("text").lines().find(|line| line.starts_with("cmdstat_set:")).map(str::to_owned);
        let counted = line.and_then(|line| Some(line.split_once("rejected_calls=")?.1.split_once(',')?.0.to_owned()));
        counted.map_or(0, |count| count.parse::<u64>().expect("a number"))
    };
    for (code, before, after) in [
        ("OOM", Some(["maxmemory", "1"]), Some(["maxmemory", "0"])),
        ("NOREPLICAS", Some(["min-replicas-to-write", "3"]), Some(["min-replicas-to-write", "0"])),
        ("NOPERM", None, None),
        ("MISCONF", None, None),
    ] {
        before.map(set);
        if code == "MISCONF" {
            std::fs::remove_dir_all(server.dir()).expect("removed");
            server.command(["BGSAVE"]).expect("asked").text().expect("started");
            let failed = || server.log().contains("Background saving error");
            eventually("the failed save", || {
                (failed() || !server.dir().exists() && misconfigured(&server)).then_some(())
            })
            .await;
        }
        let redis = if code == "NOPERM" { &svc } else { &anybody };
        redis.ready(TIME_LIMIT).await.expect("ready");
        let tried = rejected();
        let error = redis.send(Set::new("k", "v").idempotent()).await.expect_err(code);
        assert_eq!(
            (error.kind(), error.fate(), error.code()),
            (ErrorKind::Server, Fate::Rejected, Some(code)),
            "{error}"
        );
        assert_eq!(rejected() - tried, 1, "{code}: tried again");
        after.map(set);
        redis.send(Get::<String>::new("k")).await.expect("reads go on");
        assert_eq!(redis.status().borrow().disconnects, 0, "{code}");
    }
}

fn misconfigured(server: &RedisServer) -> bool {
    server
        .command(["SET", "probe", "x"])
        .is_ok_and(|reply| reply.error().is_some_and(|text| text.starts_with("MISCONF")))
}
