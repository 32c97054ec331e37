//! Nobody of this process reads something older than its own last write.

use std::time::Duration;

use redis_actix::prelude::*;
use redis_actix::{CacheConfig, Script, Value};

use crate::support::{config, hasty, server};
use crate::{TTL, by_others, cached, fresh, get, raw, start, stats};

/// The reply to the write was received: the next read has it. Without awaiting the reply, too, in the order of the calls.
async fn is_current(redis: &Redis, what: &str, key: &str, write: Raw<Value>) {
    for awaited in [true, false] {
        redis.send(raw(&["SET", key, "old"], &[1])).await.expect("set");
        redis.send(raw(&["SET", "other", "other"], &[1])).await.expect("set");
        assert_eq!(cached(redis, key).await.as_deref(), Some("old"), "{what}");
        let write = redis.send(write.clone());
        let read = if awaited {
            write.await.unwrap_or_else(|error| panic!("{what}: {error}"));
            get(redis, key).await
        } else {
            let read = redis.send(Get::new(key).cached(TTL));
            write.await.unwrap_or_else(|error| panic!("{what}: {error}"));
            read.await.expect("answered")
        };
        assert_ne!(read.as_deref(), Some("old"), "{what}, awaited: {awaited}");
        assert_eq!(read, fresh(redis, key).await, "{what}, awaited: {awaited}");
        assert_eq!(get(redis, key).await, fresh(redis, key).await, "{what}, awaited: {awaited}");
    }
}

/// Ablation: without the invalidation at the admission, the write that is not awaited is not seen.
#[actix::test]
async fn every_kind_of_write_is_seen_at_once() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["SET", "test:dump", "dumped"]);
    let dump: Vec<u8> = redis.send(Raw::new("DUMP").key("dump")).await.expect("dumped");
    let writes = [
        ("SET", raw(&["SET", "k", "new"], &[1])),
        ("DEL", raw(&["DEL", "k"], &[1])),
        ("UNLINK", raw(&["UNLINK", "other", "k"], &[1, 2])),
        ("MSET", raw(&["MSET", "a", "b", "k", "new"], &[1, 3])),
        ("APPEND", raw(&["APPEND", "k", "er"], &[1])),
        ("GETDEL", raw(&["GETDEL", "k"], &[1])),
        ("SETRANGE", raw(&["SETRANGE", "k", "0", "new"], &[1])),
        ("RENAME from", raw(&["RENAME", "k", "k2"], &[1, 2])),
        ("RENAME to", raw(&["RENAME", "other", "k"], &[1, 2])),
        ("COPY", raw(&["COPY", "other", "k", "REPLACE"], &[1, 2])),
        ("PEXPIREAT", raw(&["PEXPIREAT", "k", "1"], &[1])),
        ("RESTORE", Raw::new("RESTORE").key("k").arg(0).arg(dump).arg("REPLACE")),
        ("EVAL", raw(&["EVAL", "return redis.call('set', KEYS[1], 'new')", "1", "k"], &[3])),
    ];
    for (what, write) in writes {
        is_current(&redis, what, "k", write).await;
    }
    assert_eq!(stats(&redis).flushes_link_lost, 0);
}

#[actix::test]
async fn pipelines_transactions_and_scripts_are_seen_at_once() {
    let server = server();
    let redis = start(server.port());
    let script = Script::<()>::new("redis.call('set', KEYS[1], ARGV[1])");
    for round in 0..20 {
        let (one, two, three) = (format!("{round}-1"), format!("{round}-2"), format!("{round}-3"));
        cached(&redis, "k").await;
        redis.send(Pipeline::new((Incr::new("n"), Set::new("k", &one)))).await.expect("written");
        assert_eq!(get(&redis, "k").await, Some(one.clone()));
        assert_eq!(cached(&redis, "k").await, Some(one));
        redis.send(Transaction::new((Incr::new("n"), Set::new("k", &two)))).await.expect("written");
        assert_eq!(cached(&redis, "k").await, Some(two));
        redis.send(script.invoke().key("k").arg(&three)).await.expect("written");
        assert_eq!(cached(&redis, "k").await, Some(three));
    }
}

/// Ablation: without the wide counter, `FLUSHALL` of an operator's handle is seen when the push arrives.
#[actix::test]
async fn writes_of_other_handles_and_addresses_are_seen() {
    let server = server();
    let redis = start(server.port());
    let other = redis.clone();
    for round in 0..20 {
        cached(&redis, "k").await;
        other.send(Set::new("k", round)).await.expect("written");
        assert_eq!(cached(&redis, "k").await, Some(round.to_string()));
        redis.unprefixed().send(Raw::<()>::new("SET").arg("test:k").arg("raw")).await.expect("written");
        assert_eq!(cached(&redis, "k").await.as_deref(), Some("raw"));
        redis.unprefixed().send(Raw::<()>::new("FLUSHALL")).await.expect("flushed");
        assert_eq!(cached(&redis, "k").await, None);
        redis.addr().send(Set::new("k", format!("a{round}"))).await.expect("alive").expect("written");
        assert_eq!(cached(&redis, "k").await, Some(format!("a{round}")));
    }
}

#[actix::test]
async fn blocking_and_watched_writes_are_seen() {
    let server = server();
    let redis = start(server.port());
    let length = async || redis.send(redis_actix::LLen::new("l").cached(TTL)).await.expect("answered");
    for _ in 0..10 {
        redis.send(RPush::new("l", ["x"])).await.expect("pushed");
        assert_eq!((length().await, length().await), (1, 1));
        let popped = redis.send(redis_actix::BLPop::new(["l"], Duration::from_secs(5))).await.expect("popped");
        assert!(popped.is_some());
        assert_eq!(length().await, 0);
    }
    for round in 0..10 {
        cached(&redis, "k").await;
        let swapped = redis.watch(["k"], |watched| async move {
            // The connection of the transaction is not the cached one.
            let _: Option<String> = watched.send(Get::new("k").cached(TTL)).await?;
            Ok(Some(Transaction::new((Set::new("k", round),))))
        });
        assert!(swapped.await.expect("written").is_some());
        assert_eq!(get(&redis, "k").await, Some(round.to_string()));
    }
}

/// Several threads write and read through one handle, so that replies of reads and writes are delivered in any order.
///
/// Ablations: without the counter at the admission, at the delivery, or without the pending writes, stale reads appear.
#[test]
fn no_thread_reads_something_older_than_its_own_write() {
    let server = server();
    for settings in [CacheConfig::new(1 << 20), CacheConfig::new(1 << 20).broadcast()] {
        let redis = hasty(config(server.port()).cache(settings)).start_on_own_thread().expect("started");
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                std::thread::spawn({
                    let redis = redis.clone();
                    move || actix_rt::System::new().block_on(write_and_read(redis, thread))
                })
            })
            .collect();
        let reads: u32 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert!(reads > 0 && stats(&redis).hits > 0, "{:?}", stats(&redis));
    }
}

/// Each thread has its own fields of keys that all write, so each knows a lower bound of what it must read.
async fn write_and_read(redis: Redis, thread: usize) -> u32 {
    let mut rng = fastrand::Rng::with_seed(thread as u64);
    let mut written = [0_u64; 4];
    let mut reads = 0;
    for number in 1..2_000_u64 {
        let key = rng.usize(..written.len());
        let name = format!("h{key}");
        let field = format!("t{thread}");
        let write = redis.send(HSet::new(&name).field(&field, number));
        if rng.bool() {
            write.await.expect("written");
        }
        written[key] = number;
        for _ in 0..rng.usize(..4) {
            let read = redis.send(HGet::<u64>::new(&name, &field).cached(TTL)).await.expect("answered");
            assert_eq!(read, Some(written[key]), "thread {thread}, key {key}");
            reads += 1;
        }
    }
    reads
}
