//! Names of consumers, and of the streams that belong to them.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix::{StreamConsumer, StreamEventKind as Kind};
use redis_actix_test::RedisCluster;

use crate::cluster_support::{aside, cluster, config};
use crate::stream_support::*;

/// Ablation: asked at any node, CLIENT LIST finds no reader of the first, and both are live ("not within 20s: the second is
/// reported for 6 streams").
#[actix::test]
async fn a_second_process_of_one_name_is_noticed_on_every_node_of_a_cluster() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let connect = || crate::support::hasty(config(&cluster).command_timeout(secs(15))).start().unwrap();
    let (first, second) = (connect(), connect());
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let (mut held, events) = (Vec::new(), Events::watch());
    for stream in (0..6).map(|n| format!("orders{n}")) {
        let begun = Events::watch();
        let consumer = quick(&stream, "billing").on_event(begun.recipient());
        held.push(consumer.start::<Job>(&first, handler.recipient()).unwrap());
        begun.saw("the first reads", |kind| matches!(kind, Kind::Connected { .. })).await;
        let consumer = quick(&stream, "billing").on_event(events.recipient());
        held.push(consumer.start::<Job>(&second, handler.recipient()).unwrap());
    }
    let reported = || events.count(|kind| matches!(kind, Kind::NameTaken { .. }));
    eventually("the second is reported for 6 streams", async || reported() == 6).await;
    assert_eq!(events.count(|kind| matches!(kind, Kind::Connected { .. })), 0, "{:?}", events.all());
}

/// Ablation: with the group and the consumer joined by a colon alone the second waits for its name ("not within 20s: both
/// read").
#[actix::test]
async fn group_and_consumer_with_colons_do_not_share_a_name() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consume = |group: &str, name: &str| {
        let consumer = quick("orders", group).consumer(name).on_event(events.recipient());
        consumer.start::<Job>(&redis, handler.recipient()).unwrap()
    };
    let _held = (consume("billing", "eu:pod-1"), consume("billing:eu", "pod-1"));
    eventually("both read", async || events.count(|kind| matches!(kind, Kind::Connected { .. })) == 2).await;
}

/// Ablation: with one default name for the process the second waits for the first ("not within 20s: both read").
#[actix::test]
async fn two_consumers_of_a_group_need_no_names_of_their_own() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consume = || {
        let consumer = StreamConsumer::builder("orders", "billing").on_event(events.recipient());
        consumer.start::<Job>(&redis, handler.recipient()).unwrap()
    };
    let (first, second) = (consume(), consume());
    eventually("both read", async || events.count(|kind| matches!(kind, Kind::Connected { .. })) == 2).await;
    assert_ne!(first.name().consumer, second.name().consumer);
}

/// Ablation: without the check such consumers start, and one reject makes hundreds of entries.
#[actix::test]
async fn a_stream_is_not_read_by_the_consumer_that_writes_its_dead_letters_there() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let builders = [
        quick("orders", "billing").dead_letter("orders"),
        quick("orders", "billing").stream("more", 1).dead_letter("more"),
        quick("orders", "billing").stream("orders:dlq", 1),
    ];
    for builder in builders {
        let refused = builder.start::<Job>(&redis, handler.recipient()).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    }
    let two = quick("orders", "billing").stream("orders:dlq", 1).dead_letter("dead");
    drop(two.start::<Job>(&redis, handler.recipient()).unwrap());
}

/// Ablation: with the idle time of XINFO alone both are removed on Redis 7.0, again and again.
#[actix::test]
async fn a_live_consumer_that_has_nothing_to_do_is_not_forgotten() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consume = |name: &str| {
        let consumer = quick("orders", "billing").consumer(name).forget_after(secs(1)).on_event(events.recipient());
        consumer.start::<Job>(&redis, handler.recipient()).unwrap()
    };
    let held = [consume("first"), consume("second")];
    eventually("both read", async || events.count(|kind| matches!(kind, Kind::Connected { .. })) == 2).await;
    // The server knows a consumer when it has got something.
    eventually("both have got something", async || {
        add(&redis, [0]).await;
        let known = redis.send(XInfoConsumers::new("orders", "billing")).await.unwrap();
        ["first", "second"].iter().all(|name| known.iter().any(|consumer| consumer.name == name.as_bytes()))
    })
    .await;
    tell(&fixture.server, ["XGROUP", "CREATECONSUMER", "t:orders", "billing", "dead"]);
    let removed =
        |name: &str| events.count(|kind| matches!(kind, Kind::ConsumerRemoved { name: gone } if gone == name));
    eventually("the dead one is removed", async || removed("dead") == 1).await;
    tell(&fixture.server, ["XGROUP", "CREATECONSUMER", "t:orders", "billing", "dead"]);
    eventually("once more", async || removed("dead") == 2).await;
    assert_eq!((removed("first"), removed("second")), (0, 0), "{:?}", events.all());
    drop(held);
}
