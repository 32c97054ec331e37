//! Entries that were delivered and have not arrived: on a slow line, or in the socket of a thread that is blocked.

use std::time::Instant;

use redis_actix::prelude::*;
use redis_actix::{Outcome, StreamEventKind as Kind};
use redis_actix_test::Proxy;

use crate::stream_support::*;

/// Ablation: with links given up whenever a read is late, `disconnects` is 4 and entries are at their second attempt. Without
/// renewals of what has not arrived the peer takes 16 entries.
#[actix::test]
async fn a_page_that_is_arriving_is_neither_cut_off_nor_taken_by_a_peer() {
    let fixture = StreamFixture::start();
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    // 3.2 MB per second.
    proxy.split(32 * 1024);
    proxy.delay(ms(10));
    let (slow, direct) = (connect(proxy.port()), fixture.redis());
    let large = "x".repeat(1_000_000);
    let mut last = None;
    for n in 0..17_u64 {
        let entry = XAdd::new("orders").field("n", n).field("ballast", large.as_str());
        last = Some(direct.send(entry).await.unwrap());
    }
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").max_deliveries(1).min_idle(ms(1_200)).batch(16).max_bytes(100_000_000);
    let consumer = consumer.start::<Job>(&slow, handler.recipient()).unwrap();
    let group = async || direct.send(XInfoGroups::new("orders")).await.ok()?.pop();
    eventually("all are on their way", async || group().await.map(|group| group.last_delivered_id) == last).await;
    // It takes over what others left; there is nothing new.
    let idle = Recorder::start_with(|_| Outcome::Ack);
    let peer = quick("orders", "billing").consumer("peer").min_idle(ms(1_200)).sweep_every(ms(50));
    let _peer = peer.start::<Job>(&direct, idle.recipient()).unwrap();
    handler.all_of(17).await;
    settled(&direct).await;
    assert_eq!(idle.seen().len(), 0, "the peer has them");
    assert!(handler.seen().iter().all(|seen| seen.attempt == 1) && handler.seen().len() == 17, "{:?}", handler.seen());
    let stats = consumer.stats().await.unwrap();
    assert_eq!((stats.disconnects, stats.dead_lettered), (0, 0));
}

/// Ablation: with the number of deliveries taken for that of attempts it is at its second attempt.
#[actix::test]
async fn a_page_that_was_lost_and_swept_by_its_own_consumer_costs_no_attempt() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let events = Events::watch();
    let consumer = quick("orders", "billing").max_deliveries(1).on_event(events.recipient()).sweep_every(ms(50));
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    events.saw("connected", |kind| matches!(kind, Kind::Connected { .. })).await;
    add(&redis, 0..1).await;
    handler.all_of(1).await;
    settled(&redis).await;
    // Under its name, and to another client.
    let mut other = fixture.server.connect().unwrap();
    let _ = other.command(["MULTI"]).unwrap();
    let _ = other.command(["XADD", "t:orders", "*", "n", "1"]).unwrap();
    let read = ["XREADGROUP", "GROUP", "billing", "c1", "COUNT", "1", "STREAMS", "t:orders", ">"];
    let _ = other.command(read).unwrap();
    let _ = other.command(["EXEC"]).unwrap();
    handler.all_of(2).await;
    settled(&redis).await;
    assert_eq!(handler.attempts(1), [1], "{:?}", events.all());
}

/// Ablation: with the answer NOGROUP taken for one that may change, the drain takes 20 s and reports 96 unfinished entries.
#[actix::test]
async fn a_drain_ends_at_once_if_the_stream_was_deleted() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, 0..96).await;
    let handler = Recorder::start_with(|_| Outcome::RetryAfter(secs(3600)));
    let consumer = quick("orders", "billing").min_idle(secs(60)).start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(96).await;
    tell(&fixture.server, ["DEL", "t:orders"]);
    let started = Instant::now();
    let report = consumer.drain(secs(20)).await.unwrap();
    assert!(started.elapsed() < secs(10), "{:?}", started.elapsed());
    assert_eq!((report.unfinished, report.unacknowledged, report.delayed), (0, 0, 0), "{report:?}");
}

/// Ablation: with delayed entries kept the peer handles none.
#[actix::test]
async fn a_pause_leaves_delayed_entries_to_peers() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    add(&redis, 0..20).await;
    let failing = Recorder::start_with(|_| Outcome::RetryAfter(ms(200)));
    let first = quick("orders", "billing").min_idle(secs(2)).start::<Job>(&redis, failing.recipient()).unwrap();
    failing.all_of(20).await;
    first.pause();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let peer = quick("orders", "billing").consumer("peer").min_idle(secs(2)).sweep_every(ms(50));
    let _peer = peer.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(20).await;
    settled(&redis).await;
    assert!(handler.seen().iter().all(|seen| seen.attempt >= 2), "their attempts are known");
}

/// Ablation: with one XAUTOCLAIM in each script there are as many scripts.
#[actix::test]
async fn a_window_of_one_beside_many_pending_entries_sends_few_commands() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    tell(&fixture.server, ["XGROUP", "CREATE", "t:orders", "billing", "0", "MKSTREAM"]);
    let fill = "for i = 1, 50000 do redis.call('XADD', KEYS[1], '*', 'n', i) end";
    tell(&fixture.server, ["EVAL", fill, "1", "t:orders"]);
    let read = ["XREADGROUP", "GROUP", "billing", "other", "COUNT", "50000", "STREAMS", "t:orders", ">"];
    tell(&fixture.server, read);
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").min_idle(secs(60)).batch(1).max_in_flight(1).sweep_every(ms(10));
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    let calls = |command: &str| {
        let stats = tell(&fixture.server, ["INFO", "commandstats"]).text().unwrap();
        let line = format!("cmdstat_{command}:calls=");
        let calls = stats.lines().find_map(|stat| stat.strip_prefix(&line)?.split(',').next()?.parse::<u64>().ok());
        calls.unwrap_or_default()
    };
    eventually("it has looked at all of them", async || calls("xautoclaim") >= 4_000).await;
    let (scripts, claims) = (calls("evalsha") + calls("eval"), calls("xautoclaim"));
    assert!(scripts < claims / 20, "{scripts} scripts, {claims} calls of XAUTOCLAIM");
    assert_eq!(handler.seen().len(), 0);
}
