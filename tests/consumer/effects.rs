//! Effects that happen once: together with the acknowledgement, or under a mark of their own.

use std::time::Duration;

use crate::stream_support::*;
use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Claim, Deduplicate, Delivery, ErrorKind, Outcome, Result};

static BILL: Script<i64> = Script::new(
    "redis.call('RPUSH', KEYS[2], ARGV[1])
     return redis.call('INCRBY', KEYS[1], ARGV[1]) -- no end of line after this",
);

/// Commits each job's number to a sum, and says that it failed: so every job is delivered as often as allowed.
struct Sums {
    redis: Redis,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Transaction,
    Script,
    Apart,
}

impl Actor for Sums {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Sums {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, job: Delivery<Job>, _: &mut Self::Context) -> Self::Result {
        let (redis, how) = (self.redis.clone(), self.how);
        Box::pin(async move {
            let n = i64::try_from(job.n).unwrap();
            match how {
                How::Transaction => {
                    let commands = (IncrBy::new("sum", n), RPush::new("jobs", [n]), Get::<i64>::new("sum"));
                    let (sum, length, read) = match job.ack_with(&redis, Transaction::new(commands)).await.unwrap() {
                        Some(replies) => replies,
                        None => return Outcome::Ack,
                    };
                    assert_eq!((read, length > 0), (Some(sum), true));
                }
                How::Script => {
                    job.ack_with(&redis, BILL.invoke().key("sum").key("jobs").arg(n)).await.unwrap();
                }
                How::Apart => {
                    redis.send(IncrBy::new("sum", n)).await.unwrap();
                }
            }
            // As if it had died before it could say so.
            Outcome::Failed("after the effect".to_owned())
        })
    }
}

async fn sum_of(how: How) -> i64 {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    for n in 1..=100 {
        redis.send(XAdd::new("orders").entry(&Job { n }).unwrap()).await.unwrap();
    }
    let handler = Sums { redis: redis.clone(), how }.start();
    let consumer = quick("orders", "billing")
        .retry([Duration::from_millis(10)])
        .start::<Job>(&redis, handler.recipient())
        .unwrap();
    eventually("nothing pending, nothing in flight", async || {
        let stats = consumer.stats().await.unwrap();
        let group = redis.send(XInfoGroups::new("orders")).await.unwrap();
        stats.delivered >= 100 && group[0].pending == 0 && stats.in_flight + stats.waiting + stats.delayed == 0
    })
    .await;
    redis.send(Get::new("sum")).await.unwrap().unwrap_or_default()
}

#[actix::test]
async fn a_transaction_and_its_acknowledgement_are_one_step() {
    assert_eq!(sum_of(How::Transaction).await, 5_050);
}

#[actix::test]
async fn a_script_and_its_acknowledgement_are_one_step() {
    assert_eq!(sum_of(How::Script).await, 5_050);
}

#[actix::test]
async fn an_effect_apart_from_its_acknowledgement_happens_again() {
    // The ablation of the two above: five deliveries, five times the sum.
    assert_eq!(sum_of(How::Apart).await, 5 * 5_050);
}

/// Hands a delivery out of the handler, which never answers.
struct Keeps(tokio::sync::mpsc::UnboundedSender<Delivery<Job>>);

impl Actor for Keeps {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Keeps {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, job: Delivery<Job>, _: &mut Self::Context) -> Self::Result {
        self.0.send(job).unwrap();
        Box::pin(std::future::pending())
    }
}

#[actix::test]
async fn what_is_not_ours_or_fails_is_neither_done_nor_acknowledged() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let (sender, mut jobs) = tokio::sync::mpsc::unbounded_channel();
    let handler = Keeps(sender).start().recipient();
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler).unwrap();
    redis.send(XAdd::new("orders").entry(&Job { n: 5 }).unwrap()).await.unwrap();
    let job = jobs.recv().await.unwrap();
    redis.send(Set::new("word", "no number")).await.unwrap();
    let pending = async || redis.send(XPending::new("orders", "billing")).await.unwrap().count;

    let failed = job.ack_with(&redis, Transaction::new((Incr::new("a"), Incr::new("word")))).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Server, "{failed}");
    assert_eq!(pending().await, 1, "a command failed: not acknowledged");
    static FAILS: Script<i64> = Script::new("return redis.error_reply('ERR not today')");
    let failed = job.ack_with(&redis, FAILS.invoke()).await.unwrap_err();
    assert!(failed.to_string().contains("not today"), "{failed}");
    assert_eq!(pending().await, 1, "the script said no: not acknowledged");
    let walks = Transaction::new((Keys::new("u*"),));
    assert_eq!(job.ack_with(&redis, walks).await.unwrap_err().kind(), ErrorKind::InvalidCommand);

    // Another consumer takes it over, and keeps it.
    redis.send(XClaim::new("orders", "billing", "other", Duration::ZERO, [job.id()])).await.unwrap();
    let lost = job.ack_with(&redis, Transaction::new((Incr::new("b"),))).await.unwrap();
    assert_eq!(lost, None);
    assert_eq!(job.ack_with(&redis, BILL.invoke().key("b").key("jobs").arg(1)).await.unwrap(), None);
    // Without the look at the owner, as in MULTI, it was 1.
    assert_eq!(redis.send(Get::<i64>::new("b")).await.unwrap(), None);
    assert_eq!(pending().await, 1);

    redis.send(XClaim::new("orders", "billing", "c1", Duration::ZERO, [job.id()])).await.unwrap();
    static NOTHING: Script<Option<String>> = Script::new("return redis.call('GET', KEYS[1])");
    assert_eq!(job.ack_with(&redis, NOTHING.invoke().key("none")).await.unwrap(), Some(None), "nil is a reply too");
    assert_eq!(pending().await, 0);
    drop(consumer);
}

#[actix::test]
async fn an_effect_elsewhere_happens_once_and_a_dead_claim_ends() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let mails = Deduplicate::new(&redis, "mails").claim_for(Duration::from_millis(300));
    let Claim::Ours(claim) = mails.claim("17").await.unwrap() else { panic!("no other consumer is there") };
    assert!(matches!(mails.claim("17").await.unwrap(), Claim::Taken));
    assert!(claim.release().await.unwrap());
    let Claim::Ours(dies) = mails.claim("17").await.unwrap() else { panic!("it was released") };
    eventually("the claim ends", async || matches!(mails.claim("17").await.unwrap(), Claim::Ours(_))).await;
    assert!(!dies.done().await.unwrap(), "its time had passed: another consumer has it");

    let mut sent = Vec::new();
    for attempt in 1..=3 {
        sent.extend(mails.once("18", async { Ok(attempt) }).await.unwrap());
    }
    assert_eq!(sent, [1]);
    assert!(matches!(mails.claim("18").await.unwrap(), Claim::Done));
    let failed: Result<Option<()>> = mails.once("19", async { Err(redis_actix::Error::decode("no")) }).await;
    assert!(failed.is_err());
    assert_eq!(mails.once("19", async { Ok(1) }).await.unwrap(), Some(1), "what failed may be tried again");
    let ttl = redis.send(PTtl::new("mails:19")).await.unwrap();
    assert!(format!("{ttl:?}").contains("86"), "a day is remembered: {ttl:?}");
}
