//! An attempt is a handler that was started.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{prelude::*, sync::SyncArbiter};
use redis_actix::prelude::*;
use redis_actix::{Delivery, Outcome, StreamEventKind as Kind};

use crate::stream_support::*;

/// What a process of that name has read when it dies.
fn read_by(fixture: &StreamFixture, name: &str, entries: usize) {
    tell(&fixture.server, ["XGROUP", "CREATE", "t:orders", "billing", "0", "MKSTREAM"]);
    let count = entries.to_string();
    tell(&fixture.server, ["XREADGROUP", "GROUP", "billing", name, "COUNT", &count, "STREAMS", "t:orders", ">"])
        .ok()
        .unwrap();
}

/// Ablation: with a delivery taken for an attempt all 192 are dead and none was handled.
#[actix::test]
async fn what_a_dead_process_had_read_and_not_started_is_handled_even_if_one_attempt_is_allowed() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, 0..192).await;
    read_by(&fixture, "c1", 192);
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").max_deliveries(1).start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(192).await;
    settled(&redis).await;
    assert_eq!(consumer.stats().await.unwrap().dead_lettered, 0);
    assert_eq!(handler.seen().len(), 192, "each once");
}

/// Ablation: with the server's deliveries counted each lost page costs an attempt, and entries are dead.
#[actix::test]
async fn a_page_that_is_lost_with_its_link_costs_no_attempt() {
    let fixture = StreamFixture::start();
    let proxy = redis_actix_test::Proxy::start(fixture.server.addr()).unwrap();
    let redis = connect(proxy.port());
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let events = Events::watch();
    let consumer = quick("orders", "billing").max_deliveries(1).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    events.saw("connected", |kind| matches!(kind, Kind::Connected { .. })).await;
    let direct = fixture.redis();
    for round in 1..=5 {
        // The server delivers to a reader that never gets it.
        proxy.hold();
        add(&direct, (round - 1) * 20..round * 20).await;
        eventually("delivered", async || {
            direct.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count > 0)
        })
        .await;
        proxy.reset_all();
        proxy.pass();
        handler.all_of(round * 20).await;
    }
    settled(&direct).await;
    assert_eq!(consumer.stats().await.unwrap().dead_lettered, 0, "{:?}", events.all());
    let seen = handler.seen();
    let again = seen.iter().filter(|seen| seen.attempt > 1).count();
    assert!(again <= 5, "what had been acknowledged when the link broke may come again: {again}");
}

struct OneByOne {
    calls: Arc<AtomicUsize>,
}

impl Actor for OneByOne {
    type Context = SyncContext<Self>;
}

impl Handler<Delivery<Job>> for OneByOne {
    type Result = Outcome;

    fn handle(&mut self, job: Delivery<Job>, _: &mut Self::Context) -> Outcome {
        assert!(job.n < 1000);
        // The work itself: slow, and one at a time.
        std::thread::sleep(Duration::from_millis(60));
        self.calls.fetch_add(1, Ordering::Relaxed);
        Outcome::Ack
    }
}

/// Ablation: with a deadline that counts the time in the mailbox most of them time out, and some are dead unseen.
#[actix::test]
async fn a_deadline_counts_from_the_start_of_its_handler() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let handler = SyncArbiter::start(1, move || OneByOne { calls: counted.clone() });
    let consumer = quick("orders", "billing").handler_deadline(ms(400)).min_idle(secs(60));
    add(&redis, 0..24).await;
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("all are handled", async || calls.load(Ordering::Relaxed) >= 24).await;
    settled(&redis).await;
    let stats = consumer.stats().await.unwrap();
    assert_eq!((calls.load(Ordering::Relaxed), stats.timed_out, stats.dead_lettered), (24, 0, 0));
}

/// How many handlers run side by side, at most.
#[derive(Clone, Default)]
struct Width(Arc<Mutex<(usize, usize)>>);

impl Width {
    fn handler(&self) -> Recording {
        let width = self.clone();
        Recorder::working(move |_| {
            let width = width.clone();
            async move {
                {
                    let mut state = width.0.lock().unwrap();
                    state.0 += 1;
                    state.1 = state.1.max(state.0);
                }
                actix::clock::sleep(ms(30)).await;
                width.0.lock().unwrap().0 -= 1;
                Outcome::Ack
            }
        })
    }
}

/// Ablation: with every redelivered entry taken for a suspect the width is 1.
#[actix::test]
async fn what_a_drained_consumer_hands_over_goes_at_full_width() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let failing = Recorder::start_with(|_| Outcome::Retry);
    let first = quick("orders", "billing").consumer("first").retry([ms(200)]);
    let first = first.start::<Job>(&redis, failing.recipient()).unwrap();
    add(&redis, 0..60).await;
    failing.all_of(60).await;
    let report = first.drain(secs(5)).await.unwrap();
    assert_eq!((report.unfinished, report.unacknowledged), (0, 0), "{report:?}");
    assert!(report.delayed > 0, "{report:?}");
    let width = Width::default();
    let handler = width.handler();
    let second = quick("orders", "billing").consumer("second").sweep_every(ms(20));
    let _second = second.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(60).await;
    settled(&redis).await;
    assert!(handler.seen().iter().all(|seen| seen.attempt >= 2), "their attempts are known");
    let widest = width.0.lock().unwrap().1;
    assert!(widest > 16, "{widest} side by side");
    let names = redis.send(XInfoConsumers::new("orders", "billing")).await.unwrap();
    assert!(names.iter().all(|consumer| consumer.name == b"second"), "{names:?}");
}

/// Ablation: with a slot that a suspect keeps until its letter is written one of 20 is handled.
#[actix::test]
async fn a_dead_letter_that_cannot_be_written_does_not_delay_others() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    tell(&fixture.server, ["SET", "t:orders:dlq", "no stream"]);
    add(&redis, 0..20).await;
    read_by(&fixture, "c1", 20);
    let handler = Recorder::start_with(|job| if job.n == 0 { Outcome::reject("no") } else { Outcome::Ack });
    let consumer = quick("orders", "billing").ordered_by(|job: &Job| job.n % 3);
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 20..30).await;
    handler.all_of(30).await;
    eventually("only that one is left", async || {
        redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 1)
    })
    .await;
    let started = std::time::Instant::now();
    let report = consumer.drain(secs(15)).await.unwrap();
    assert_eq!(report.unfinished, 1, "{report:?}");
    assert!(started.elapsed() < secs(12), "{:?}", started.elapsed());
}

/// Ablation: with all pending entries without an owner taken for lost, 2 of 20 are handled.
#[actix::test]
async fn what_is_in_memory_is_handled_when_the_consumer_is_removed_from_the_group() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let (gate, passed) = tokio::sync::watch::channel(false);
    let handler = Recorder::working(move |job| {
        let (waits, mut passed) = (job.n >= 10, passed.clone());
        async move {
            if waits {
                passed.wait_for(|open| *open).await.unwrap();
            }
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").max_in_flight(4).batch(16).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    // It learns that its handlers are fast, and reads ahead of them.
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    settled(&redis).await;
    add(&redis, 10..30).await;
    handler.all_of(14).await;
    let pending = async || redis.send(XPending::new("orders", "billing")).await.unwrap().count;
    let in_memory = pending().await;
    assert!(in_memory > 4, "{in_memory}");
    tell(&fixture.server, ["XGROUP", "DELCONSUMER", "t:orders", "billing", "c1"]);
    events.saw("it is said", |kind| matches!(kind, Kind::Dropped { .. })).await;
    gate.send(true).unwrap();
    handler.all_of(30).await;
    assert_eq!(consumer.stats().await.unwrap().lease_lost, 0, "{:?}", events.all());
}

/// Ablation: with a batch read ahead of any handler there are 2.
#[actix::test]
async fn a_window_of_one_has_one_entry_in_hand() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let (gate, passed) = tokio::sync::watch::channel(0);
    let handler = Recorder::working(move |job| {
        let (n, mut passed) = (job.n, passed.clone());
        async move {
            passed.wait_for(|until| *until > n).await.unwrap();
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").max_in_flight(1).batch(1).min_idle(secs(60));
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..5).await;
    for n in 0..5 {
        handler.all_of(n + 1).await;
        // Slow enough for nothing to be read ahead, and time enough for it to be read all the same.
        actix::clock::sleep(ms(150)).await;
        assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 1);
        gate.send(n + 1).unwrap();
    }
    settled(&redis).await;
}

/// Ablation: with a first page of full width 40 entries of 1 MB are in memory; with entries delivered again beside the bound
/// all of them.
#[actix::test]
async fn large_entries_stay_within_the_bound_of_bytes() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let large = "x".repeat(1_000_000);
    for n in 0..40 {
        let entry = XAdd::new("orders").field("n", n.to_string()).field("ballast", large.as_str());
        redis.send(entry).await.unwrap();
    }
    let consumer = |name: &str| {
        let consumer = quick("orders", "billing").consumer(name).max_bytes(4_000_000);
        consumer.max_deliveries(100).min_idle(secs(60))
    };
    let first = Recorder::start_with(|_| Outcome::RetryAfter(ms(1)));
    let failing = consumer("c1").start::<Job>(&redis, first.recipient()).unwrap();
    first.all_of(40).await;
    let most = |seen: &Recording| seen.seen().len();
    assert!(most(&first) >= 40);
    let stats = failing.stats().await.unwrap();
    assert!(stats.in_flight + stats.waiting <= 5, "{stats:?}");
    let _ = failing.drain(secs(5)).await.unwrap();
    let (gate, passed) = tokio::sync::watch::channel(false);
    let second = Recorder::working(move |_| {
        let mut passed = passed.clone();
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            Outcome::Ack
        }
    });
    let taking = consumer("c2").sweep_every(ms(20)).start::<Job>(&redis, second.recipient()).unwrap();
    second.handled(1).await;
    for _ in 0..20 {
        actix::clock::sleep(ms(10)).await;
        let stats = taking.stats().await.unwrap();
        assert!(stats.in_flight + stats.waiting <= 5, "{stats:?}");
    }
    gate.send(true).unwrap();
    second.all_of(40).await;
    settled(&redis).await;
}

/// Ablation: without the lease renewer entries run at both; without its renewals of what lies unread in the socket the peer
/// takes some of them.
#[test]
fn leases_of_handlers_that_block_their_thread_again_and_again_hold() {
    let fixture = StreamFixture::start();
    let (min_idle, port) = (ms(900), fixture.server.port());
    let blocked = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let redis = connect(port);
            let handler = Recorder::start_with(move |_| {
                // The fault itself, six times in a row.
                std::thread::sleep(min_idle * 2 / 3);
                Outcome::Ack
            });
            let consumer = quick("orders", "billing").consumer("blocked").min_idle(min_idle).max_in_flight(6);
            let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
            eventually("the entries", async || redis.send(XLen::new("orders")).await.is_ok_and(|length| length == 6))
                .await;
            settled(&redis).await;
            consumer.drain(secs(5)).await.unwrap();
            handler.seen().iter().map(|seen| seen.n).collect::<Vec<_>>()
        })
    });
    let taken = actix::System::new().block_on(async move {
        let redis = connect(port);
        let handler = Recorder::start_with(|_| Outcome::Ack);
        let group = async || redis.send(XInfoGroups::new("orders")).await.ok()?.pop();
        eventually("the group", async || group().await.is_some()).await;
        // From this thread: the other one is blocked as soon as it has the first.
        let last = add(&redis, 0..6).await.pop();
        eventually("the other has them", async || group().await.map(|group| group.last_delivered_id) == last).await;
        // It takes over what others left, and leaves new entries to the other one.
        let peer = quick("orders", "billing").consumer("peer").min_idle(min_idle).sweep_every(ms(50));
        let peer = peer.max_in_flight(1).start::<Job>(&redis, handler.recipient()).unwrap();
        settled(&redis).await;
        peer.drain(secs(5)).await.unwrap();
        handler.seen().iter().map(|seen| seen.n).collect::<Vec<_>>()
    });
    let mut handled = blocked.join().unwrap();
    handled.sort_unstable();
    assert_eq!((&handled[..], &taken[..]), (&[0, 1, 2, 3, 4, 5][..], &[][..]), "here, and at the peer");
}

/// Ablation: with the script alone it stays pending.
#[actix::test]
async fn an_entry_of_thousands_of_fields_gets_its_dead_letter() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let mut entry = XAdd::new("orders").field("n", "1");
    for field in 0..4_000 {
        entry = entry.field(format!("field{field}"), "value");
    }
    redis.send(entry).await.unwrap();
    let handler = Recorder::start_with(|_| Outcome::reject("no"));
    let _consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    handler.handled(1).await;
    settled(&redis).await;
    let dead = redis.send(XRange::new("orders:dlq", ..)).await.unwrap();
    assert_eq!((dead.len(), dead[0].get("field3999")), (1, Some(&b"value"[..])));
    assert_eq!(dead[0].get("dead:reason"), Some(&b"rejected"[..]));
}

/// Ablation: with a pause of one stream alone the handler is called for the other one meanwhile.
#[actix::test]
async fn a_pause_that_a_handler_asks_for_holds_for_all_streams() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let pause = ms(600);
    let handler = Recorder::start_with(move |job| {
        if job.n == 0 && job.attempt() == 1 && job.age() < pause / 2 { Outcome::PauseFor(pause) } else { Outcome::Ack }
    });
    let consumer = quick("orders", "billing").stream("more", 1).start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("both read", async || {
        let stats = consumer.stats_by_stream().await.unwrap();
        stats.iter().all(|stats| stats.state == "live")
    })
    .await;
    add(&redis, [0]).await;
    handler.handled(1).await;
    for n in 1..5_u64 {
        redis.send(XAdd::new("more").entry(&Job { n }).unwrap()).await.unwrap();
    }
    handler.all_of(5).await;
    let seen = handler.seen();
    let paused = seen[0].at;
    assert!(seen[1..].iter().all(|seen| seen.at - paused >= pause), "{seen:?}");
}
