//! Error messages and their advice.

use redis_actix::prelude::*;
use redis_actix::{CauseKind, RedisConfig};
use redis_actix_test::{Answer, FakeServer, RedisCluster};

use crate::support::{self, TIME_LIMIT, aside, config, hasty, until};

/// Ablation: where the refusal of PING counts as a failure, `health` fails with NOPERM.
#[actix::test]
async fn a_user_who_may_not_ping_is_healthy() {
    let server = support::server();
    let user = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "+get", "+set"];
    server.command(user).expect("asked").ok().expect("set");
    let redis = hasty(config(server.port()).username("app").password("secret")).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    redis.health().await.expect("healthy");
    redis.send(Set::new("k", "v")).await.expect("written");
}

/// Ablation: without the advice the error is the address of a node, and nothing more.
#[actix::test]
async fn a_node_of_a_cluster_in_single_mode_says_which_setting_is_missing() {
    let cluster = aside(|| RedisCluster::start().unwrap_or_else(|error| panic!("{error}"))).await;
    let node = &cluster.nodes()[0];
    let redis = hasty(config(node.port())).start().expect("started");
    let mut redirected = None;
    for n in 0..50 {
        if let Err(error) = redis.send(Get::<String>::new(format!("k{n}"))).await {
            redirected = Some(error);
            break;
        }
    }
    let error = redirected.expect("a key of another node");
    assert_eq!(error.code(), Some("MOVED"), "{error}");
    assert!(error.to_string().contains("REDIS_CLUSTER_HOSTS"), "{error}");
}

/// Ablation: without the server's text the cause is an unsolicited reply.
#[actix::test]
async fn the_reason_that_a_server_gives_before_it_hangs_up_is_the_cause() {
    let server = FakeServer::builder().on(|_| Answer::raw(":1\r\n")).start().expect("started");
    let (builder, diary) = support::Diary::of(hasty(config(server.port())));
    let redis = builder.start().expect("started");
    redis.send(Incr::new("n")).await.expect("counted");
    server.send(b"-ERR maintenance, come back later\r\n");
    server.close_all();
    until(&redis, "cut off", |status| status.disconnects == 1).await;
    let lost = |event: &redis_actix::ConnectionEvent| match event {
        redis_actix::ConnectionEvent::Disconnected { cause, .. } => Some(cause.clone()),
        _ => None,
    };
    let cause = diary.events().iter().find_map(lost).expect("received");
    assert_eq!(cause.kind(), CauseKind::NotReady, "{cause}");
    assert!(cause.to_string().contains("ERR: maintenance, come back later"), "{cause}");
}

/// Ablation: shown as the user name, the password is in the table and in Debug.
#[test]
fn a_lone_word_before_the_host_of_a_url_is_not_shown() {
    let of = |vars: &[(&str, &str)]| {
        let vars = vars.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        RedisConfig::from_vars(vars).expect("valid")
    };
    let config = of(&[("REDIS_URL", "redis://hunter2@host:6379/0")]);
    let shown = format!("{} {config:?} {:?}", config.describe(), config.warnings());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(config.warnings().iter().any(|warning| warning.contains("redis://:password@host")), "{shown}");
    // With a password it is a user.
    let config = of(&[("REDIS_URL", "redis://svc@host:6379/0"), ("REDIS_PASSWORD", "secret")]);
    assert!(config.describe().to_string().contains("svc") && config.warnings().is_empty());
}
