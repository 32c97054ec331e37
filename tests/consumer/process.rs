//! Processes of consumers die, stand still, and share a name.

use std::time::Instant;

use crate::stream_support::child::{Does, Task, Worker, is_child};
use crate::stream_support::*;
use actix::clock::sleep;
use redis_actix::StreamEventKind as Kind;
use redis_actix::prelude::*;

/// Without sweeps of what others left, what the dead process had was pending still after 20 s.
#[actix::test]
async fn scenario_07_consumer_killed_mid_batch() {
    if is_child().await {
        return;
    }
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let task =
        Task { port: fixture.server.port(), name: "dead", min_idle: secs(1), in_flight: 4, does: Does::AckAfter(30) };
    let mut worker = Worker::start("process::scenario_07_consumer_killed_mid_batch", task);
    add(&redis, 0..60).await;
    eventually("the middle of a batch", async || worker.count("end") >= 8).await;
    worker.kill();
    let killed = Instant::now();
    let left = redis.send(XPendingEntries::new("orders", "billing", .., 100)).await.unwrap();
    assert!(left.len() > 4, "with handlers, and read ahead of them: {}", left.len());
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let peer = quick("orders", "billing").consumer("peer").min_idle(secs(1)).start::<Job>(&redis, handler.recipient());
    let _peer = peer.unwrap();
    settled(&redis).await;
    assert!(killed.elapsed() >= ms(500), "not before min_idle");
    let seen = handler.seen();
    let again: Vec<_> = seen.iter().filter(|seen| left.iter().any(|left| left.id == seen.id)).collect();
    assert_eq!(again.len(), left.len());
    // It is unknown which of them the dead process had begun.
    assert!(again.iter().all(|seen| seen.attempt == 2), "attempts are counted: {again:?}");
    // What ended was acknowledged; what had only started runs twice.
    for n in 0..60 {
        let started = worker.lines().iter().any(|line| line.starts_with(&format!("start {n} ")));
        assert!(started || seen.iter().any(|seen| seen.n == n), "{n} was not handled");
    }
}

/// The same name need not wait. Without the list of its own pending entries it did: not all of 20 within 20 s.
#[actix::test]
async fn scenario_07_the_same_name_recovers_at_once() {
    if is_child().await {
        return;
    }
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let task =
        Task { port: fixture.server.port(), name: "c1", min_idle: secs(60), in_flight: 4, does: Does::AckAfter(2_000) };
    let mut worker = Worker::start("process::scenario_07_the_same_name_recovers_at_once", task);
    add(&redis, 0..20).await;
    eventually("the middle of a batch", async || worker.count("start") >= 4).await;
    worker.kill();
    let killed = Instant::now();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let same = quick("orders", "billing").consumer("c1").min_idle(secs(60)).start::<Job>(&redis, handler.recipient());
    let same = same.unwrap();
    handler.all_of(20).await;
    settled(&redis).await;
    assert!(killed.elapsed() < secs(10), "{:?}", killed.elapsed());
    // Of so slow a handler's entries none were read ahead.
    assert_eq!(handler.seen().iter().filter(|seen| seen.attempt == 2).count(), 4);
    assert_eq!(same.stats().await.unwrap().recovered, 4);
}

/// Without asking who owns an entry, the first owner moved it to the dead letters while the second worked on it: 1, not 0.
#[actix::test]
async fn scenario_11_process_stopped_and_continued() {
    if is_child().await {
        return;
    }
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let min_idle = ms(800);
    // Slow enough to be at work still when another one has taken the entry over.
    let does = Does::RejectAfter(u64::try_from(min_idle.as_millis()).unwrap() * 3);
    let task = Task { port: fixture.server.port(), name: "stopped", min_idle, in_flight: 4, does };
    let worker = Worker::start("process::scenario_11_process_stopped_and_continued", task);
    add(&redis, 0..1).await;
    eventually("it has begun", async || worker.count("start") == 1).await;
    worker.signal("STOP");
    // The second owner is still at work when the first goes on: so both believe that it is theirs.
    let (gate, passed) = tokio::sync::watch::channel(false);
    let handler = Recorder::working(move |_| {
        let mut passed = passed.clone();
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            Outcome::Ack
        }
    });
    let peer = quick("orders", "billing").consumer("peer").min_idle(min_idle);
    let peer = peer.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.handled(1).await;
    worker.signal("CONT");
    eventually("it is reported", async || worker.count("event LeaseLost") >= 1).await;
    eventually("its handler ends", async || worker.count("end 0") == 1).await;
    // What it would have done about the first one it has done before it buries the next, over the same connection.
    peer.pause();
    add(&redis, 1..2).await;
    let dead = || redis.send(XRange::new("orders:dlq", ..));
    let dead_lettered = async || dead().await.is_ok_and(|dead| dead.iter().any(|dead| dead.get("n") == Some(b"1")));
    eventually("the next one is dead-lettered", dead_lettered).await;
    assert_eq!(dead().await.unwrap().len(), 1, "{:?}", worker.lines());
    gate.send(true).unwrap();
    settled(&redis).await;
    assert_eq!(worker.count("start 0"), 1, "no retry by the first owner");
    assert_eq!(handler.attempts(0), [2]);
    assert_eq!(peer.stats().await.unwrap().acked, 1);
}

/// A machine that was stalled, and all that runs on it. Swept as soon as it went on, the first one took over what the other
/// one works on: 5 starts, not 4, in three runs of three.
#[actix::test]
async fn scenario_11_all_processes_stopped_and_continued() {
    if is_child().await {
        return;
    }
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let min_idle = ms(800);
    // Slow enough to be at work still when it looks abandoned, and when it would be taken over.
    let does = Does::AckAfter(u64::try_from(min_idle.as_millis()).unwrap() * 5);
    let workers = ["c1", "c2"].map(|name| {
        let task = Task { port: fixture.server.port(), name, min_idle, in_flight: 4, does };
        Worker::start("process::scenario_11_all_processes_stopped_and_continued", task)
    });
    let total = |what: &str| workers.iter().map(|worker| worker.count(what)).sum::<usize>();
    eventually("both are there", async || total("event Connected") == 2).await;
    // One by one, the server gives them to both in turn.
    for n in 0..4 {
        add(&redis, [n]).await;
        eventually("it has begun", async || total("start") == n as usize + 1).await;
    }
    assert!(workers.iter().all(|worker| worker.count("start") > 0), "both are at work");
    workers.iter().for_each(|worker| worker.signal("STOP"));
    eventually("all look abandoned", async || {
        let pending = redis.send(XPendingEntries::new("orders", "billing", .., 10)).await.unwrap();
        pending.len() == 4 && pending.iter().all(|entry| entry.idle > min_idle)
    })
    .await;
    workers.iter().for_each(|worker| worker.signal("CONT"));
    settled(&redis).await;
    assert_eq!((total("start"), total("end"), total("event LeaseLost")), (4, 4, 0));
}

/// Delivered again side by side, the neighbours were counted with it, and it did not end alone among the dead letters within 20 s.
#[actix::test]
async fn scenario_20_entry_that_aborts_the_process() {
    if is_child().await {
        return;
    }
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, 0..100).await;
    let task =
        Task { port: fixture.server.port(), name: "c1", min_idle: secs(2), in_flight: 8, does: Does::AbortOn(37) };
    let started = Instant::now();
    let mut workers: Vec<Worker> = Vec::new();
    let over = || async {
        redis.send(XLen::new("orders:dlq")).await.is_ok_and(|dead| dead == 1)
            && redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 0)
    };
    while !over().await {
        assert!(started.elapsed() < TIME_LIMIT, "all but one are handled, and that one is dead");
        if workers.last_mut().is_none_or(Worker::is_over) {
            workers.push(Worker::start("process::scenario_20_entry_that_aborts_the_process", task));
        }
        sleep(ms(10)).await;
    }
    let dead = redis.send(XRange::new("orders:dlq", ..)).await.unwrap();
    assert_eq!((dead.len(), dead[0].get("n")), (1, Some(&b"37"[..])));
    assert_eq!(dead[0].get("dead:reason"), Some(&b"max_deliveries"[..]));
    // Three attempts may be made, and the start of the first one is not recorded.
    assert!((4..=5).contains(&workers.len()), "{} processes", workers.len());
    let ended = |n: u64| workers.iter().any(|worker| worker.lines().contains(&format!("end {n}")));
    assert!((0..100).all(|n| n == 37 || ended(n)));
}

/// Without a lease on the name there was no event within 20 s, and both read.
#[actix::test]
async fn scenario_23_two_processes_one_name() {
    if is_child().await {
        return;
    }
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let task =
        Task { port: fixture.server.port(), name: "c1", min_idle: secs(2), in_flight: 4, does: Does::AckAfter(5) };
    let mut first = Worker::start("process::scenario_23_two_processes_one_name", task);
    eventually("the first is there", async || first.count("event Connected") == 1).await;
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let second = quick("orders", "billing").consumer("c1").min_idle(secs(2)).on_event(events.recipient());
    let second = second.start::<Job>(&redis, handler.recipient()).unwrap();
    events.saw("the second is reported", |kind| matches!(kind, Kind::NameTaken { .. })).await;
    add(&redis, 0..50).await;
    eventually("all handled by the first", async || first.count("end") == 50).await;
    settled(&redis).await;
    assert_eq!((handler.seen().len(), second.stats().await.unwrap().state), (0, "waiting for its name"));
    first.kill();
    add(&redis, 50..100).await;
    handler.handled(50).await;
    settled(&redis).await;
    assert_eq!(events.count(|kind| matches!(kind, Kind::NameTaken { .. })), 1, "reported once");
}

/// A consumer that died is removed when it has left nothing; removed with its pending entries, the server
/// dropped that without a word.
#[actix::test]
async fn dead_consumers_are_removed_when_they_left_nothing() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").min_idle(secs(60)).forget_after(secs(1)).on_event(events.recipient());
    add(&redis, 0..1).await;
    tell(&fixture.server, ["XGROUP", "CREATE", "t:orders", "billing", "0"]);
    tell(&fixture.server, ["XGROUP", "CREATECONSUMER", "t:orders", "billing", "empty"]);
    tell(&fixture.server, ["XREADGROUP", "GROUP", "billing", "full", "STREAMS", "t:orders", ">"]);
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    events.saw("removed", |kind| matches!(kind, Kind::ConsumerRemoved { name } if name == "empty")).await;
    let names = redis.send(XInfoConsumers::new("orders", "billing")).await.unwrap();
    let names: Vec<_> = names.into_iter().map(|consumer| consumer.name).collect();
    assert!(names.contains(&b"full".to_vec()) && !names.contains(&b"empty".to_vec()), "{names:?}");
}
