//! What waits behind a gap while a node of a cluster is gone.

use redis_actix::SPublish;
use redis_actix::prelude::*;
use redis_actix_test::RedisCluster;

use crate::cluster_support::{aside, cluster, joined, slot_of};
use crate::pubsub_support::Notes;
use crate::support::{TIME_LIMIT, eventually, ms};

/// Publishes on a shard channel until the inbox has it.
async fn publish_until_heard(redis: &Redis, notes: &Notes, channel: &str, payload: &str) {
    let deadline = std::time::Instant::now() + TIME_LIMIT;
    while !notes.payloads().iter().any(|seen| seen == payload) {
        assert!(std::time::Instant::now() < deadline, "{payload} is never heard");
        let _ = tokio::time::timeout(ms(100), redis.send(SPublish::new(channel, payload))).await;
        tokio::time::sleep(ms(20)).await;
    }
}

/// One node is down, and the link to another one is lost after messages are no longer held back for the first. The new link says
/// that notifications are off, so that this event stands between the gap and all messages.
/// Ablation: a gap that counts as held only in front of a message fails with `later is never heard`.
#[actix::test]
async fn a_status_event_behind_a_gap_does_not_make_a_subscriber_deaf() {
    let cluster = aside(|| cluster(RedisCluster::builder().arg("--cluster-require-full-coverage", "no"))).await;
    let redis = joined(&cluster).start().expect("started");
    let owner = |channel: &str| cluster.owner(slot_of(&redis, channel)).expect("an owner");
    let gone = owner("{t0}");
    let all = (0..30).map(|n| format!("{{t{n}}}"));
    let other = all.into_iter().find(|channel| owner(channel).port() != gone.port()).expect("of another node");
    let (inbox, notes) = Notes::inbox();
    let topics = [Topic::shard("{t0}"), Topic::shard(other.as_str()), Topic::keyspace("*")];
    let _subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
    let off = |event: &SubscriptionEvent| matches!(event, SubscriptionEvent::NotificationsOff { .. });
    let notices = || notes.events().iter().filter(|event| off(event)).count();
    eventually("that all nodes send no events of keys", || (notices() >= 3).then_some(())).await;
    gone.kill().expect("killed");
    publish_until_heard(&redis, &notes, &other, "meanwhile").await;
    let killed = owner(&other).command(["CLIENT", "KILL", "TYPE", "PUBSUB"]).expect("asked").int().expect("a number");
    assert!(killed > 0);
    publish_until_heard(&redis, &notes, &other, "later").await;
    assert!(notices() >= 4, "{:?}", notes.events());
}
