//! Everything public that is a future is polled once and dropped, and polled once and kept: no other caller notices.
//!
//! Not in the list: `close_redis`, which is `shutdown` of the connection of the process; `Claimed::{done, release}`,
//! `Lease::lost` and `StreamConsumer::{stats, redrive}`, which need a handler and send commands of the list;
//! `Subscription::close`, which takes the subscription along.

use std::{future::Future, pin::Pin, time::Duration};

use actix::{Actor, Context, Handler};
use futures_util::poll;
use redis_actix::prelude::*;
use redis_actix::{
    BLPop, ClearPrefix, ConsumerGroup, CountKeys, DeadLetterFilter, DeadLetters, Deduplicate, Entry, LinkLimit,
    Producer, Raw, ScanHash, ScanKeys, Scheduled, StreamId, SubscriptionEvent, Topic, Transaction, Value, Watch, XAdd,
};

use crate::support::{TIME_LIMIT, config, hasty, ms, server};

type Any = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Inbox;

impl Actor for Inbox {
    type Context = Context<Self>;
}

impl Handler<SubscriptionEvent> for Inbox {
    type Result = ();

    fn handle(&mut self, _: SubscriptionEvent, _: &mut Context<Self>) {}
}

/// A future that has a handle of its own and begins with its first poll, as `Redis::send` does not.
macro_rules! with {
    ($redis:ident, $future:expr) => {{
        let $redis = $redis.clone();
        Box::pin(async move { drop($future.await) }) as Any
    }};
}

fn entry() -> XAdd {
    XAdd::new("orders").field("f", "v")
}

fn futures(redis: &Redis) -> Vec<(&'static str, Any)> {
    let second = Duration::from_secs(1);
    let inbox = Inbox.start().recipient();
    vec![
        ("send", with!(redis, redis.send(Get::<String>::new("a")))),
        ("send, unprefixed", with!(redis, redis.unprefixed().send(Raw::<Value>::new("GET").key("a")))),
        ("send, blocking", with!(redis, redis.send(BLPop::new(["nothing"], second * 60)))),
        (
            "watch",
            with!(redis, redis.watch(Watch::new(["w"]), |_| async { Ok(Some(Transaction::new((Incr::new("w"),)))) })),
        ),
        ("resolve", with!(redis, redis.resolve::<Value>(redis::cmd("PFCOUNT").arg("p")))),
        ("ready", with!(redis, redis.ready(TIME_LIMIT))),
        ("health", with!(redis, redis.health())),
        ("lost", with!(redis, redis.lost(ms(1)))),
        ("reauthenticate", with!(redis, redis.reauthenticate())),
        ("subscribe", with!(redis, redis.subscribe([Topic::channel("c")], inbox.clone()))),
        ("count_keys", with!(redis, redis.count_keys(CountKeys::new("*")))),
        ("clear_prefix", with!(redis, redis.clear_prefix(ClearPrefix::matching("cleared:*")).unwrap().run())),
        ("scan, keys", with!(redis, redis.scan_keys(ScanKeys::new("*")).next())),
        ("scan, hash", with!(redis, redis.scan_hash::<String, String>(ScanHash::new("h")).next())),
        ("stream_features", with!(redis, redis.stream_features())),
        (
            "append",
            with!(
                redis,
                Producer::new(&redis, "orders")
                    .append(Entry::new(&std::collections::BTreeMap::from([("f", 1)])).unwrap())
            ),
        ),
        ("trim", with!(redis, Producer::new(&redis, "orders").max_len(1000).trim())),
        ("configure_server", with!(redis, Producer::new(&redis, "orders").configure_server())),
        ("schedule", with!(redis, redis.schedule_in(entry(), second))),
        ("scheduled, count", with!(redis, Scheduled::new(&redis, "orders").count())),
        ("scheduled, move_due", with!(redis, Scheduled::new(&redis, "orders").move_due())),
        ("claim", with!(redis, Deduplicate::new(&redis, "d").claim("id"))),
        ("once", with!(redis, Deduplicate::new(&redis, "d").once("other", async { Ok(1) }))),
        ("group, create", with!(redis, ConsumerGroup::new(&redis, "orders", "g").create(StreamId::MIN))),
        ("group, info", with!(redis, ConsumerGroup::new(&redis, "orders", "g").info())),
        ("group, pending", with!(redis, ConsumerGroup::new(&redis, "orders", "g").pending())),
        ("group, consumers", with!(redis, ConsumerGroup::new(&redis, "orders", "g").consumers())),
        ("group, seek_to_end", with!(redis, ConsumerGroup::new(&redis, "orders", "g").seek_to_end())),
        ("dead letters, count", with!(redis, DeadLetters::new(&redis, "orders", "g").count())),
        ("dead letters, list", with!(redis, DeadLetters::new(&redis, "orders", "g").list(DeadLetterFilter::default()))),
        (
            "dead letters, redrive",
            with!(redis, DeadLetters::new(&redis, "orders", "g").redrive(DeadLetterFilter::default())),
        ),
        (
            "dead letters, purge",
            with!(redis, DeadLetters::new(&redis, "orders", "g").purge(DeadLetterFilter::default())),
        ),
    ]
}

/// What another caller does: everything that needs the shared connection or one of its own.
async fn others_notice_nothing(redis: &Redis, after: &str) {
    in_time(after, "send", redis.send(Set::new("probe", "v"))).await.unwrap();
    in_time(after, "push", redis.send(LPush::new("list", ["e"]))).await.unwrap();
    in_time(after, "block", redis.send(BLPop::new(["list"], TIME_LIMIT))).await.unwrap().unwrap();
    let watched = redis.watch(["probe"], |_| async { Ok(Some(Transaction::new((Incr::new("n"),)))) });
    in_time(after, "watch", watched).await.unwrap().unwrap();
    let inbox = Inbox.start().recipient();
    let subscribed =
        in_time(after, "subscribe", async { redis.subscribe([Topic::channel("probe")], inbox).await }).await;
    in_time(after, "unsubscribe", subscribed.unwrap().close()).await;
}

async fn in_time<T>(after: &str, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIME_LIMIT, work).await.unwrap_or_else(|_| panic!("after {after}: {what} is held up"))
}

#[actix::test]
async fn a_future_that_is_polled_once_and_dropped_does_not_affect_others() {
    let server = server();
    // Room for the probe alone: what a dropped future keeps would be missing.
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).links(LinkLimit::new(1)).start().unwrap();
    redis.ready(TIME_LIMIT).await.unwrap();
    for (name, mut future) in futures(&redis) {
        let _ = poll!(future.as_mut());
        drop(future);
        others_notice_nothing(&redis, name).await;
    }
}

#[actix::test]
async fn a_future_that_is_polled_once_and_kept_does_not_affect_others() {
    let server = server();
    // One for BLPOP and one for the watch that has begun, which have a right to them, and one for the others.
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).links(LinkLimit::new(3)).start().unwrap();
    redis.ready(TIME_LIMIT).await.unwrap();
    let mut kept = Vec::new();
    for (name, mut future) in futures(&redis) {
        let _ = poll!(future.as_mut());
        kept.push(future);
        others_notice_nothing(&redis, name).await;
    }
    drop(kept);
}

/// Ablation: with the gate of before, whose first waiter holds a lock, the second watch never begins.
#[actix::test]
async fn a_watch_that_waits_for_a_connection_and_is_not_polled_does_not_delay_others() {
    let server = server();
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).links(LinkLimit::new(1)).start().unwrap();
    let attempt = |_| async { Ok(Some(Transaction::new((Incr::new("n"),)))) };
    let mut blocking = Box::pin(redis.send(BLPop::new(["list"], TIME_LIMIT)));
    assert!(poll!(blocking.as_mut()).is_pending());
    crate::support::eventually("the wait", || (!redis.stats().links.is_empty()).then_some(())).await;
    let mut kept: Vec<_> = (0..5).map(|_| Box::pin(redis.watch(["k"], attempt))).collect();
    for kept in &mut kept {
        assert!(poll!(kept.as_mut()).is_pending());
    }
    redis.send(LPush::new("list", ["e"])).await.unwrap();
    blocking.await.unwrap().unwrap();
    redis.watch(["k"], attempt).await.expect("not overloaded").expect("committed");
    redis.send(LPush::new("list", ["e"])).await.unwrap();
    redis.send(BLPop::new(["list"], TIME_LIMIT)).await.unwrap().unwrap();
    drop(kept);
}

#[actix::test]
async fn a_shutdown_that_is_polled_once_goes_on_whether_kept_or_dropped() {
    let server = server();
    for keep in [false, true] {
        let redis = hasty(config(server.port())).start().unwrap();
        redis.ready(TIME_LIMIT).await.unwrap();
        let mut first = Box::pin(redis.shutdown(TIME_LIMIT));
        let _ = poll!(first.as_mut());
        let kept = keep.then_some(first);
        let report = tokio::time::timeout(TIME_LIMIT, redis.shutdown(TIME_LIMIT)).await.expect("another caller");
        assert!(report.is_ok(), "{report:?}");
        crate::support::until_state(&redis, redis_actix::ConnectionState::Closed).await;
        drop(kept);
    }
}
