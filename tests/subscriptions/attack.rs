//! Subscriptions under joins, leaves, and lost links at once.

use crate::pubsub_support::{Notes, old_server, publish, subscribers, until_subscribers};
use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, ErrorKind};
use redis_actix_test::{Direction, Proxy};

/// Counted as messages, the word ended the first subscription before it was confirmed, and the second one was never confirmed.
#[actix::test]
async fn a_word_about_the_server_takes_no_room_from_messages() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    for overflow in [Overflow::Disconnect, Overflow::DropOldest] {
        let (inbox, notes) = Notes::inbox();
        let subscribing = redis.subscribe([Topic::keyspace("k")], inbox.recipient());
        let subscription = subscribing.buffer(1).buffer_bytes(100).overflow(overflow).await.expect("confirmed");
        notes.event("the word", |event| matches!(event, SubscriptionEvent::NotificationsOff { .. })).await;
        let stats = subscription.stats();
        assert_eq!((stats.ended, stats.dropped, stats.delivered), (false, 0, 0), "{stats:?}");
    }
}

async fn churn(resp2: bool) {
    let server = if resp2 { old_server() } else { crate::support::server() };
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let (builder, diary) = Diary::of(hasty(config(proxy.port()).command_timeout(ms(5000))));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let names: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    let over = std::rc::Rc::new(std::cell::Cell::new(false));
    let steps = std::rc::Rc::new(std::cell::Cell::new(0));
    let mut tasks = Vec::new();
    for who in 0..6_u64 {
        let (redis, names, over, steps) = (redis.clone(), names.clone(), over.clone(), steps.clone());
        tasks.push(actix::spawn(async move {
            let mut random = fastrand::Rng::with_seed(who);
            let (inbox, notes) = Notes::inbox();
            let subscription = redis.subscribe(Vec::<Topic>::new(), inbox.recipient()).await.expect("opened");
            let mut wanted = std::collections::BTreeSet::new();
            while !over.get() {
                let name = random.choice(&names).unwrap().clone();
                match random.u8(0..4) {
                    0 | 1 => {
                        let within = ms(random.u64(1..40));
                        let added = tokio::time::timeout(within, subscription.add([Topic::channel(&name)])).await;
                        if matches!(added, Ok(Ok(()))) {
                            wanted.insert(name);
                        }
                    }
                    2 => {
                        subscription.remove([Topic::channel(&name)]).await.expect("removed");
                        wanted.remove(&name);
                    }
                    _ => tokio::time::sleep(ms(random.u64(0..10))).await,
                }
                steps.set(steps.get() + 1);
            }
            subscription.add([Topic::channel("end")]).await.expect("added");
            (subscription, wanted, notes)
        }));
    }
    for _ in 0..15 {
        let enough = steps.get() + 40;
        eventually("40 steps more", || (steps.get() >= enough).then_some(())).await;
        proxy.reset_all();
    }
    over.set(true);
    let mut all = Vec::new();
    for task in tasks {
        all.push(tokio::time::timeout(TIME_LIMIT, task).await.expect("ends").expect("no panic"));
    }
    for name in &names {
        let wanted = all.iter().any(|(_, wanted, _)| wanted.contains(name));
        until_subscribers(&server, &format!("test:{name}"), i64::from(wanted)).await;
    }
    for name in &names {
        publish(&server, format!("test:{name}"), format!("last {name}"));
    }
    // One link has them all, in order: who got this got all the others before.
    publish(&server, "test:end", "end");
    for (_, wanted, notes) in &all {
        notes.payload("end").await;
        for name in &names {
            let got = notes.payloads().iter().filter(|got| **got == format!("last {name}")).count();
            assert_eq!(got, usize::from(wanted.contains(name)), "{name}");
        }
    }
    assert!(diary.count(|event| matches!(event, ConnectionEvent::Gap { .. })) > 0);
    drop(all);
    eventually("nothing left", || {
        names.iter().all(|name| subscribers(&server, format!("test:{name}")) == 0).then_some(())
    })
    .await;
}

#[actix::test]
async fn churn_resp3() {
    churn(false).await;
}

#[actix::test]
async fn churn_resp2() {
    churn(true).await;
}

/// Handles, subscriptions and futures are dropped in any order, and none hangs.
#[actix::test]
async fn handles_are_dropped_while_others_subscribe() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port()).command_timeout(ms(2000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let (inbox, notes) = Notes::inbox();
    let subscription = redis.subscribe([Topic::channel("a")], inbox.clone().recipient()).await.expect("confirmed");
    drop(redis.clone());
    let other = redis.clone();
    drop(redis);
    publish(&server, "test:a", "1");
    notes.payload("1").await;
    // A silent link, a shutdown, and a caller that adds topics.
    proxy.hold_only(Direction::ToClient);
    let adding = actix::spawn(async move {
        let added = subscription.add([Topic::channel("b")]).await;
        (added, subscription)
    });
    until_subscribers(&server, "test:b", 1).await;
    let begun = std::time::Instant::now();
    let report = tokio::time::timeout(TIME_LIMIT, other.shutdown(ms(200))).await.expect("in time");
    assert!(report.is_ok() && begun.elapsed() < TIME_LIMIT / 2, "{report:?} after {:?}", begun.elapsed());
    let (added, subscription) = tokio::time::timeout(ms(3000), adding).await.expect("received").expect("no panic");
    assert_eq!(added.expect_err("over").kind(), ErrorKind::Closed);
    notes.event("the end", |event| matches!(event, SubscriptionEvent::Ended { .. })).await;
    let error = subscription.add([Topic::channel("c")]).await.expect_err("over");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(subscription.stats().ended);
    let error = other.subscribe([Topic::channel("a")], inbox.recipient()).await.expect_err("over");
    assert_eq!(error.kind(), ErrorKind::Closed);
}

/// On a plain runtime of several threads.
#[test]
fn several_threads_of_a_plain_runtime() {
    let server = crate::support::server();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("made");
    let config = config(server.port()).build().expect("valid");
    let redis = Redis::builder(config).start_on_own_thread();
    let redis = redis.expect("started");
    let (sent, inbox) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let system = actix::System::new();
        system.block_on(async {
            sent.send(Notes::inbox()).expect("sent");
        });
        system.run().expect("ran");
    });
    let (inbox, notes) = inbox.recv().expect("made");
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (redis, inbox) = (redis.clone(), inbox.clone());
                tokio::spawn(async move {
                    let topic = Topic::channel(format!("c{n}"));
                    let subscription = redis.subscribe([topic], inbox.recipient()).await.expect("confirmed");
                    redis.send(Publish::new(format!("c{n}"), n)).await.expect("sent");
                    let popped = redis.send(BLPop::new(["none"], ms(20))).await.expect("served");
                    assert_eq!(popped, None);
                    subscription
                })
            })
            .collect();
        let mut kept = Vec::new();
        for task in tasks {
            kept.push(task.await.expect("no panic"));
        }
        eventually("all", || (notes.payloads().len() == 20).then_some(())).await;
        redis.shutdown(TIME_LIMIT).await.expect("ended");
    });
    drop(inbox);
    drop(thread);
}
