//! The links of a consumer, and a server that is late or says nothing.

use std::time::Instant;

use crate::stream_support::*;
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, StreamEventKind as Kind};
use redis_actix_test::{Direction, Proxy};

/// A consumer behind a proxy whose reader waits in a BLOCK, and a handler that acknowledges.
async fn behind(proxy: &Proxy, events: &Events) -> (Redis, Recording, StreamConsumer) {
    let redis = connect(proxy.port());
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").min_idle(secs(60)).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    events.saw("connected", |kind| matches!(kind, Kind::Connected { .. })).await;
    (redis, handler, consumer)
}

/// Two look after it: the watch over the read, and the connection's own over silent links. Without the first alone this
/// passes still.
#[actix::test]
async fn scenario_05_link_half_open_during_block() {
    let fixture = StreamFixture::start();
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    let events = Events::watch();
    let (_redis, handler, _consumer) = behind(&proxy, &events).await;
    let direct = fixture.redis();
    add(&direct, 0..10).await;
    handler.all_of(10).await;
    proxy.strand_all();
    let stranded = Instant::now();
    // The old reader waits on the server still, and gets the first of them.
    add(&direct, 10..30).await;
    handler.all_of(30).await;
    settled(&direct).await;
    assert!(stranded.elapsed() < secs(15), "within seconds, not after min_idle: {:?}", stranded.elapsed());
    assert!(events.count(|kind| matches!(kind, Kind::Disconnected { .. })) >= 1);
}

/// Without killing it the old reader was still there after 20 s, and took entries without handling them.
#[actix::test]
async fn scenario_06_a_stale_reader_takes_entries() {
    let fixture = StreamFixture::start();
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    let events = Events::watch();
    let (_redis, handler, consumer) = behind(&proxy, &events).await;
    let direct = fixture.redis();
    let readers = || {
        let clients = fixture.server.clients().unwrap();
        let readers = clients.into_iter().filter(|line| line.contains("-reader-"));
        readers.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let old = readers();
    assert_eq!(old.len(), 1);
    proxy.strand_all();
    add(&direct, 0..1).await;
    handler.all_of(1).await;
    eventually("the old reader is killed", async || !readers().contains(&old[0])).await;
    assert_eq!(handler.attempts(0), [1], "the old reader had got it, and no handler");
    for n in 1..40 {
        let added = Instant::now();
        add(&direct, [n]).await;
        handler.all_of(n + 1).await;
        assert!(added.elapsed() < secs(5), "{n} went to no consumer first");
    }
    settled(&direct).await;
    assert_eq!(consumer.stats().await.unwrap().disconnects, 1);
}

/// With XACK neither repeatable nor sent again after a failure, it was not known to be acknowledged within 20 s.
#[actix::test]
async fn scenario_18_control_connection_cut_before_the_reply() {
    let fixture = StreamFixture::start();
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    let redis = connect(proxy.port());
    let (gate, passed) = tokio::sync::watch::channel(0_u64);
    let handler = Recorder::working(move |job| {
        let (n, mut passed) = (job.n, passed.clone());
        async move {
            passed.wait_for(|until| *until > n).await.unwrap();
            Outcome::Ack
        }
    });
    let consumer = quick("orders", "billing").min_idle(secs(60)).block(secs(2));
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    let direct = fixture.redis();
    for n in 0..5 {
        add(&direct, [n]).await;
        handler.handled(n as usize + 1).await;
        let lost = redis.status().borrow().disconnects;
        proxy.cut_after(Direction::ToClient, 0);
        gate.send(n + 1).unwrap();
        eventually("acknowledged", async || consumer.stats().await.unwrap().acked == n + 1).await;
        eventually("the link was cut", async || {
            redis.status().borrow().disconnects > lost || consumer.stats().await.unwrap().disconnects > 0
        })
        .await;
    }
    settled(&direct).await;
    assert_eq!(handler.seen().len(), 5, "each once");
    assert_eq!(consumer.stats().await.unwrap().unacknowledged, 0);
}

/// With a margin of 50 ms the link was given up each of the three times, though the server was only late.
#[actix::test]
async fn scenario_29_server_overruns_block() {
    let fixture = StreamFixture::start();
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    let events = Events::watch();
    let (_redis, handler, consumer) = behind(&proxy, &events).await;
    for n in 0..3 {
        // Whenever in the BLOCK of half a second it begins, the answer is 400 ms late.
        let mut server = fixture.server.connect().unwrap();
        let slept = tokio::task::spawn_blocking(move || server.command(["DEBUG", "SLEEP", "0.9"]).unwrap().ok());
        slept.await.unwrap().unwrap();
        let direct = fixture.redis();
        add(&direct, [n]).await;
        handler.all_of(n + 1).await;
    }
    assert_eq!(consumer.stats().await.unwrap().disconnects, 0, "{:?}", events.all());
    assert_eq!(events.count(|kind| matches!(kind, Kind::Stalled { .. })), 0);
}

/// Without the stall detector such a consumer looked healthy still after 20 s.
#[actix::test]
async fn scenario_30_connected_but_silent_with_lag() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    add(&redis, 0..5).await;
    let consumer = quick("orders", "billing").block(secs(60)).stall_after(ms(600)).on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    handler.all_of(5).await;
    settled(&redis).await;
    if fixture.server.version() < (7, 0, 0) {
        assert_eq!(consumer.stats().await.unwrap().lag, None, "such a server knows no lag");
        return;
    }
    // Setting a group back does not wake clients that wait in BLOCK.
    redis.send(XGroupSetId::new("orders", "billing", StreamId::MIN).entries_read(0)).await.unwrap();
    events.saw("the stall", |kind| matches!(kind, Kind::Stalled { lag: 5, .. })).await;
    events.saw("a new link", |kind| matches!(kind, Kind::Disconnected { .. })).await;
    eventually("reads again", async || consumer.stats().await.unwrap().state == "live").await;
    add(&redis, 5..10).await;
    handler.all_of(10).await;
    settled(&redis).await;
    assert_eq!(handler.seen().len(), 15, "those before the position that was set, once more");
}

/// With a backoff of its own alone the reader waited for minutes after the connection was back.
#[actix::test]
async fn the_reader_is_dialled_as_soon_as_the_connection_is_back() {
    let fixture = StreamFixture::start();
    let proxy = Proxy::start(fixture.server.addr()).unwrap();
    let config = RedisConfig::builder().host("127.0.0.1").port(proxy.port()).key_prefix("t:");
    // The default user has no password, so that any is right.
    let config = config.username("default").password("any").build().unwrap();
    let slow_retry = ReconnectPolicy::exponential(secs(3_000)..=secs(3_000));
    let redis = Redis::builder(config).reconnect(slow_retry).start().unwrap();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    events.saw("connected", |kind| matches!(kind, Kind::Connected { .. })).await;
    proxy.refuse();
    proxy.reset_all();
    events.saw("disconnected", |kind| matches!(kind, Kind::Disconnected { .. })).await;
    eventually("both wait", async || redis.status().borrow().state == ConnectionState::Backoff).await;
    add(&fixture.redis(), 0..5).await;
    proxy.pass();
    redis.reauthenticate().await.unwrap();
    handler.all_of(5).await;
}
