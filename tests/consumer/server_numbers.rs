//! Numbers of the server that are wrong, negative or of no use.

use redis_actix::prelude::*;
use redis_actix::{ConsumerGroup, StreamEventKind as Kind};

use crate::stream_support::*;

/// Ablation: with numbers taken strictly the consumer cannot start ("not within 20s: all of 10"), and XInfoGroups fails.
#[actix::test]
async fn a_negative_lag_of_another_group_stops_no_consumer() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, 0..1).await;
    tell(&fixture.server, ["XGROUP", "CREATE", "t:orders", "other", "$", "ENTRIESREAD", "100"]).ok().unwrap();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 1..10).await;
    handler.all_of(10).await;
    let groups = redis.send(XInfoGroups::new("orders")).await.unwrap();
    let other = groups.iter().find(|group| group.name == b"other").unwrap();
    assert_eq!((other.lag, other.entries_read.is_some()), (None, true), "{other:?}");
    let info = ConsumerGroup::new(&redis, "orders", "other").info().await.unwrap();
    assert_eq!(info.and_then(|info| info.lag), None);
    eventually("its own position is known", async || consumer.stats().await.unwrap().lag == Some(0)).await;
}

/// Ablation: with the lag alone believed the link is given up again and again ("Stalled").
#[actix::test]
async fn an_unreadable_lag_is_no_stall() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, 0..20).await;
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let events = Events::watch();
    let consumer = quick("orders", "billing").stall_after(ms(100)).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(20).await;
    settled(&redis).await;
    // The server believes that there is something to read, and has nothing.
    let last = redis.send(XInfoStream::new("orders")).await.unwrap().last_generated_id;
    redis.send(XGroupSetId::new("orders", "billing", last).entries_read(2)).await.unwrap();
    let lag = async || redis.send(XInfoGroups::new("orders")).await.unwrap()[0].lag;
    assert_eq!(lag().await, Some(18), "what the server says");
    // Looked at every 25 ms: with the lag believed there would be a stall after 100 ms.
    let looks = || {
        let stats = tell(&fixture.server, ["INFO", "commandstats"]).text().unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xinfo|groups:calls=")).unwrap().to_owned();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = looks();
    eventually("it has looked 20 times", async || looks() > before + 20).await;
    assert_eq!(events.count(|kind| matches!(kind, Kind::Stalled { .. })), 0, "{:?}", events.all());
    assert_eq!(consumer.stats().await.unwrap().disconnects, 0);
}
