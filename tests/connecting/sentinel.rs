//! A master that sentinels name, and its successor.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{TIME_LIMIT, aside, eventually, hasty, ms, until};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, Fate, RedisConfig, RedisConfigBuilder};
use redis_actix_test::SentinelSet;

fn config(set: &SentinelSet) -> RedisConfigBuilder {
    RedisConfig::builder().sentinel(set.hosts(), set.name()).key_prefix("test:")
}

async fn set() -> Arc<SentinelSet> {
    aside(|| Arc::new(SentinelSet::start().unwrap_or_else(|error| panic!("{error}")))).await
}

/// Hears from a sentinel that it has switched to another master.
async fn switched(set: &Arc<SentinelSet>) -> Instant {
    let set = set.clone();
    aside(move || {
        let mut listener = set.sentinels()[0].connect().expect("a sentinel");
        listener.set_timeout(Duration::from_secs(20));
        listener.command(["SUBSCRIBE", "+switch-master"]).expect("subscribed");
        let frozen = set.master().expect("a master");
        // Frozen, not killed: the link stays, and nothing but the sentinels says that it leads nowhere.
        frozen.stop_process().expect("frozen");
        listener.read().expect("switched");
        Instant::now()
    })
    .await
}

/// Ablation: without listening to `+switch-master` the frozen master is given up by the next poll, every 5 s or so: written
/// again 3.1 s after the switch, where it is a millisecond otherwise.
#[actix::test]
async fn a_switch_of_the_master_is_followed_at_once() {
    let set = set().await;
    let redis =
        hasty(config(&set).command_timeout(ms(20_000)).liveness(Duration::from_secs(60))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(Incr::new("n")).await.expect("written"), 1);
    let old = set.master().expect("a master").port();
    let at = switched(&set).await;
    let mut failures = 0;
    loop {
        // Its own master had it, and so has the new one.
        match redis.send(Incr::new("n").timeout(ms(500))).await {
            Ok(n) => {
                assert!(n >= 2, "another counter");
                break;
            }
            Err(error) => {
                failures += 1;
                assert!(matches!(error.fate(), Fate::NotSent | Fate::Unknown), "{error}");
                assert!(at.elapsed() < Duration::from_secs(10), "never written again: {error}");
            }
        }
    }
    println!("written again {:?} after the switch, {failures} failures until then", at.elapsed());
    assert!(at.elapsed() < Duration::from_secs(3), "{:?}", at.elapsed());
    assert_ne!(set.master().expect("a master").port(), old);
}

#[actix::test]
async fn a_killed_master_is_replaced_and_nothing_runs_twice() {
    let set = set().await;
    let redis = hasty(config(&set).command_timeout(ms(15_000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let info = redis.connection_info();
    assert_eq!((info.mode, info.addresses.len()), ("sentinel", 3));
    redis.send(Set::new("k", "v")).await.expect("written");
    let killing = set.clone();
    aside(move || {
        let master = killing.master().expect("a master");
        assert_eq!(master.command(["WAIT", "1", "2000"]).expect("asked").int().expect("a number"), 1);
        master.kill().expect("killed");
    })
    .await;
    // A command written to a link before its end is noticed may have run.
    until(&redis, "without its master", |status| status.disconnects > 0).await;
    // It waits for the new master.
    assert_eq!(redis.send(Incr::new("once")).await.expect("served by the new one"), 1);
    assert_eq!(redis.send(Get::<String>::new("k")).await.expect("read").as_deref(), Some("v"));
    assert_eq!(redis.health().await.expect("well").role.as_deref(), Some("master"));
}

#[actix::test]
async fn sentinels_that_know_no_such_master_are_named() {
    let set = set().await;
    let config = RedisConfig::builder().sentinel(set.hosts(), "yours").key_prefix("test:").command_timeout(ms(600));
    let redis = hasty(config).start().expect("started");
    let error = redis.send(Get::<String>::new("k")).await.expect_err("no master");
    assert_eq!(error.fate(), Fate::NotSent);
    eventually("the reason", || {
        let status = redis.status();
        let status = status.borrow();
        let is_named = status.cause.as_ref().is_some_and(|cause| cause.to_string().contains("REDIS_SENTINEL_MASTER"));
        (status.state == ConnectionState::Backoff && is_named).then_some(())
    })
    .await;
}
