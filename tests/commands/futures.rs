//! Every public future is polled once and dropped, and polled once and kept: no other caller notices.
//!
//! `listed_futures.rs` compares the list with the sources.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    time::{Duration, SystemTime},
};

use actix::{Actor, Context, Handler, ResponseFuture};
use futures_util::poll;
use redis_actix::prelude::*;
use redis_actix::{
    BLPop, Claim, Claimed, ClearPrefix, ConsumerGroup, CountKeys, DeadLetterFilter, DeadLetters, Deduplicate, Delivery,
    Entry, LinkLimit, Outcome, Producer, Raw, ScanHash, ScanKeys, Scheduled, StreamConsumer, StreamId,
    SubscriptionEvent, Topic, Transaction, Value, Watch, XAdd,
};
use serde::Deserialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

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

#[derive(Deserialize)]
struct Job {
    #[serde(rename = "f")]
    _f: String,
}

/// Hands a delivery out of the handler, which never answers.
struct Keeps(UnboundedSender<Delivery<Job>>);

impl Actor for Keeps {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Keeps {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, job: Delivery<Job>, _: &mut Context<Self>) -> Self::Result {
        let _ = self.0.send(job);
        Box::pin(std::future::pending())
    }
}

/// A future that owns what it needs and begins with its first poll, as `Redis::send` does not.
macro_rules! with {
    ($owner:ident, $future:expr) => {{
        #[allow(unused_mut, reason = "some futures need it")]
        let mut $owner = $owner.clone();
        Box::pin(async move { drop($future.await) }) as Any
    }};
}

/// A future and its name: that of the function, and behind a comma which of its cases this is.
type Named = (&'static str, Any);

fn entry() -> XAdd {
    XAdd::new("orders").field("f", "v")
}

fn of_the_handle(redis: &Redis) -> Vec<Named> {
    let second = Duration::from_secs(1);
    let inbox = Inbox.start().recipient();
    let unprefixed = redis.unprefixed();
    vec![
        ("Redis::send", with!(redis, redis.send(Get::<String>::new("a")))),
        ("Redis::send, blocking", with!(redis, redis.send(BLPop::new(["nothing"], second * 60)))),
        ("RawKeyspace::send", with!(unprefixed, unprefixed.send(Raw::<Value>::new("GET").key("a")))),
        (
            "Redis::watch",
            with!(redis, redis.watch(Watch::new(["w"]), |_| async { Ok(Some(Transaction::new((Incr::new("w"),)))) })),
        ),
        ("Redis::resolve", with!(redis, redis.resolve::<Value>(redis::cmd("PFCOUNT").arg("p")))),
        ("Redis::ready", with!(redis, redis.ready(TIME_LIMIT))),
        ("Redis::health", with!(redis, redis.health())),
        ("Redis::lost", with!(redis, redis.lost(ms(1)))),
        ("Redis::reauthenticate", with!(redis, redis.reauthenticate())),
        ("Redis::subscribe", with!(redis, redis.subscribe([Topic::channel("c")], inbox.clone()))),
        ("Redis::count_keys", with!(redis, redis.count_keys(CountKeys::new("*")))),
        ("ClearFuture::run", with!(redis, redis.clear_prefix(ClearPrefix::matching("cleared:*")).unwrap().run())),
        ("ClearFuture::next", with!(redis, redis.clear_prefix(ClearPrefix::matching("cleared:*")).unwrap().next())),
        ("ScanStream::next, keys", with!(redis, redis.scan_keys(ScanKeys::new("*")).next())),
        ("ScanStream::next, hash", with!(redis, redis.scan_hash::<String, String>(ScanHash::new("h")).next())),
        ("Redis::stream_features", with!(redis, redis.stream_features())),
        ("Redis::schedule", with!(redis, redis.schedule(entry(), SystemTime::now() + second * 60))),
        ("Redis::schedule_in", with!(redis, redis.schedule_in(entry(), second * 60))),
    ]
}

async fn of_streams(redis: &Redis) -> Vec<Named> {
    let at = StreamId::MIN;
    let filter = DeadLetterFilter::default;
    let producer = Producer::new(redis, "orders").max_len(1000);
    let scheduled = Scheduled::new(redis, "orders");
    let ticket = redis.schedule_in(entry(), Duration::from_secs(60)).await.unwrap();
    let dead = DeadLetters::new(redis, "orders", "g");
    let group = ConsumerGroup::new(redis, "orders", "g");
    let deduplicate = Deduplicate::new(redis, "d");
    let (done, released) = (claimed(&deduplicate, "1").await, claimed(&deduplicate, "2").await);
    let message = Entry::new(&BTreeMap::from([("f", 1)])).unwrap();
    vec![
        ("Producer::append", with!(producer, producer.append(message))),
        ("Producer::trim", with!(producer, producer.trim())),
        ("Producer::configure_server", with!(producer, producer.configure_server())),
        ("Scheduled::count", with!(scheduled, scheduled.count())),
        ("Scheduled::move_due", with!(scheduled, scheduled.move_due())),
        ("Scheduled::cancel", with!(scheduled, scheduled.cancel(&ticket))),
        ("Deduplicate::claim", with!(deduplicate, deduplicate.claim("id"))),
        ("Deduplicate::once", with!(deduplicate, deduplicate.once("other", async { Ok(1) }))),
        ("Claimed::done", Box::pin(async move { drop(done.done().await) })),
        ("Claimed::release", Box::pin(async move { drop(released.release().await) })),
        ("ConsumerGroup::create", with!(group, group.create(at))),
        ("ConsumerGroup::create_at_end", with!(group, group.create_at_end())),
        ("ConsumerGroup::info", with!(group, group.info())),
        ("ConsumerGroup::pending", with!(group, group.pending())),
        ("ConsumerGroup::pending_entries", with!(group, group.pending_entries(10))),
        ("ConsumerGroup::consumers", with!(group, group.consumers())),
        ("ConsumerGroup::seek", with!(group, group.seek(at))),
        ("ConsumerGroup::seek_to", with!(group, group.seek_to(SystemTime::now()))),
        ("ConsumerGroup::seek_to_end", with!(group, group.seek_to_end())),
        ("ConsumerGroup::remove_consumer", with!(group, group.remove_consumer("absent", ms(1)))),
        ("ConsumerGroup::remove_dead_consumers", with!(group, group.remove_dead_consumers(TIME_LIMIT))),
        ("ConsumerGroup::destroy", with!(group, group.destroy())),
        ("DeadLetters::count", with!(dead, dead.count())),
        ("DeadLetters::list", with!(dead, dead.list(filter()))),
        ("DeadLetters::get", with!(dead, dead.get(at))),
        ("DeadLetters::redrive", with!(dead, dead.redrive(filter()))),
        ("DeadLetters::purge", with!(dead, dead.purge(filter()))),
    ]
}

async fn claimed(deduplicate: &Deduplicate, id: &str) -> Claimed {
    match deduplicate.claim(id).await.unwrap() {
        Claim::Ours(claimed) => claimed,
        other => panic!("{other:?}"),
    }
}

async fn of_a_subscription(redis: &Redis) -> Vec<Named> {
    let inbox = Inbox.start().recipient();
    let subscription = Rc::new(redis.subscribe([Topic::channel("s")], inbox.clone()).await.unwrap());
    let closed = redis.subscribe([Topic::channel("s")], inbox).await.unwrap();
    vec![
        ("Subscription::add", with!(subscription, subscription.add([Topic::channel("added"), Topic::pattern("p*")]))),
        ("Subscription::remove", with!(subscription, subscription.remove([Topic::channel("s")]))),
        ("Subscription::close", Box::pin(closed.close())),
    ]
}

/// The handler keeps one delivery for as long as the consumer lives.
async fn of_a_consumer(redis: &Redis) -> Vec<Named> {
    let (sender, mut jobs) = unbounded_channel();
    let handler = Keeps(sender).start().recipient();
    let consumer: Rc<StreamConsumer> =
        Rc::new(StreamConsumer::builder("handled", "g").start::<Job>(redis, handler).unwrap());
    redis.send(XAdd::new("handled").field("f", "v")).await.unwrap();
    let job = Rc::new(tokio::time::timeout(TIME_LIMIT, jobs.recv()).await.expect("a delivery").expect("a handler"));
    let lease = job.lease();
    let transaction = Transaction::new((Incr::new("effects"),));
    let with_redis = redis.clone();
    vec![
        ("Lease::lost", Box::pin(async move { lease.lost().await })),
        ("Delivery::ack_with", with!(job, job.ack_with(&with_redis, transaction))),
        ("StreamConsumer::stats", with!(consumer, consumer.stats())),
        ("StreamConsumer::stats_by_stream", with!(consumer, consumer.stats_by_stream())),
        ("StreamConsumer::redrive", with!(consumer, consumer.redrive(DeadLetterFilter::default()))),
        ("StreamConsumer::drain", with!(consumer, consumer.drain(TIME_LIMIT))),
    ]
}

async fn futures(redis: &Redis) -> Vec<Named> {
    let mut all = of_the_handle(redis);
    all.extend(of_streams(redis).await);
    all.extend(of_a_subscription(redis).await);
    all.extend(of_a_consumer(redis).await);
    all
}

/// The functions that the list calls.
pub(crate) async fn names(redis: &Redis) -> Vec<&'static str> {
    let function = |name: &'static str| name.split(',').next().unwrap();
    futures(redis).await.iter().map(|(name, _)| function(name)).collect()
}

/// What another caller does: everything that needs the shared connection or one of its own.
async fn others_notice_nothing(redis: &Redis, after: &str) {
    in_time(after, "send", redis.send(Set::new("probe", "v"))).await.unwrap();
    in_time(after, "push", redis.send(LPush::new("list", ["e"]))).await.unwrap();
    in_time(after, "block", redis.send(BLPop::new(["list"], TIME_LIMIT))).await.unwrap().unwrap();
    let watched = redis.watch(["probe"], |_| async { Ok(Some(Transaction::new((Incr::new("count"),)))) });
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
    for (name, mut future) in futures(&redis).await {
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
    for (name, mut future) in futures(&redis).await {
        let _ = poll!(future.as_mut());
        kept.push(future);
        others_notice_nothing(&redis, name).await;
    }
    drop(kept);
}

/// On a connection of its own, which it shares with the other commands of its attempt alone.
#[actix::test]
async fn a_watched_command_that_is_polled_once_does_not_affect_its_attempt() {
    let server = server();
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).links(LinkLimit::new(1)).start().unwrap();
    let kept = Rc::new(RefCell::new(Vec::new()));
    for (keep, before) in [(false, 0), (true, 1)] {
        let attempt = |watched: redis_actix::Watched| {
            let kept = kept.clone();
            async move {
                let once = watched.clone();
                let mut once = Box::pin(async move { once.send(Get::<String>::new("w")).await });
                assert!(poll!(once.as_mut()).is_pending());
                if keep {
                    kept.borrow_mut().push(once);
                }
                let n: Option<i64> = watched.send(Get::new("n")).await?;
                assert_eq!(n.unwrap_or_default(), before);
                Ok(Some(Transaction::new((Incr::new("n"),))))
            }
        };
        in_time("Watched::send", "watch", redis.watch(["w"], attempt)).await.unwrap().expect("committed");
        others_notice_nothing(&redis, "Watched::send").await;
    }
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
