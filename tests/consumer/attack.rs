//! Inputs at the edge of what the features of streams allow.

use std::time::SystemTime;

use crate::stream_support::*;
use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Entry, OnceBy, Outcome, Producer};

fn entry(n: u64) -> Entry {
    Entry::new(&Job { n }).unwrap()
}

/// With as many ids remembered as may be, the oldest of them is remembered too.
#[actix::test]
async fn the_oldest_remembered_id_is_not_pushed_out_by_itself() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    for most in [1, 3] {
        let stream = format!("orders{most}");
        let producer = Producer::new(&redis, stream.clone()).remember(secs(60), most);
        for n in 0..most {
            producer.append(entry(n).once(n.to_string())).await.unwrap();
        }
        let again = producer.append(entry(0).once("0")).await.unwrap();
        assert_eq!(again.by, Some(OnceBy::ScriptKnewIt), "{most} remembered");
        assert_eq!(redis.send(XLen::new(&stream)).await.unwrap(), most);
        // And a repeated one pushes out no other.
        for n in 0..most {
            let again = producer.append(entry(n).once(n.to_string())).await.unwrap();
            assert_eq!(again.by, Some(OnceBy::ScriptKnewIt), "{n} of {most} remembered");
        }
        producer.append(entry(most).once(most.to_string())).await.unwrap();
        let forgotten = producer.append(entry(0).once("0")).await.unwrap();
        assert_eq!(forgotten.by, Some(OnceBy::Script), "no more than {most} are remembered");
    }
}

/// An id whose time has passed is a new message, however many others have to be forgotten with it.
#[actix::test]
async fn an_id_whose_time_has_passed_is_forgotten_among_many() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let producer = Producer::new(&redis, "orders").remember(ms(2_000), 1_000);
    for n in 0..200 {
        producer.append(entry(n).once(n.to_string())).await.unwrap();
    }
    let until = SystemTime::now() + ms(2_050);
    // Another client keeps the keys alive beyond that.
    let left = || tell(&fixture.server, ["PTTL", "t:orders:once"]).int().unwrap();
    eventually("half of it is left", async || left() < 1_000).await;
    producer.append(entry(200).once("200")).await.unwrap();
    eventually("the time", async || SystemTime::now() > until).await;
    assert_eq!(tell(&fixture.server, ["ZCARD", "t:orders:once"]).int().unwrap(), 201, "all of them are there still");
    let again = producer.append(entry(199).once("199")).await.unwrap();
    assert_eq!(again.by, Some(OnceBy::Script), "its two seconds are over");
}

/// One effect, and one that is too long.
struct Long(Redis, tokio::sync::mpsc::UnboundedSender<Option<ErrorKind>>);

impl Actor for Long {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Long {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, job: Delivery<Job>, _: &mut Self::Context) -> Self::Result {
        let (redis, outcomes) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let effects = Transaction::new((Incr::new("n"), RPush::new("l", vec!["x"; 9_000])));
            let answer = job.ack_with(&redis, effects).await;
            outcomes.send(answer.err().map(|error| error.kind())).unwrap();
            Outcome::reject("too long")
        })
    }
}

/// Sent all the same, the first effect happened with each delivery, and the script failed at the second.
#[actix::test]
async fn a_command_too_long_for_the_script_leaves_nothing_half_done() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, [7]).await;
    let (outcomes, mut received) = tokio::sync::mpsc::unbounded_channel();
    let handler = Long(redis.clone(), outcomes).start();
    let _consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    let kind = tokio::time::timeout(TIME_LIMIT, received.recv()).await.unwrap().unwrap();
    assert_eq!(kind, Some(ErrorKind::InvalidCommand));
    assert_eq!(redis.send(Exists::new(["n", "l"])).await.unwrap(), 0);
}

/// A user without the right to run scripts dead-letters by commands; a user with it uses the script.
#[actix::test]
async fn a_letter_that_was_written_without_scripts_is_found_and_sent_back() {
    let fixture = StreamFixture::start();
    let rights = ["ACL", "SETUSER", "plain", "on", ">p", "~*", "&*", "+@all", "-eval", "-evalsha", "-script"];
    tell(&fixture.server, rights);
    let redis = fixture.redis();
    let config = RedisConfig::builder().host("127.0.0.1").port(fixture.server.port()).key_prefix("t:");
    let plain = Redis::builder(config.username("plain").password("p").build().unwrap()).start().unwrap();
    let id = add(&redis, [7]).await[0];
    let handler = Recorder::start_with(|_| Outcome::reject("no"));
    let consumer = quick("orders", "billing").start::<Job>(&plain, handler.recipient()).unwrap();
    let letters = redis_actix::DeadLetters::new(&redis, "orders", "billing");
    eventually("a dead letter", async || letters.count().await.is_ok_and(|count| count == 1)).await;
    consumer.drain(secs(5)).await.unwrap();
    let listed = letters.list(redis_actix::DeadLetterFilter::all()).await.unwrap();
    assert_eq!(listed.len(), 1, "it is one of this group");
    let letter = &listed[0];
    assert_eq!((letter.original, letter.deliveries, letter.error.as_str()), (id, 1, "no"));
    assert_eq!(letter.fields, [(b"n".to_vec(), b"7".to_vec())]);
    let age = SystemTime::now().duration_since(letter.last_seen).unwrap();
    assert!(age < TIME_LIMIT && letter.first_seen <= letter.last_seen, "{letter:?} {age:?}");
    assert_eq!(letters.redrive(redis_actix::DeadLetterFilter::all()).await.unwrap(), 1);
    let back = redis.send(XRange::new("orders", ..)).await.unwrap();
    assert_eq!(back.last().unwrap().fields, [(b"n".to_vec(), b"7".to_vec())], "nothing of the letter is left in it");
}

/// A connection of a user who may do all but this.
fn limited(fixture: &StreamFixture, rule: &str) -> Redis {
    tell(&fixture.server, ["ACL", "SETUSER", "limited", "on", ">p", "~*", "&*", "+@all", rule]);
    let config = RedisConfig::builder().host("127.0.0.1").port(fixture.server.port()).key_prefix("t:");
    Redis::builder(config.username("limited").password("p").build().unwrap()).start().unwrap()
}

/// Trimmed behind it, the message was there and its producer got an error.
#[actix::test]
async fn an_append_that_fails_in_its_script_adds_nothing() {
    for rule in ["-xinfo", "-xtrim", "-xdel"] {
        let fixture = StreamFixture::start();
        let (redis, limited) = (fixture.redis(), limited(&fixture, rule));
        redis.send(XGroupCreate::new("orders", "g").mkstream()).await.unwrap();
        let ids = add(&redis, 0..5).await;
        redis.send(XReadGroup::new("g", "c", ["orders"])).await.unwrap();
        redis.send(XAck::new("orders", "g", ids)).await.unwrap();
        let error = Producer::new(&limited, "orders").max_len(3).keep_needed().append(entry(5)).await.unwrap_err();
        // Servers up to 7.0 say ERR, later ones NOPERM. The script answers what failed before it added anything.
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Server, Fate::Rejected), "{rule}: {error}");
        assert_eq!(redis.send(XRevRange::new("orders", ..).count(1)).await.unwrap()[0].get("n"), Some(&b"4"[..]));
    }
}

/// An acknowledgement that was one was taken for failed, and sent again without end.
#[actix::test]
async fn what_may_not_be_deleted_is_acknowledged_all_the_same() {
    let fixture = StreamFixture::start();
    let (redis, limited) = (fixture.redis(), limited(&fixture, "-xinfo"));
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer =
        quick("orders", "billing").delete_acknowledged().start::<Job>(&limited, handler.recipient()).unwrap();
    add(&redis, 0..5).await;
    handler.all_of(5).await;
    let report = consumer.drain(secs(5)).await.unwrap();
    assert_eq!((report.unacknowledged, report.unfinished), (0, 0), "{report:?}");
}
