//! Batches, several streams in one consumer, and what a consumer measures, against a real server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stream_support::*;
use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Batch, BatchOutcome, Outcome};

/// What a handler of batches was given: numbers, attempt, and how many were in each batch.
#[derive(Default, Clone)]
struct Seen {
    numbers: Arc<Mutex<Vec<(u64, u64)>>>,
    sizes: Arc<Mutex<Vec<usize>>>,
}

type Answer = Box<dyn FnMut(&Batch<Job, BatchOutcome>) -> BatchOutcome>;

struct Batches {
    answer: Answer,
    seen: Seen,
}

impl Actor for Batches {
    type Context = Context<Self>;
}

impl Handler<Batch<Job, BatchOutcome>> for Batches {
    type Result = BatchOutcome;

    fn handle(&mut self, jobs: Batch<Job, BatchOutcome>, _: &mut Self::Context) -> BatchOutcome {
        self.seen.sizes.lock().unwrap().push(jobs.len());
        self.seen.numbers.lock().unwrap().extend(jobs.iter().map(|job| (job.n, job.attempt())));
        (self.answer)(&jobs)
    }
}

fn handler(
    answer: impl FnMut(&Batch<Job, BatchOutcome>) -> BatchOutcome + 'static,
) -> (Recipient<Batch<Job, BatchOutcome>>, Seen) {
    let seen = Seen::default();
    let addr = Batches { answer: Box::new(answer), seen: seen.clone() }.start();
    (addr.recipient(), seen)
}

async fn add(redis: &Redis, stream: &str, numbers: std::ops::Range<u64>) {
    let adds = numbers.map(|n| XAdd::new(stream).entry(&Job { n }).unwrap()).collect::<Vec<_>>();
    redis.send(Pipeline::new(adds)).await.unwrap();
}

#[actix::test]
async fn a_batch_is_one_message_and_its_answer_holds_for_all() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, "orders", 0..1_000).await;
    let (recipient, seen) = handler(|_| BatchOutcome::All(Outcome::Ack));
    let consumer = quick("orders", "billing").batch(100).start_batches::<Job>(&redis, recipient).unwrap();
    eventually("all acknowledged", async || consumer.stats().await.unwrap().acked == 1_000).await;
    assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 0);
    let numbers: Vec<_> = seen.numbers.lock().unwrap().iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>(), "each once, in order");
    // With every entry handed over as it comes to its turn there were 1,000, of one each.
    let sizes = seen.sizes.lock().unwrap().clone();
    assert!(sizes.len() <= 20 && sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    let stats = consumer.stats().await.unwrap();
    assert_eq!((stats.delivered, stats.handler_latency.count(), stats.in_flight), (1_000, 1_000, 0));
    assert_eq!(stats.ack_latency.count(), 1_000);
    assert!(stats.ack_latency.quantile(0.99) > Duration::ZERO && stats.ack_latency.max() < Duration::from_secs(20));
    assert!(stats.rates.acked > 0.0 && stats.oldest.is_none(), "{stats:?}");
}

#[actix::test]
async fn each_entry_of_a_batch_can_have_an_outcome_of_its_own() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, "orders", 0..40).await;
    let (recipient, seen) = handler(|jobs| {
        let outcome = |job: &redis_actix::Delivery<Job>| match job.n % 4 {
            0 => Outcome::reject("no customer"),
            1 if job.attempt() == 1 => Outcome::Retry,
            _ => Outcome::Ack,
        };
        // The last one has no answer, which counts as a failure.
        let answers = jobs.iter().map(outcome);
        BatchOutcome::Each(if jobs.len() > 1 { answers.take(jobs.len() - 1).collect() } else { answers.collect() })
    });
    let consumer = quick("orders", "billing").start_batches::<Job>(&redis, recipient).unwrap();
    eventually("all settled", async || {
        let stats = consumer.stats().await.unwrap();
        stats.acked + stats.dead_lettered == 40
    })
    .await;
    assert_eq!(redis.send(XLen::new("orders:dlq")).await.unwrap(), 10);
    let mut attempts = BTreeMap::new();
    for (n, attempt) in seen.numbers.lock().unwrap().iter() {
        attempts.insert(*n, *attempt);
    }
    assert!((0..40).filter(|n| n % 4 == 1).all(|n| attempts[&n] >= 2), "{attempts:?}");
    assert!(
        (0..40).filter(|n| n % 4 == 2).all(|n| attempts[&n] == 1),
        "its neighbours' fate is not its own: {attempts:?}"
    );
    assert!(attempts[&39] >= 2, "without an answer it is tried again");
    assert_eq!(redis.send(XPending::new("orders", "billing")).await.unwrap().count, 0);
}

#[actix::test]
async fn a_batch_whose_handler_hangs_is_retried_as_a_whole() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, "orders", 0..10).await;
    struct Hangs;
    impl Actor for Hangs {
        type Context = Context<Self>;
    }
    impl Handler<Batch<Job>> for Hangs {
        type Result = ResponseFuture<Outcome>;
        fn handle(&mut self, jobs: Batch<Job>, _: &mut Self::Context) -> Self::Result {
            let first = jobs.iter().any(|job| job.attempt() == 1);
            Box::pin(async move { if first { std::future::pending().await } else { Outcome::Ack } })
        }
    }
    let consumer = quick("orders", "billing")
        .handler_deadline(Duration::from_millis(100))
        .start_batches::<Job>(&redis, Hangs.start().recipient())
        .unwrap();
    eventually("all acknowledged", async || consumer.stats().await.unwrap().acked == 10).await;
    assert_eq!(consumer.stats().await.unwrap().timed_out, 10, "all have one deadline");
}

#[actix::test]
async fn the_window_is_bounded_in_count_and_in_bytes() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    for n in 0..100_u64 {
        redis.send(XAdd::new("orders").field("n", n).field("weight", vec![b'x'; 10_000])).await.unwrap();
    }
    let handler = Recorder::start_with(|_| Outcome::PauseFor(Duration::from_secs(60)));
    let consumer =
        quick("orders", "billing").batch(64).max_bytes(100_000).start::<Job>(&redis, handler.recipient()).unwrap();
    handler.handled(1).await;
    let pending = redis.send(XPending::new("orders", "billing")).await.unwrap().count;
    // The first page is as large as `batch`, for nothing is known of the entries; with `max_bytes(usize::MAX)` the
    // second one was read too: "100 of 100 in memory".
    assert!(pending <= 64 + 16, "{pending} of 100 in memory, of ten thousand bytes each");
    drop(consumer);
}

#[actix::test]
async fn streams_of_one_consumer_share_its_handlers_by_weight() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, "urgent", 0..400).await;
    add(&redis, "bulk", 1_000..1_400).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    // One handler at a time, and slow enough that both streams always have something.
    struct Slow(Arc<Mutex<Vec<String>>>);
    impl Actor for Slow {
        type Context = Context<Self>;
    }
    impl Handler<redis_actix::Delivery<Job>> for Slow {
        type Result = ResponseFuture<Outcome>;
        fn handle(&mut self, job: redis_actix::Delivery<Job>, _: &mut Self::Context) -> Self::Result {
            self.0.lock().unwrap().push(job.stream().to_owned());
            Box::pin(async move {
                actix::clock::sleep(Duration::from_micros(200)).await;
                Outcome::Ack
            })
        }
    }
    let consumer = quick("urgent", "billing")
        .weight(3)
        .stream("bulk", 1)
        .max_in_flight(4)
        .start::<Job>(&redis, Slow(seen).start().recipient())
        .unwrap();
    eventually("all acknowledged", async || consumer.stats().await.unwrap().acked == 800).await;
    let order = order.lock().unwrap().clone();
    // While both have entries three of four are urgent; with weights of 1 and 1 it was one of two (160 of 320). The first page of
    // either may come first.
    let stretch = &order[80..400];
    let urgent = stretch.iter().filter(|stream| *stream == "urgent").count();
    assert!((210..=270).contains(&urgent), "{urgent} of {} were urgent", stretch.len());
    let by_stream = consumer.stats_by_stream().await.unwrap();
    let names: Vec<_> = by_stream.iter().map(|stats| (stats.stream.to_string(), stats.acked)).collect();
    assert_eq!(names, [("urgent".to_owned(), 400), ("bulk".to_owned(), 400)]);
    let report = consumer.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((report.unfinished, report.unacknowledged), (0, 0));
    assert!(consumer.stats_by_stream().await.unwrap().iter().all(|stats| stats.state == "closed"));
}

#[actix::test]
async fn one_stream_alone_gets_all_handlers_and_a_pause_holds_for_all() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, "bulk", 0..500).await;
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer =
        quick("urgent", "billing").stream("bulk", 1).weight(1_000).start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("all acknowledged", async || consumer.stats().await.unwrap().acked == 500).await;
    consumer.pause();
    eventually("both paused", async || {
        consumer.stats_by_stream().await.unwrap().iter().all(|stats| stats.state == "paused")
    })
    .await;
    add(&redis, "urgent", 500..510).await;
    add(&redis, "bulk", 510..520).await;
    assert_eq!(handler.seen().len(), 500);
    consumer.resume();
    eventually("all handled", async || handler.distinct() == 520).await;
}
