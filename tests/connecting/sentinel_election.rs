//! Which of several answers of sentinels counts.

use std::sync::Arc;

use redis_actix::RedisConfig;
use redis_actix::prelude::*;
use redis_actix_test::SentinelSet;

use crate::scripted_sentinel::{Says, ScriptedSentinel};
use crate::support::{self, TIME_LIMIT, aside, eventually, eventually_within, hasty, ms, until};

async fn set() -> Arc<SentinelSet> {
    aside(|| Arc::new(SentinelSet::start().unwrap_or_else(|error| panic!("{error}")))).await
}

fn config(hosts: impl IntoIterator<Item = String>) -> redis_actix::RedisConfigBuilder {
    RedisConfig::builder().sentinel(hosts, "mymaster").key_prefix("test:")
}

/// Ablation: where the first sentinel that answers is believed, writes are found at the stale master, and links are lost.
#[actix::test]
async fn a_stale_sentinel_is_outvoted_and_a_healthy_link_is_kept() {
    let set = set().await;
    let stale = support::server();
    let port = set.master().expect("a master").port();
    let liar = ScriptedSentinel::start(Says { host: "127.0.0.1", port: stale.port(), epoch: 0 });
    // The same master by another name.
    let alias = ScriptedSentinel::start(Says { host: "localhost", port, epoch: 0 });
    let hosts: Vec<String> = set.hosts().into_iter().chain([liar.server.addr(), alias.server.addr()]).collect();
    let redis = hasty(config(hosts.clone())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    for _ in 0..20 {
        let other = hasty(config(hosts.clone())).start().expect("started");
        other.send(Incr::new("n")).await.expect("written");
        other.shutdown(TIME_LIMIT).await.expect("ended");
    }
    let asked = (liar.asked(), alias.asked());
    eventually_within(TIME_LIMIT, "two polls of both", || {
        (liar.asked() >= asked.0 + 2 && alias.asked() >= asked.1 + 2).then_some(())
    })
    .await;
    assert_eq!(redis.send(Incr::new("n")).await.expect("written"), 21);
    assert_eq!(redis.status().borrow().disconnects, 0);
    assert_eq!(stale.command(["DBSIZE"]).expect("asked").int().expect("a number"), 0, "writes at the stale master");
}

/// Ablation: with votes alone the two that have not heard of the failover win, and nothing is written to the new master.
#[actix::test]
async fn a_higher_configuration_epoch_wins_over_a_majority() {
    let (old, new) = (support::server(), support::server());
    let says = |port, epoch| Says { host: "127.0.0.1", port, epoch };
    let sentinels: Vec<_> = (0..3).map(|_| ScriptedSentinel::start(says(old.port(), 4))).collect();
    let redis = hasty(config(sentinels.iter().map(|sentinel| sentinel.server.addr()))).start().expect("started");
    redis.send(Incr::new("n")).await.expect("written");
    sentinels[0].say(says(new.port(), 5));
    // Not announced: found by polling.
    until(&redis, "at the new master", |status| status.disconnects == 1).await;
    redis.send(Incr::new("n")).await.expect("written");
    assert_eq!(new.command(["GET", "test:n"]).expect("asked").text().expect("written"), "1");
    // The epoch of the one that has heard of it is what counts, not when it was heard.
    sentinels[1].announce();
    let asked = sentinels[1].asked();
    eventually("the poll after it", || (sentinels[1].asked() > asked).then_some(())).await;
    assert_eq!(redis.send(Incr::new("n")).await.expect("written"), 2);
    assert_eq!(redis.status().borrow().disconnects, 1);
}

/// Their user may not read the epochs. Two are frozen, and the third is configured again, with another server.
///
/// Ablation: where the sentinels that answer decide, the third moves the healthy link once the reports of the others are
/// too old, and the second write is counted there: "left: 1, right: 2". Where it is never believed, nothing is served once the master is killed.
#[actix::test]
async fn silent_sentinels_keep_their_word_as_long_as_their_master_answers() {
    let set = set().await;
    let other = support::server();
    let setting_up = set.clone();
    let port = other.port().to_string();
    aside(move || {
        let [first, second, third] = setting_up.sentinels() else { panic!("three sentinels") };
        for sentinel in [first, second, third] {
            sentinel.command(["ACL", "SETUSER", "default", "-sentinel|master"]).expect("asked").ok().expect("set");
        }
        third.command(["SENTINEL", "REMOVE", "mymaster"]).expect("asked").ok().expect("removed");
        third.command(["SENTINEL", "MONITOR", "mymaster", "127.0.0.1", &port, "2"]).expect("asked").ok().expect("set");
    })
    .await;
    let redis = hasty(config(set.hosts()).command_timeout(ms(20_000))).start().expect("started");
    assert_eq!(redis.send(Incr::new("n")).await.expect("written"), 1);
    for sentinel in &set.sentinels()[..2] {
        sentinel.stop_process().expect("frozen");
    }
    // Longer than reports count.
    let reports_expire = std::time::Instant::now() + ms(27_000);
    eventually_within(ms(60_000), "the reports expire", || (std::time::Instant::now() > reports_expire).then_some(()))
        .await;
    assert_eq!(redis.send(Incr::new("n")).await.expect("written"), 2);
    assert_eq!(redis.status().borrow().disconnects, 0);
    set.servers()[0].kill().expect("killed");
    until(&redis, "without its master", |status| status.disconnects > 0).await;
    assert_eq!(redis.send(Incr::new("n")).await.expect("served by the other"), 1);
    assert_eq!(other.command(["GET", "test:n"]).expect("asked").text().expect("written"), "1");
}

/// Ablation: without the others that it named no sentinel is left to ask, and the killed master is never replaced.
#[actix::test]
async fn the_other_sentinels_are_discovered_and_replace_the_configured_one() {
    let set = set().await;
    let redis = hasty(config([set.hosts()[0].clone()]).command_timeout(ms(20_000))).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("written");
    // It subscribes at each sentinel that it knows.
    let subscribers = |at: usize| {
        let clients = set.sentinels()[at].clients().expect("asked");
        clients.iter().filter(|client| client.contains("lib-name=redis-actix") || client.contains("sub=1")).count()
    };
    eventually("links to the others", || (subscribers(1) > 0 && subscribers(2) > 0).then_some(())).await;
    let killing = set.clone();
    aside(move || {
        let master = killing.master().expect("a master");
        assert_eq!(master.command(["WAIT", "1", "5000"]).expect("asked").int().expect("a number"), 1);
        killing.sentinels()[0].kill().expect("killed");
        master.kill().expect("killed");
    })
    .await;
    until(&redis, "without its master", |status| status.disconnects > 0).await;
    assert_eq!(redis.send(Get::<String>::new("k")).await.expect("served by the new one").as_deref(), Some("v"));
}

/// Ablation: dialled as announced, the address leads nowhere, and the command times out.
#[actix::test]
async fn addresses_that_sentinels_announce_are_mapped() {
    const ANNOUNCED: &str = "10.255.255.1";
    let (master, next) = (support::server(), support::server());
    let port = master.port().to_string();
    let replica = aside(move || {
        let replica = redis_actix_test::RedisServer::builder().args(["--replicaof", "127.0.0.1", &port]).start();
        replica.unwrap_or_else(|error| panic!("{error}"))
    })
    .await;
    let says = |port, epoch| Says { host: ANNOUNCED, port, epoch };
    let sentinel = ScriptedSentinel::start_with_replica(says(master.port(), 1), Some(replica.port()));
    let config = config([sentinel.server.addr()]).address_map(|announced| {
        let host = if announced.host == ANNOUNCED { "127.0.0.1" } else { &announced.host };
        redis_actix::HostPort { host: host.to_owned(), port: announced.port }
    });
    let redis = hasty(config.command_timeout(ms(20_000))).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("written");
    support::replicas::replicas_ready(&redis, &["k".to_owned()], 1).await;
    eventually("the sentinel watched", || (sentinel.asked() >= 2).then_some(())).await;
    sentinel.say(says(next.port(), 2));
    sentinel.announce();
    until(&redis, "at the next master", |status| status.disconnects == 1).await;
    redis.send(Set::new("k", "w")).await.expect("written");
    assert_eq!(next.command(["GET", "test:k"]).expect("asked").text().expect("written"), "w");
}
