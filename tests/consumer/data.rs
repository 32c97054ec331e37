//! The stream itself goes, changes, or is not one.

use std::cell::Cell;
use std::rc::Rc;

use crate::stream_support::*;
use redis_actix::StreamEventKind as Kind;
use redis_actix::prelude::*;

/// Waits until every consumer has looked how far the group is.
async fn looked(fixture: &StreamFixture) {
    let looks = || {
        let stats = tell(&fixture.server, ["INFO", "commandstats"]).text().unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xinfo|groups:calls=")).unwrap();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = looks();
    eventually("two looks of two consumers", async || looks() >= before + 4).await;
}

/// When the renewal of a lease did not ask whether the entry is there, the server removed them silently: not reported
/// within 20 s.
#[actix::test]
async fn scenario_12_trimmed_while_pending() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|job| if job.n < 5 { Outcome::RetryAfter(ms(400)) } else { Outcome::Ack });
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..5).await;
    handler.handled(5).await;
    tell(&fixture.server, ["XTRIM", "t:orders", "MAXLEN", "0"]);
    let trimmed = |kind: &Kind| matches!(kind, Kind::Trimmed { .. });
    events.saw("the loss is reported", trimmed).await;
    settled(&redis).await;
    add(&redis, 5..10).await;
    handler.all_of(10).await;
    settled(&redis).await;
    assert_eq!(handler.seen().len(), 10, "none of them again");
    assert_eq!(consumer.stats().await.unwrap().trimmed, 5);
}

/// With the group made only the first time: not healed within 20 s.
#[actix::test]
async fn scenario_13_stream_deleted_flushed_expired() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").block(secs(5)).on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    let losses: [&[&str]; 4] =
        [&["DEL", "t:orders"], &["FLUSHALL"], &["PEXPIRE", "t:orders", "1"], &["UNLINK", "t:orders"]];
    let mut added = 0;
    for (round, loss) in losses.into_iter().enumerate() {
        for _ in 0..2 {
            add(&redis, added..added + 100).await;
            added += 100;
            handler.all_of(added).await;
            settled(&redis).await;
        }
        fixture.server.command(loss).unwrap().array().ok();
        // Sometimes the producer is faster than the consumer, sometimes not.
        if round % 2 == 0 {
            let healed = |kind: &Kind| matches!(kind, Kind::Healed { .. });
            eventually("healed", async || events.count(healed) > round).await;
        }
        add(&redis, added..added + 100).await;
        added += 100;
        handler.all_of(added).await;
    }
    settled(&redis).await;
    assert_eq!(handler.seen().len() as u64, added, "acknowledged entries went with the stream");
}

/// Made again at `$`, the group skipped entries added while it was missing: not all of the next within 20 s. Made again at 0,
/// it delivered all that had been acknowledged once more.
#[actix::test]
async fn scenario_14_group_destroyed_under_load() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let (gate, passed) = tokio::sync::watch::channel(true);
    // Some are in flight whenever the group is destroyed.
    let handler = Recorder::working(move |job| {
        let (held, mut passed) = (job.n % 50 == 0, passed.clone());
        async move {
            if held {
                passed.wait_for(|open| *open).await.unwrap();
            }
            Outcome::Ack
        }
    });
    let consume = |name| {
        let consumer = quick("orders", "billing").consumer(name).on_event(events.recipient());
        consumer.start::<Job>(&redis, handler.recipient()).unwrap()
    };
    let _consumers = (consume("c1"), consume("c2"));
    add(&redis, 0..2_000).await;
    handler.all_of(2_000).await;
    settled(&redis).await;
    looked(&fixture).await;
    let mut added = 2_000;
    for _ in 0..3 {
        let (producer, gone) = (redis.clone(), Rc::new(Cell::new(false)));
        let destroyed = gone.clone();
        let adding = actix::spawn(async move {
            let (mut n, mut after) = (added, 0);
            while after < 200 {
                add(&producer, [n]).await;
                n += 1;
                after += u64::from(destroyed.get());
            }
            n
        });
        gate.send_replace(false);
        handler.all_of(added + 100).await;
        tell(&fixture.server, ["XGROUP", "DESTROY", "t:orders", "billing"]);
        gone.set(true);
        gate.send_replace(true);
        added = adding.await.unwrap();
        handler.all_of(added).await;
    }
    settled(&redis).await;
    let after = |kind: &Kind| matches!(kind, Kind::Healed { after } if *after > StreamId::MIN);
    assert!(events.count(after) >= 1, "{:?}", events.all());
    let again = handler.seen().iter().filter(|seen| seen.n < 1_900).count();
    assert_eq!(again, 1_900, "entries acknowledged long ago are not delivered again");
}

/// Made again at the lowest unacknowledged id of the old stream, the group skipped the new one: not all of 200 within 20 s.
#[actix::test]
async fn scenario_15_ids_go_back() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").on_event(events.recipient()).stall_after(ms(400));
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..100).await;
    handler.all_of(100).await;
    settled(&redis).await;
    looked(&fixture).await;
    let mut server = fixture.server.connect().unwrap();
    server.send(["MULTI"]).unwrap();
    server.send(["DEL", "t:orders"]).unwrap();
    for n in 100..200 {
        server.send(["XADD", "t:orders", &format!("1-{n}"), "n", &n.to_string()]).unwrap();
    }
    server.send(["EXEC"]).unwrap();
    handler.all_of(200).await;
    settled(&redis).await;
    events.saw("at 0", |kind| matches!(kind, Kind::Healed { after } if *after == StreamId::MIN)).await;
}

/// With WRONGTYPE taken for the end, the consumer did not say what troubled it within 20 s, and was gone.
#[actix::test]
async fn scenario_16_wrong_type() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    tell(&fixture.server, ["SET", "t:orders", "no stream"]);
    let wrong = |kind: &Kind| matches!(kind, Kind::Trouble { error } if error.code() == Some("WRONGTYPE"));
    events.saw("trouble", wrong).await;
    tell(&fixture.server, ["DEL", "t:orders"]);
    add(&redis, 10..20).await;
    handler.all_of(20).await;
    settled(&redis).await;
    assert!(events.count(wrong) <= 3, "reported, but not at every attempt: {:?}", events.all());
}

/// With XACK before XADD in the script the entry was gone when XADD found no memory: no dead letter waited within 20 s.
#[actix::test]
async fn scenario_17_out_of_memory() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let (gate, passed) = tokio::sync::watch::channel(false);
    let handler = Recorder::working(move |job| {
        let (n, attempt, mut passed) = (job.n, job.attempt(), passed.clone());
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            match (n, attempt) {
                (7, _) => Outcome::reject("no"),
                (8, 1) => Outcome::Retry,
                _ => Outcome::Ack,
            }
        }
    });
    let consumer = quick("orders", "billing").max_in_flight(4).batch(8).on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..100).await;
    handler.handled(4).await;
    tell(&fixture.server, ["CONFIG", "SET", "maxmemory", "1"]);
    assert!(redis.send(XAdd::new("orders").entry(&Job { n: 100 }).unwrap()).await.is_err(), "out of memory");
    gate.send(true).unwrap();
    events.saw("the dead letter waits", |kind| matches!(kind, Kind::DeadLetterFailed { .. })).await;
    handler.all_of(100).await;
    eventually("all others are acknowledged", async || {
        redis.send(XPending::new("orders", "billing")).await.is_ok_and(|pending| pending.count == 1)
    })
    .await;
    tell(&fixture.server, ["CONFIG", "SET", "maxmemory", "0"]);
    settled(&redis).await;
    assert_eq!(redis.send(XLen::new("orders:dlq")).await.unwrap(), 1);
    assert_eq!((handler.attempts(7), handler.attempts(8)), (vec![1], vec![1, 2]));
}
