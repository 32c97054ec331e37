//! Sentinels that are known by several addresses, and those that speak RESP2.

use redis_actix::prelude::*;
use redis_actix::{Protocol, RedisConfig};

use crate::scripted_sentinel::{Says, ScriptedSentinel};
use crate::support::{self, TIME_LIMIT, eventually_within, hasty};

/// The second one is configured by a name, and found by its address before it reports its id.
///
/// Ablation: where the watcher of an address that was forgotten goes on, the second link to it never ends.
#[actix::test]
async fn a_sentinel_that_is_known_by_two_addresses_is_watched_once() {
    let master = support::server();
    let says = Says { host: "127.0.0.1", port: master.port(), epoch: 1 };
    let (first, second) = (ScriptedSentinel::start(says.clone()), ScriptedSentinel::start(says));
    first.name_peer(&second);
    second.hide_id(true);
    let hosts = [first.server.addr(), format!("localhost:{}", second.server.port())];
    let config = RedisConfig::builder().sentinel(hosts, "mymaster").key_prefix("test:");
    let redis = hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let subscribes = || {
        let received = second.server.received();
        received.iter().filter(|argv| argv[0].eq_ignore_ascii_case(b"SUBSCRIBE")).count()
    };
    eventually_within(TIME_LIMIT * 2, "it watched twice", || (subscribes() >= 2).then_some(())).await;
    second.hide_id(false);
    eventually_within(TIME_LIMIT * 2, "the end of the second link", || {
        (second.server.live_connections() == 1).then_some(())
    })
    .await;
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// A message that was long under way. In RESP2 the link on which it arrives cannot ask, so another one does.
///
/// Ablation: where the message counts as it is in RESP2, the link to the master is lost: "left: 2, right: 0".
#[actix::test]
async fn a_late_announcement_is_checked_in_resp2_before_it_counts() {
    let (master, earlier) = (support::server(), support::server());
    let sentinel = ScriptedSentinel::start(Says { host: "127.0.0.1", port: master.port(), epoch: 7 });
    let config = RedisConfig::builder().sentinel([sentinel.server.addr()], "mymaster").key_prefix("test:");
    let redis = hasty(config.protocol(Protocol::Resp2)).start().expect("started");
    assert_eq!(redis.send(Incr::new("n")).await.expect("written"), 1);
    sentinel.server.command_named("SUBSCRIBE", TIME_LIMIT).await.expect("watched");
    let asked = sentinel.asked();
    sentinel.publish('*', &Says { host: "127.0.0.1", port: earlier.port(), epoch: 6 });
    eventually_within(TIME_LIMIT, "a question after it", || (sentinel.asked() > asked).then_some(())).await;
    assert_eq!(redis.send(Incr::new("n")).await.expect("written"), 2);
    assert_eq!(redis.status().borrow().disconnects, 0);
    assert_eq!(
        earlier.command(["DBSIZE"]).expect("asked").int().expect("a number"),
        0,
        "a write at the earlier master"
    );
}
