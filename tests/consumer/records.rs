//! What producers, schedules and dead letters keep on the server.

use std::sync::Arc;
use std::time::SystemTime;

use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{
    DeadLetterFilter, DeadLetters, Deduplicate, Entry, ErrorKind, Fate, OnceBy, Producer, Scheduled,
    StreamEventKind as Kind,
};
use redis_actix_test::{Proxy, RedisCluster, RedisServer};

use crate::cluster_support::{aside, cluster, config};
use crate::stream_support::*;

fn job(n: u64) -> Entry {
    Entry::new(&Job { n }).unwrap()
}

async fn len(redis: &Redis, stream: &str) -> u64 {
    redis.send(XLen::new(stream)).await.unwrap()
}

/// Ablation: with only the lowest pending entry looked at where something is pending, 11 of 110 are left.
#[actix::test]
async fn entries_that_a_group_was_sought_back_to_are_kept() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let group = redis_actix::ConsumerGroup::new(&redis, "orders", "billing");
    group.create(StreamId::MIN).await.unwrap();
    let ids = add(&redis, 0..100).await;
    redis.send(XReadGroup::new("billing", "c", ["orders"])).await.unwrap();
    redis.send(XAck::new("orders", "billing", ids[..99].iter().copied())).await.unwrap();
    group.seek(StreamId::MIN).await.unwrap();
    let producer = Producer::new(&redis, "orders").max_len(10).keep_needed();
    for n in 100..110 {
        producer.append(job(n)).await.unwrap();
    }
    assert_eq!(len(&redis, "orders").await, 110);
    group.seek(ids[49]).await.unwrap();
    producer.append(job(110)).await.unwrap();
    assert_eq!(len(&redis, "orders").await, 61, "entries delivered and acknowledged before that went");
}

/// Ablation: with `max_len` left out where `max_age` is set all 3,000 stay.
#[actix::test]
async fn a_producer_with_two_bounds_keeps_both() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let producer = Producer::new(&redis, "orders").max_len(100).max_age(secs(3600));
    for n in 0..1000 {
        producer.append(job(n)).await.unwrap();
    }
    let length = len(&redis, "orders").await;
    assert!((100..=200).contains(&length), "{length}");
    for n in 1..=150 {
        let old = XAdd::new("orders2").id(StreamId::new(1, n)).entry(&Job { n }).unwrap();
        redis.send(old).await.unwrap();
    }
    let producer = Producer::new(&redis, "orders2").max_len(1000).max_age(secs(3600));
    for n in 0..200 {
        producer.append(job(n)).await.unwrap();
    }
    let first = redis.send(XRange::new("orders2", ..).count(1)).await.unwrap();
    assert_ne!(first[0].id, StreamId::new(1, 1), "entries that are too old went");
}

/// Ablation: with one key for all producers the second message of `b` is dropped; with the window of each call 8 appends of
/// the second producer make most ids new.
#[actix::test]
async fn ids_are_remembered_for_each_name_and_for_the_longest_window() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    if redis.stream_features().await.unwrap().idempotent_add {
        return;
    }
    let named = |name: &str| Producer::new(&redis, "orders").name(name);
    for name in ["a", "b", "a:entries", "redis-actix"] {
        let appended = named(name).append(job(1).once("1")).await.unwrap();
        assert_eq!(appended.by, Some(OnceBy::Script), "{name}");
        assert_eq!(named(name).append(job(1).once("1")).await.unwrap().by, Some(OnceBy::ScriptKnewIt), "{name}");
    }
    let long = Producer::new(&redis, "orders").remember(secs(86_400), 1_000_000);
    for n in 0..500 {
        long.append(job(n).once(format!("id-{n}"))).await.unwrap();
    }
    let short = Producer::new(&redis, "orders").remember(secs(1), 10);
    for n in 0..8 {
        short.append(job(n).once(format!("short-{n}"))).await.unwrap();
    }
    let mut new = 0;
    for n in 0..500 {
        let appended = long.append(job(n).once(format!("id-{n}"))).await.unwrap();
        new += u64::from(appended.by == Some(OnceBy::Script));
    }
    assert_eq!(new, 0, "of 500 ids");
}

/// 120 others in between do not make an id new by default.
/// Ablation: with the default of 100 ids the second one is added again.
#[actix::test]
async fn an_id_is_known_behind_more_than_a_hundred_others() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    if redis.stream_features().await.unwrap().idempotent_add {
        return;
    }
    let producer = Producer::new(&redis, "orders");
    let first = producer.append(job(0).once("first")).await.unwrap();
    for n in 1..=120 {
        producer.append(job(n).once(format!("{n}"))).await.unwrap();
    }
    assert_eq!(producer.append(job(0).once("first")).await.unwrap().id, first.id);
    assert_eq!(len(&redis, "orders").await, 121);
}

/// Ablation: `cancel` marked as idempotent says false though it has cancelled; `once` without a token says that a new message
/// was known.
#[actix::test]
async fn a_script_that_is_repeated_for_a_lost_reply_returns_the_first_result() {
    let fixture = StreamFixture::start();
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    let (redis, direct) = (connect(proxy.port()), fixture.redis());
    if direct.stream_features().await.unwrap().idempotent_add {
        return;
    }
    let ticket = direct.schedule_in(XAdd::new("orders").entry(&Job { n: 1 }).unwrap(), secs(3600)).await.unwrap();
    let scheduled = Scheduled::new(&redis, "orders");
    assert_eq!(scheduled.count().await.unwrap(), 1);
    // The script is known, and its reply is held until the link is lost.
    scheduled.cancel(&"none".parse().unwrap()).await.unwrap();
    proxy.hold_only(redis_actix_test::Direction::ToClient);
    let cancelled = actix::spawn({
        let scheduled = scheduled.clone();
        async move { scheduled.cancel(&ticket).await }
    });
    eventually("it is cancelled", async || Scheduled::new(&direct, "orders").count().await.unwrap() == 0).await;
    proxy.reset_all();
    proxy.pass();
    let answer = cancelled.await.unwrap();
    assert!(answer.as_ref().is_err_and(|error| error.fate() == Fate::Unknown), "{answer:?}");

    let producer = Producer::new(&redis, "orders");
    producer.append(job(0).once("before")).await.unwrap();
    proxy.hold_only(redis_actix_test::Direction::ToClient);
    let appended = actix::spawn(async move { producer.append(job(1).once("order-1")).await });
    eventually("it is added", async || len(&direct, "orders").await == 2).await;
    proxy.reset_all();
    proxy.pass();
    assert_eq!(appended.await.unwrap().unwrap().by, Some(OnceBy::Script));
    assert_eq!(len(&direct, "orders").await, 2);
}

/// Ablation: with the group alone compared the list has both, and redrive moves the letter of the other stream.
#[actix::test]
async fn dead_letters_of_another_stream_in_the_same_place_are_left_alone() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::reject("no"));
    let mut consumers = Vec::new();
    for stream in ["orders", "returns"] {
        let consumer = quick(stream, "billing").dead_letter("dead");
        consumers.push(consumer.start::<Job>(&redis, handler.recipient()).unwrap());
        redis.send(XAdd::new(stream).entry(&Job { n: 1 }).unwrap()).await.unwrap();
    }
    eventually("both are dead", async || len(&redis, "dead").await == 2).await;
    drop(consumers);
    let dead = |stream: &str| DeadLetters::new(&redis, stream, "billing").stored_in("dead");
    let listed = dead("orders").list(DeadLetterFilter::all()).await.unwrap();
    assert_eq!(listed.iter().map(|letter| &*letter.stream).collect::<Vec<_>>(), ["orders"]);
    assert_eq!(dead("orders").purge(DeadLetterFilter::all()).await.unwrap(), 1);
    assert_eq!(dead("returns").redrive(DeadLetterFilter::all()).await.unwrap(), 1);
    assert_eq!((len(&redis, "dead").await, len(&redis, "returns").await, len(&redis, "orders").await), (0, 2, 1));
}

/// Ablation: without the look at the server's features `schedule` returns a ticket.
#[actix::test]
async fn a_message_that_the_server_would_never_take_is_not_scheduled() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    if redis.stream_features().await.unwrap().idempotent_add {
        return;
    }
    let message = XAdd::new("orders").idempotency("p", "1").entry(&Job { n: 1 }).unwrap();
    let error = redis.schedule(message, SystemTime::now()).await.unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent), "{error}");
    assert_eq!(Scheduled::new(&redis, "orders").count().await.unwrap(), 0);
}

/// 1,100 messages that the server refuses when their time has come, as one older than this crate may have left them.
/// Ablation: left in the schedule, the first thousand of them keep the good one from its stream.
#[actix::test]
async fn scheduled_messages_that_are_refused_go_to_the_dead_letters() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    if redis.stream_features().await.unwrap().idempotent_add {
        return;
    }
    let script = "for n = 1, 1100 do
        redis.call('HSET', KEYS[2], n, cmsgpack.pack({'IDMP', 'p', '*', '*', 'n', n}))
        redis.call('ZADD', KEYS[1], n, n) end return 1";
    let keys = ["t:orders:scheduled", "t:orders:scheduled:messages"];
    fixture.server.command(["EVAL", script, "2", keys[0], keys[1]]).unwrap().ok().unwrap();
    redis.schedule(XAdd::new("orders").entry(&Job { n: 0 }).unwrap(), SystemTime::now()).await.unwrap();
    let (handler, events) = (Recorder::start_with(|_| Outcome::Ack), Events::watch());
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(1).await;
    eventually("all are refused", async || len(&redis, "orders:dlq").await == 1100).await;
    events.saw("it says so", |kind| matches!(kind, Kind::ScheduleRefused { .. })).await;
    assert_eq!(Scheduled::new(&redis, "orders").count().await.unwrap(), 0);
    let dead = DeadLetters::new(&redis, "orders", "billing");
    let letters = dead.list(DeadLetterFilter::all().reason("schedule").limit(1)).await.unwrap();
    assert_eq!(letters[0].fields, [(b"n".to_vec(), b"1".to_vec())]);
}

/// Ablation: with one pause for all streams 16 pages take 2 s each ("not within 20s: all of 1000").
#[actix::test]
async fn a_schedule_that_fails_does_not_hold_up_another_one() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    redis.send(Set::new("broken:scheduled", "no sorted set")).await.unwrap();
    for n in 0..1000 {
        redis.schedule(XAdd::new("orders").entry(&Job { n }).unwrap(), SystemTime::now()).await.unwrap();
    }
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("broken", "billing").stream("orders", 1).scheduled_every(ms(50));
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(1000).await;
}

/// Ablation: with NOPERM alone taken for a refusal nothing is handled ("not within 20s: all of 20").
#[actix::test]
async fn a_server_with_renamed_commands_is_done_without_them() {
    for renamed in ["XINFO", "EVALSHA", "EVAL"] {
        let server = RedisServer::builder().args(["--rename-command", renamed, ""]).start().unwrap();
        let fixture = StreamFixture { server };
        let redis = fixture.redis();
        let handler = Recorder::start_with(|job| if job.attempt() == 1 { Outcome::Retry } else { Outcome::Ack });
        let events = Events::watch();
        let consumer = quick("orders", "billing").on_event(events.recipient());
        let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
        add(&redis, 0..20).await;
        eventually(renamed, async || handler.seen().iter().filter(|seen| seen.attempt == 2).count() == 20).await;
        settled(&redis).await;
        assert!(events.count(|kind| matches!(kind, Kind::Degraded { .. })) >= 1, "{renamed}: {:?}", events.all());
    }
}

/// Ablation: without `delete_unneeded` the stream keeps the entry that was rejected.
#[actix::test]
async fn entries_that_are_dead_leave_a_stream_without_acknowledged_entries() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|job| if job.n == 3 { Outcome::reject("no") } else { Outcome::Ack });
    let consumer = quick("orders", "billing").delete_acknowledged();
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..5).await;
    handler.all_of(5).await;
    eventually("the stream is empty", async || len(&redis, "orders").await == 0).await;
    assert_eq!(len(&redis, "orders:dlq").await, 1);
}

/// Ablation: without MAXLEN there are 600.
#[actix::test]
async fn dead_letters_have_a_bound_where_one_is_given() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::reject("no"));
    let consumer = quick("orders", "billing").dead_letter_max_len(50);
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..600).await;
    handler.all_of(600).await;
    settled(&redis).await;
    assert_eq!(consumer.stats().await.unwrap().dead_lettered, 600);
    let left = len(&redis, "orders:dlq").await;
    assert!((50..=200).contains(&left), "{left}");
}

static MARKED: Script<i64> = Script::new("#!lua flags=no-writes\nreturn tonumber(ARGV[1]) + 1");

struct Effects {
    redis: Redis,
    answers: Arc<std::sync::Mutex<Vec<(i64, i64)>>>,
}

impl Actor for Effects {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Effects {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, job: Delivery<Job>, _: &mut Context<Self>) -> Self::Result {
        let (redis, answers) = (self.redis.clone(), self.answers.clone());
        Box::pin(async move {
            let answer = if job.n == 0 {
                let all = Transaction::new((IncrBy::new("sum", 1), HIncrBy::new("h", "f", -9_007_199_254_740_993)));
                job.ack_with(&redis, all).await
            } else {
                job.ack_with(&redis, MARKED.invoke().arg(41)).await.map(|answer| answer.map(|sum| (sum, 0)))
            };
            answers.lock().unwrap().extend(answer.unwrap());
            Outcome::Ack
        })
    }
}

/// Ablation: without reading the number again it is 9007199254740992; without the first line in front the script is refused.
#[actix::test]
async fn effects_beside_an_acknowledgement_answer_exact_numbers_and_take_any_script() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    redis.send(Set::new("sum", 9_007_199_254_740_992_u64)).await.unwrap();
    let answers = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler = Effects { redis: redis.clone(), answers: answers.clone() }.start();
    let consumer = quick("orders", "billing").max_in_flight(1);
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..2).await;
    eventually("both answered", async || answers.lock().unwrap().len() == 2).await;
    assert_eq!(*answers.lock().unwrap(), [(9_007_199_254_740_993, -9_007_199_254_740_993), (42, 0)]);
    settled(&redis).await;
}

/// Ablation: with the answer of `done` dropped it is `Ok(Some(1))`.
#[actix::test]
async fn an_effect_that_outlives_its_claim_is_no_silent_success() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let mails = Deduplicate::new(&redis, "mails").claim_for(ms(20));
    let effect = async {
        eventually("the claim has ended", async || !redis.send(Exists::new(["mails:1"])).await.is_ok_and(|n| n == 1))
            .await;
        Ok(1)
    };
    let error = mails.once("1", effect).await.unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Conflict, Fate::Unknown), "{error}");
}

/// Ablation: without `lose` where a handler is given up `lost` never completes ("not within 20s: the handler has learned it").
#[actix::test]
async fn a_handler_learns_that_its_deadline_has_passed() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let learned = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = learned.clone();
    let handler = Recorder::working(move |job| {
        let (lease, attempt, count) = (job.lease(), job.attempt(), count.clone());
        async move {
            if attempt == 1 {
                lease.lost().await;
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").handler_deadline(ms(100));
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..1).await;
    eventually("the handler has learned it", async || learned.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    settled(&redis).await;
    assert_eq!(consumer.stats().await.unwrap().timed_out, 1);
}

struct Anything;

impl Actor for Anything {
    type Context = Context<Self>;
}

impl Handler<Delivery<String>> for Anything {
    type Result = Outcome;

    fn handle(&mut self, _: Delivery<String>, _: &mut Context<Self>) -> Outcome {
        Outcome::Ack
    }
}

impl Handler<Delivery<()>> for Anything {
    type Result = Outcome;

    fn handle(&mut self, _: Delivery<()>, _: &mut Context<Self>) -> Outcome {
        Outcome::Ack
    }
}

/// Ablation: without the check at the start every entry is dead.
#[actix::test]
async fn a_consumer_of_a_type_without_fields_is_not_started() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let anything = Anything.start();
    let texts = quick("orders", "billing").start::<String>(&redis, anything.clone().recipient());
    assert_eq!(texts.map(drop).unwrap_err().kind(), ErrorKind::Config);
    let units = quick("orders", "billing").start::<()>(&redis, anything.recipient()).unwrap();
    add(&redis, 0..5).await;
    eventually("all are handled", async || units.stats().await.unwrap().acked == 5).await;
    assert_eq!(units.stats().await.unwrap().dead_lettered, 0);
}

/// Ablation: with SCRIPT LOAD at every primary the consumer starts no entry, and `append` and `schedule` fail.
#[actix::test]
async fn a_dead_shard_does_not_concern_streams_of_the_others() {
    let servers = aside(|| {
        let servers = cluster(RedisCluster::builder().primaries(3).arg("--cluster-require-full-coverage", "no"));
        Arc::new(servers)
    })
    .await;
    let stream = "{orders}";
    let other = ["{a}", "{b}", "{c}", "{d}"].into_iter().find(|key| {
        let owner = |key: &str| servers.owner(servers.slot_of(key).unwrap()).unwrap().port();
        owner(key) != owner(stream)
    });
    servers.owner(servers.slot_of(other.unwrap()).unwrap()).unwrap().kill().unwrap();
    let redis = crate::support::hasty(config(&servers).command_timeout(secs(15))).start().unwrap();
    let handler = Recorder::start_with(|job| if job.attempt() == 1 { Outcome::Retry } else { Outcome::Ack });
    let consumer = quick(stream, "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    let producer = Producer::new(&redis, stream).max_len(1000).keep_needed();
    for n in 0..10 {
        producer.append(job(n).once(format!("{n}"))).await.unwrap();
    }
    redis.schedule(XAdd::new(stream).entry(&Job { n: 10 }).unwrap(), SystemTime::now()).await.unwrap();
    handler.all_of(11).await;
    eventually("all are handled", async || consumer.stats().await.unwrap().acked == 11).await;
}

/// Ablation: with three keys for every call `keep_needed` fails with CROSSSLOT; without the checks the errors name no tag.
#[actix::test]
async fn streams_without_a_hash_tag_do_what_one_key_is_enough_for() {
    let servers = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = crate::support::hasty(config(&servers).command_timeout(secs(15))).start().unwrap();
    let producer = Producer::new(&redis, "orders").max_len(1000).keep_needed();
    producer.append(job(1)).await.unwrap();
    producer.trim().await.unwrap();
    if redis.stream_features().await.unwrap().idempotent_add {
        return;
    }
    let once = producer.append(job(1).once("1")).await.unwrap_err();
    let scheduled = redis.schedule(XAdd::new("orders").entry(&Job { n: 1 }).unwrap(), SystemTime::now()).await;
    for error in [once, scheduled.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidCommand);
        assert!(error.to_string().contains("name the stream with a hash tag, as {orders}"), "{error}");
    }
}
