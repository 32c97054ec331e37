//! Handlers that fail, hang, are slow, or are given what they cannot read.

use std::cell::Cell;
use std::rc::Rc;

use crate::stream_support::*;
use actix::clock::sleep;
use redis_actix::prelude::*;
use redis_actix::{DeadLetterReason, StreamEventKind as Kind};

/// Without the retry of what a handler does not answer, number 3 was pending still after 20 s.
#[actix::test]
async fn scenario_08_handler_panics() {
    injected_panics_are_quiet();
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let calls = Rc::new(Cell::new(0));
    // Twice where it is called, twice in what it awaits: the first takes its actor down, the second only a task.
    let handler = Recorder::working(move |job| {
        let bad = job.n == 3;
        let call = calls.get() + 1;
        if bad {
            calls.set(call);
            assert!(call > 2, "injected into the handler");
        }
        async move {
            assert!(!bad || call > 4, "injected into its future");
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    settled(&redis).await;
    assert_eq!(handler.attempts(3), [1, 2, 3, 4, 5]);
    let seen: Vec<_> = handler.seen().into_iter().filter(|seen| seen.n == 3).collect();
    assert!(seen.windows(2).all(|pair| pair[1].at - pair[0].at >= ms(40)), "a delay between attempts");
    assert_eq!(consumer.stats().await.unwrap().state, "live");
}

/// Without the deadline the hung handler kept the only slot: no time-out within 20 s.
#[actix::test]
async fn scenario_09_handler_hangs() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::working(|job| {
        let hangs = job.n == 0 && job.attempt() == 1;
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Outcome::Ack
        }
    });
    let _consumer = quick("orders", "billing")
        .max_in_flight(1)
        .handler_deadline(ms(400))
        .on_event(events.recipient())
        .start::<Job>(&redis, handler.recipient())
        .unwrap();
    add(&redis, 0..5).await;
    events.saw("the handler timed out", |kind| matches!(kind, Kind::TimedOut { attempt: 1, .. })).await;
    handler.all_of(5).await;
    settled(&redis).await;
    assert_eq!(handler.attempts(0), [1, 2]);
}

/// Without the renewal of leases, neither by the consumer nor by the lease renewer, there were 15 calls for 12 entries.
#[actix::test]
async fn scenario_10_handler_slower_than_min_idle() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let min_idle = ms(600);
    // The fault itself: what it works on would look abandoned five times over.
    let handler = Recorder::working(move |_| async move {
        sleep(min_idle * 5).await;
        Outcome::Ack
    });
    let consume = |name| {
        let consumer = quick("orders", "billing").consumer(name).min_idle(min_idle).max_in_flight(4);
        consumer.start::<Job>(&redis, handler.recipient()).unwrap()
    };
    let consumers = (consume("c1"), consume("c2"));
    add(&redis, 0..12).await;
    handler.all_of(12).await;
    settled(&redis).await;
    assert_eq!(handler.seen().len(), 12, "each once: {:?}", handler.seen());
    assert!(consumers.0.stats().await.unwrap().lease_lost == 0);
}

/// As before with a handler that never yields, so that its thread renews nothing. Without the lease renewer the other consumer
/// handled the entry too: (1, 1).
#[test]
fn scenario_10_handler_that_blocks_its_thread() {
    let fixture = StreamFixture::start();
    let min_idle = ms(800);
    let port = fixture.server.port();
    let blocked = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let redis = connect(port);
            // The fault itself: the thread stands still, and the entry would look abandoned four times over.
            let handler = Recorder::start_with(move |_| {
                std::thread::sleep(min_idle * 4);
                Outcome::Ack
            });
            let consumer = quick("orders", "billing").consumer("blocked").min_idle(min_idle).max_in_flight(1);
            let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
            add(&redis, 0..1).await;
            handler.handled(1).await;
            settled(&redis).await;
            consumer.drain(secs(5)).await.unwrap();
            handler.seen().len()
        })
    });
    let taken = actix::System::new().block_on(async move {
        let redis = connect(port);
        let handler = Recorder::start_with(|_| Outcome::Ack);
        eventually("the other has it", async || {
            redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 1)
        })
        .await;
        let peer = quick("orders", "billing").consumer("peer").min_idle(min_idle).sweep_every(ms(50));
        let _peer = peer.start::<Job>(&redis, handler.recipient()).unwrap();
        settled(&redis).await;
        handler.seen().len()
    });
    assert_eq!((blocked.join().unwrap(), taken), (1, 0));
}

/// The lease renewer stops at the handler's deadline: without that the entry was the hung one's still after 20 s.
#[test]
fn scenario_09_handler_hangs_with_its_thread() {
    let fixture = StreamFixture::start();
    let port = fixture.server.port();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let hung = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let redis = connect(port);
            let handler = Recorder::start_with(move |_| {
                released.recv().unwrap();
                Outcome::Ack
            });
            let consumer = quick("orders", "billing").consumer("hung").handler_deadline(ms(1_500)).max_in_flight(1);
            let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
            add(&redis, 0..1).await;
            handler.handled(1).await;
            consumer.drain(secs(1)).await.unwrap();
        });
    });
    actix::System::new().block_on(async move {
        let redis = connect(port);
        let handler = Recorder::start_with(|_| Outcome::Ack);
        eventually("the other has it", async || {
            redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 1)
        })
        .await;
        let peer = quick("orders", "billing").consumer("peer").sweep_every(ms(50));
        let _peer = peer.start::<Job>(&redis, handler.recipient()).unwrap();
        handler.all_of(1).await;
        settled(&redis).await;
        assert_eq!(handler.attempts(0), [2]);
    });
    release.send(()).unwrap();
    hung.join().unwrap();
}

/// When an entry that cannot be decoded was released instead of dead-lettered, there was no dead letter within 20 s.
#[actix::test]
async fn scenario_19_undecodable_entry() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    add(&redis, 0..50).await;
    tell(&fixture.server, ["XADD", "t:orders", "*", "n", "no number", "n", "twice"]);
    add(&redis, 50..99).await;
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(99).await;
    settled(&redis).await;
    let decode = |kind: &Kind| matches!(kind, Kind::DeadLettered { reason: DeadLetterReason::Decode, .. });
    events.saw("a dead letter", decode).await;
    assert_eq!(handler.seen().len(), 99, "its neighbours once each");
    let dead = redis.send(XRange::new("orders:dlq", ..)).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].get("dead:reason"), Some(&b"decode"[..]));
    let raw: Vec<_> = dead[0].fields.iter().filter(|(name, _)| name == b"n").map(|(_, value)| value.clone()).collect();
    assert_eq!(raw, [b"no number".to_vec(), b"twice".to_vec()], "as they were, both of them");
    assert_eq!(consumer.stats().await.unwrap().dead_lettered, 1);
}

/// With XACK before XADD in the script, as MULTI would have it, the entry was in neither of both streams: 0 dead letters.
#[actix::test]
async fn scenario_21_dead_letter_write_fails() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    tell(&fixture.server, ["SET", "t:orders:dlq", "no stream"]);
    let handler = Recorder::start_with(|job| if job.n == 0 { Outcome::reject("no") } else { Outcome::Ack });
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..20).await;
    events.saw("the write failed", |kind| matches!(kind, Kind::DeadLetterFailed { .. })).await;
    handler.all_of(20).await;
    eventually("the others are acknowledged", async || {
        redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 1)
    })
    .await;
    tell(&fixture.server, ["DEL", "t:orders:dlq"]);
    settled(&redis).await;
    let dead = redis.send(XRange::new("orders:dlq", ..)).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].get("dead:reason"), Some(&b"rejected"[..]));
    assert_eq!(handler.attempts(0), [1], "not handled again meanwhile");
}

/// Released without making it available to others at once, it was pending still after 20 s.
#[actix::test]
async fn scenario_24_scale_down() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let (gate, passed) = tokio::sync::watch::channel(false);
    let slow = Recorder::working(move |_| {
        let mut passed = passed.clone();
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            Outcome::Ack
        }
    });
    let leaving = quick("orders", "billing").consumer("leaving").min_idle(secs(60)).max_in_flight(2).batch(50);
    let leaving = leaving.start::<Job>(&redis, slow.recipient()).unwrap();
    add(&redis, 0..40).await;
    slow.handled(2).await;
    let fast = Recorder::start_with(|_| Outcome::Ack);
    let staying = quick("orders", "billing").consumer("staying").min_idle(secs(60)).sweep_every(ms(50));
    let _staying = staying.start::<Job>(&redis, fast.recipient()).unwrap();
    let started = std::time::Instant::now();
    let leave = async {
        // The others go to the one that stays while these two are at work still.
        fast.handled(38).await;
        gate.send(true).unwrap();
    };
    let (report, ()) = tokio::join!(leaving.drain(secs(15)), leave);
    let report = report.unwrap();
    assert_eq!((report.unfinished, report.unacknowledged), (0, 0));
    settled(&redis).await;
    assert!(started.elapsed() < secs(15), "not after min_idle: {:?}", started.elapsed());
    let (slow, fast) = (slow.seen(), fast.seen());
    assert_eq!(slow.len() + fast.len(), 40, "each once");
    assert!(fast.iter().all(|seen| seen.attempt == 1), "entries that were not started are not counted");
    let names = || redis.send(XInfoConsumers::new("orders", "billing"));
    let names: Vec<_> = names().await.unwrap().into_iter().map(|consumer| consumer.name).collect();
    assert_eq!(names, [b"staying".to_vec()], "it was empty, and is removed");
}

/// Not to wait for the read alone does not fail this: CLIENT UNBLOCK ends it before the handlers end.
#[actix::test]
async fn scenario_25_shutdown_mid_batch() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let (gate, passed) = tokio::sync::watch::channel(false);
    // Some are at work whenever it is shut down, and fewer than there may be.
    let handler = Recorder::working(move |job| {
        let (held, mut passed) = (job.n % 40 == 0, passed.clone());
        async move {
            if held {
                passed.wait_for(|ending| *ending).await.unwrap();
            }
            Outcome::Ack
        }
    });
    let mut added = 0;
    for round in 0..12 {
        gate.send_replace(false);
        let before = handler.seen().len();
        let consumer = quick("orders", "billing").max_in_flight(8).batch(32);
        let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
        let producer = redis.clone();
        let adding = actix::spawn(async move {
            for n in added..added + 300 {
                add(&producer, [n]).await;
            }
        });
        added += 300;
        handler.handled(before + 1 + round * 17).await;
        let (report, _) = tokio::join!(consumer.drain(secs(5)), async { gate.send_replace(true) });
        let report = report.unwrap();
        assert_eq!((report.unfinished, report.unacknowledged), (0, 0));
        adding.await.unwrap();
        let pending = redis.send(XPendingEntries::new("orders", "billing", .., 10_000)).await;
        for entry in pending.unwrap_or_default() {
            assert_eq!(entry.deliveries, 0, "swallowed in round {round}: {entry:?}");
        }
    }
    let _last = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(added).await;
    settled(&redis).await;
    assert_eq!(handler.seen().len() as u64, added, "each once");
}
