//! Subscriptions through a failover by sentinels.

use std::sync::Arc;
use std::time::Duration;

use redis_actix::prelude::*;
use redis_actix_test::SentinelSet;

use crate::complete;
use crate::pubsub_support::{Notes, publish, subscribers};
use crate::support::{aside, eventually, hasty};

/// The old master answers pings until the sentinels make it a replica, ten seconds later, and kill its clients.
/// Ablation: a connection of the subscriptions that does not follow the master fails with `it was not followed, but lost its
/// link: the server closed the connection`.
#[actix::test]
async fn a_subscription_follows_the_master_in_a_planned_failover_with_a_gap() {
    let set = aside(|| Arc::new(SentinelSet::start().unwrap_or_else(|error| panic!("{error}")))).await;
    let config = RedisConfig::builder().sentinel(set.hosts(), set.name()).key_prefix("test:");
    let redis = hasty(config.liveness(Duration::from_secs(60))).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let topics = [Topic::channel("c"), Topic::pattern("p*"), Topic::keyevent("set")];
    let _subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
    let old = set.master().expect("a master");
    let mut published = 0..;
    let mut say = |server| publish(server, "test:c", published.next().expect("endless").to_string());
    for _ in 0..10 {
        say(old);
    }
    let (switching, port) = (set.clone(), old.port());
    let begun =
        move || switching.sentinels()[0].command(["SENTINEL", "FAILOVER", switching.name()]).expect("asked").ok();
    aside(begun).await.expect("begun");
    let master = || set.master().expect("a master");
    eventually("another master", || (master().port() != port).then_some(())).await;
    eventually("the subscriber at the new master", || {
        say(master());
        (subscribers(master(), "test:c") == 1).then_some(())
    })
    .await;
    eventually("that the old one has none", || (subscribers(old, "test:c") == 0).then_some(())).await;
    for _ in 0..10 {
        say(master());
    }
    publish(master(), "test:c", "end");
    notes.payload("end").await;
    assert!(complete(&notes.events()).0 >= 1, "{:?}", notes.events());
    let first = notes.event("a gap", |event| matches!(event, SubscriptionEvent::Gap { .. })).await;
    let SubscriptionEvent::Gap { cause, .. } = first else { panic!("another event") };
    assert!(cause.to_string().contains("the master is at"), "it was not followed, but lost its link: {cause}");
}
