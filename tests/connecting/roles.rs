//! Whether a server is the master, where it does not answer ROLE.

use redis_actix::prelude::*;
use redis_actix::{ConnectionState, RedisConfig};
use redis_actix_test::{Answer, FakeServer, SentinelSet};

use crate::pubsub_support::Notes;
use crate::scripted_sentinel::{Says, ScriptedSentinel};
use crate::support::{TIME_LIMIT, aside, eventually, hasty, until};

/// Ablation: where a refusal of ROLE parks, `ready` fails with NOPERM.
#[actix::test]
async fn a_user_without_dangerous_commands_is_served_through_sentinels() {
    let set = aside(|| SentinelSet::start().unwrap_or_else(|error| panic!("{error}"))).await;
    for server in set.servers() {
        let user = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-@dangerous"];
        server.command(user).expect("asked").ok().expect("set");
    }
    let config = RedisConfig::builder().sentinel(set.hosts(), set.name()).key_prefix("test:");
    let redis = hasty(config.username("app").password("secret").read_from(ReadFrom::Replica)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    redis.send(Set::new("k", "v")).await.expect("written");
    redis.send(Get::<String>::new("k")).await.expect("read");
}

/// A master that refuses ROLE, says `hello` of itself in HELLO and `info` in INFO.
async fn connects(hello: &'static str, info: &'static str) -> Result<(), String> {
    let server = FakeServer::builder()
        .own_handshake()
        .on(move |argv| match &argv[0][..] {
            b"HELLO" => Answer::raw(hello),
            b"ROLE" => Answer::raw("-NOPERM User app has no permissions to run the 'role' command\r\n"),
            b"INFO" => Answer::raw(info),
            b"PING" => Answer::raw("+PONG\r\n"),
            _ => Answer::raw("+OK\r\n"),
        })
        .start()
        .expect("started");
    let sentinel = ScriptedSentinel::start(Says { host: "127.0.0.1", port: server.port(), epoch: 1 });
    let config = RedisConfig::builder().sentinel([sentinel.server.addr()], "mymaster").key_prefix("test:");
    let redis = hasty(config).start().expect("started");
    let asked = redis.send(Set::new("k", "v"));
    let status =
        until(&redis, "judged", |status| status.state == ConnectionState::Ready || status.cause.is_some()).await;
    drop(asked);
    match status.cause {
        None => Ok(()),
        Some(cause) => {
            assert!(!cause.is_refusal(), "parked: {cause}");
            Err(cause.to_string())
        }
    }
}

/// Ablation: without INFO a replica that says nothing in HELLO is taken for the master.
#[actix::test]
async fn the_role_is_taken_from_hello_then_from_info_and_else_not_asked_for() {
    const DENIED: &str = "-NOPERM no permissions\r\n";
    const SILENT: &str = "%0\r\n";
    connects("%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n", DENIED).await.expect("a master by HELLO");
    let error = connects("%1\r\n$4\r\nrole\r\n$7\r\nreplica\r\n", DENIED).await.expect_err("a replica by HELLO");
    assert!(error.contains("which is a replica now"), "{error}");
    connects(SILENT, "$13\r\nrole:master\r\n\r\n").await.expect("a master by INFO");
    let error = connects(SILENT, "$12\r\nrole:slave\r\n\r\n").await.expect_err("a replica by INFO");
    assert!(error.contains("which is a slave now"), "{error}");
    connects(SILENT, DENIED).await.expect("used, with a warning");
}

/// Ablation: where the role that HELLO reports is enough, INFO is never sent: `no INFO came`.
#[actix::test]
async fn a_replica_that_refuses_role_is_asked_for_the_state_of_its_link_by_info() {
    for (link, read) in [("up", "r"), ("down", "m")] {
        let server = |role: &'static str, value: &'static str| {
            let info = format!("role:slave\r\nmaster_link_status:{link}\r\n");
            FakeServer::builder()
                .own_handshake()
                .on(move |argv| match &argv[0][..] {
                    b"HELLO" => Answer::raw(format!("%1\r\n$4\r\nrole\r\n${}\r\n{role}\r\n", role.len())),
                    b"ROLE" => Answer::raw("-NOPERM no permissions to run the 'role' command\r\n"),
                    b"INFO" => Answer::raw(format!("${}\r\n{info}\r\n", info.len())),
                    b"PING" => Answer::raw("+PONG\r\n"),
                    b"GET" => Answer::raw(format!("$1\r\n{value}\r\n")),
                    _ => Answer::raw("+OK\r\n"),
                })
                .start()
                .expect("started")
        };
        let (master, replica) = (server("master", "m"), server("replica", "r"));
        let says = Says { host: "127.0.0.1", port: master.port(), epoch: 1 };
        let sentinel = ScriptedSentinel::start_with_replica(says, Some(replica.port()));
        let config = RedisConfig::builder().sentinel([sentinel.server.addr()], "mymaster").key_prefix("test:");
        let redis = hasty(config.read_from(ReadFrom::Replica)).start().expect("started");
        redis.ready(TIME_LIMIT).await.expect("ready");
        let mut last = None;
        for _ in 0..20 {
            last = redis.send(Get::<String>::new("k")).await.expect("read");
            replica.command_named("INFO", TIME_LIMIT).await.expect("asked for its link");
            if last.as_deref() == Some("r") {
                break;
            }
        }
        assert_eq!(last.as_deref(), Some(read), "the link of the replica is {link}");
    }
}

/// In RESP2 a server reports no role by itself. Two links of one handle: the shared one and that of the subscription.
///
/// Ablation: where each server that reports no role counts as a demoted master, one refused write ends the subscription of a
/// replica: "left: 1, right: 0". Where accepted writes are not noted, the subscription stays at the demoted master.
#[actix::test]
async fn in_resp2_a_refused_write_is_a_demotion_only_where_a_write_was_accepted_before() {
    for was_master in [false, true] {
        let (server, other) = (crate::support::server(), crate::support::server());
        let port = other.port().to_string();
        let follow = || server.command(["REPLICAOF", "127.0.0.1", &port]).expect("asked").ok().expect("done");
        let config = crate::support::config(server.port()).protocol(redis_actix::Protocol::Resp2);
        let redis = hasty(config).start().expect("started");
        if was_master {
            redis.send(Set::new("k", "v")).await.expect("written");
        } else {
            follow();
        }
        let (inbox, notes) = Notes::inbox();
        let _subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
        if was_master {
            follow();
        }
        let error = redis.send(Set::new("k", "v")).await.expect_err("refused");
        assert_eq!(error.code(), Some("READONLY"), "{error}");
        if was_master {
            eventually("the subscription leave", || (notes.gaps() == 1).then_some(())).await;
        } else {
            crate::support::until(&redis, "reconnected", |status| status.disconnects == 1).await;
            redis.ready(TIME_LIMIT).await.expect("ready");
            let published = async || redis.send(Publish::new("c", "x")).await.expect("published");
            published().await;
            notes.payload("x").await;
            assert_eq!(notes.gaps(), 0);
        }
    }
}
