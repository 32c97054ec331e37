//! Announcements of sentinels, and the dials that they meet.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, RedisConfig};
use redis_actix_test::SentinelSet;

use crate::scripted_sentinel::{Says, ScriptedSentinel};
use crate::support::{self, Diary, TIME_LIMIT, aside, eventually, hasty, ms, until};

/// Ablation: where an announcement does not replace the dial, the connect timeout of a minute passes at the frozen master,
/// and the command times out.
#[actix::test]
async fn an_announcement_replaces_the_dial_under_way() {
    let set = aside(|| Arc::new(SentinelSet::start().unwrap_or_else(|error| panic!("{error}")))).await;
    let master = set.master().expect("a master");
    // Frozen, it still accepts: the dial hangs in its handshake.
    master.stop_process().expect("frozen");
    let config = RedisConfig::builder()
        .sentinel(set.hosts(), set.name())
        .key_prefix("test:")
        .connect_timeout(ms(60_000))
        .command_timeout(ms(30_000));
    let (builder, diary) = Diary::of(hasty(config));
    let redis = builder.start().expect("started");
    assert_eq!(redis.send(Incr::new("n")).await.expect("served by the new master"), 1);
    assert_eq!(diary.count(|event| matches!(event, ConnectionEvent::Retrying { .. })), 0, "no attempt has failed");
    assert!(redis.status().borrow().generation >= 2, "the first dial was replaced");
}

/// Ablation: where an announcement is kept for the next dial, the second and the third of the first failover lead the dial
/// of the second one back to the old master, which does not answer.
#[actix::test]
async fn announcements_of_an_earlier_failover_lead_nowhere() {
    let (first, last) = (support::server(), support::server());
    let middle = support::server();
    let says = |port, epoch| Says { host: "127.0.0.1", port, epoch };
    let sentinels: Vec<_> = (0..3).map(|_| ScriptedSentinel::start(says(first.port(), 1))).collect();
    let hosts = sentinels.iter().map(|sentinel| sentinel.server.addr());
    let config = RedisConfig::builder()
        .sentinel(hosts, "mymaster")
        .key_prefix("test:")
        .connect_timeout(ms(60_000))
        .command_timeout(ms(30_000));
    let redis = hasty(config).start().expect("started");
    redis.send(Incr::new("n")).await.expect("written");
    eventually("the sentinels watched", || sentinels.iter().all(|sentinel| sentinel.asked() >= 2).then_some(())).await;
    for sentinel in &sentinels {
        sentinel.say(says(middle.port(), 2));
        sentinel.announce();
    }
    until(&redis, "at the second master", |status| status.disconnects == 1).await;
    redis.send(Incr::new("n")).await.expect("written");
    let asked: Vec<_> = sentinels.iter().map(ScriptedSentinel::asked).collect();
    let all_asked = || sentinels.iter().zip(&asked).all(|(sentinel, asked)| sentinel.asked() > *asked);
    eventually("a poll of each after it", || all_asked().then_some(())).await;
    // The next failover is not announced, and the old master accepts and does not answer.
    middle.stop_process().expect("frozen");
    for sentinel in &sentinels {
        sentinel.say(says(last.port(), 3));
    }
    let calls = redis.send(Incr::new("n")).await;
    // Written to the frozen one before the poll: it may have run.
    assert!(calls.is_err() || calls.is_ok_and(|n| n == 1));
    redis.send(Incr::new("n").timeout(ms(30_000))).await.expect("served by the last master");
    assert!(last.command(["GET", "test:n"]).expect("asked").text().is_ok(), "written at the last one");
    middle.cont_process().expect("thawed");
}

/// Ablation: where the link is compared by name, an announcement of the same master by another name costs it.
#[actix::test]
async fn an_announcement_of_the_same_server_by_another_name_costs_no_link() {
    let master = support::server();
    let says = |host, epoch| Says { host, port: master.port(), epoch };
    let sentinel = ScriptedSentinel::start(says("127.0.0.1", 1));
    let config = RedisConfig::builder().sentinel([sentinel.server.addr()], "mymaster").key_prefix("test:");
    let redis = hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    eventually("the sentinel watched", || (sentinel.asked() >= 2).then_some(())).await;
    sentinel.say(says("localhost", 2));
    let asked = sentinel.asked();
    sentinel.announce();
    eventually("the question after it", || (sentinel.asked() > asked).then_some(())).await;
    let there_and_back: i64 = redis.send(Incr::new("n")).await.expect("written");
    assert_eq!((there_and_back, redis.status().borrow().disconnects), (1, 0));
}
