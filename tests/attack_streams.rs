//! Inputs at the edge of what the features of streams allow.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod stream_support;

use std::time::SystemTime;

use redis_actix::prelude::*;
use redis_actix::{Entry, Outcome, Scheduled};
use stream_support::*;

#[actix::test]
async fn a_message_that_can_never_be_moved_keeps_no_other_from_its_stream() {
    let bed = Bed::start();
    let redis = bed.redis();
    let poison = XAdd::new("orders").entry(&Job { n: 0 }).unwrap().idempotency("p", "1");
    redis.schedule(poison, SystemTime::now()).await.unwrap();
    redis.schedule(XAdd::new("orders").entry(&Job { n: 1 }).unwrap(), SystemTime::now()).await.unwrap();
    let scheduled = Scheduled::new(&redis, "orders");
    let by_server = redis.stream_features().await.unwrap().idempotent_add;
    // With the script ended by the first error none was moved, ever.
    assert_eq!(scheduled.move_due().await.unwrap(), if by_server { 2 } else { 1 });
    let entries = redis.send(XRange::new("orders", ..)).await.unwrap();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.decode::<Job>().unwrap().n).collect();
    assert!(numbers.contains(&1), "{numbers:?}");
    if !by_server {
        assert_eq!(scheduled.move_due().await.unwrap_err().code(), Some("ERR"), "it is told, and kept");
        assert_eq!(scheduled.count().await.unwrap(), 1);
    }
}

/// A user who may not run scripts buries by commands; whoever may looks after the letter.
#[actix::test]
async fn a_letter_that_was_written_without_scripts_is_found_and_sent_back() {
    let bed = Bed::start();
    let rights = ["ACL", "SETUSER", "plain", "on", ">p", "~*", "&*", "+@all", "-eval", "-evalsha", "-script"];
    tell(&bed.server, rights);
    let redis = bed.redis();
    let config = RedisConfig::builder().host("127.0.0.1").port(bed.server.port()).key_prefix("t:");
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
    assert!(age < PATIENCE && letter.first_seen <= letter.last_seen, "{letter:?} {age:?}");
    assert_eq!(letters.redrive(redis_actix::DeadLetterFilter::all()).await.unwrap(), 1);
    let back = redis.send(XRange::new("orders", ..)).await.unwrap();
    assert_eq!(back.last().unwrap().fields, [(b"n".to_vec(), b"7".to_vec())], "nothing of the letter is left in it");
}
