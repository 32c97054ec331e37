//! Another stream in the place of the one that is read.

use redis_actix::{Outcome, StreamEventKind as Kind};

use crate::stream_support::*;

/// Waits until the consumer has asked for its position twice.
async fn looked_again(fixture: &StreamFixture) {
    let looks = || {
        let stats = tell(&fixture.server, ["INFO", "commandstats"]).text().unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xinfo|groups:calls=")).unwrap().to_owned();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = looks();
    eventually("it has looked twice more", async || looks() > before + 2).await;
}

/// Ablation: with the position of the old stream taken over 40 of 50 are skipped.
#[actix::test]
async fn a_stream_that_is_renamed_onto_the_key_is_read_from_its_beginning() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").stall_after(secs(2)).on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    settled(&redis).await;
    // It knows its position, and would go on behind it.
    looked_again(&fixture).await;
    for n in 0..50_u64 {
        // 40 of them are older than the entries read.
        let id = if n < 40 { format!("{}-1", n + 1) } else { format!("{}-1", 9_000_000_000_000 + n) };
        tell(&fixture.server, ["XADD", "t:prepared", &id, "n", &(100 + n).to_string()]).ok().unwrap();
    }
    tell(&fixture.server, ["RENAME", "t:prepared", "t:orders"]).ok().unwrap();
    handler.all_of(60).await;
    settled(&redis).await;
    assert_eq!(events.count(|kind| matches!(kind, Kind::Healed { .. })), 1, "{:?}", events.all());
}

/// A group that is made again on the same stream goes on where it was.
#[actix::test]
async fn a_group_that_is_lost_on_the_same_stream_goes_on_where_it_was() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").stall_after(secs(2));
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    settled(&redis).await;
    looked_again(&fixture).await;
    tell(&fixture.server, ["XGROUP", "DESTROY", "t:orders", "billing"]);
    add(&redis, 10..20).await;
    handler.all_of(20).await;
    settled(&redis).await;
    assert_eq!(handler.seen().len(), 20, "each once");
}
