//! Rights that are taken away and come back, and a clock that jumps.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::stream_support::*;
use redis_actix::prelude::*;
use redis_actix::{Missing, StreamEventKind as Kind};
use redis_actix_test::RedisServer;

fn allow<const N: usize>(fixture: &StreamFixture, rules: [&str; N]) {
    let words = ["ACL", "SETUSER", "default"].into_iter().chain(rules);
    fixture.server.command(words).unwrap().ok().unwrap();
}

/// With the refusal taken for the end, there was no event within 20 s, and the consumer was gone.
#[actix::test]
async fn scenario_28_noperm_mid_run() {
    let fixture = StreamFixture::start();
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    let denied = |kind: &Kind| matches!(kind, Kind::Trouble { error } if error.code() == Some("NOPERM"));
    for (round, right) in ["xreadgroup", "xack", "xautoclaim"].into_iter().enumerate() {
        let n = 10 + 10 * round as u64;
        allow(&fixture, [&format!("-{right}")]);
        add(&redis, n..n + 10).await;
        if right != "xautoclaim" {
            eventually(right, async || events.count(denied) > round).await;
        }
        allow(&fixture, [&format!("+{right}")]);
        handler.all_of(n + 10).await;
        settled(&redis).await;
    }
    assert!(events.count(denied) <= 6, "reported, but not at every attempt: {:?}", events.all());
    assert_eq!(consumer.stats().await.unwrap().state, "live");
}

/// With the refusal taken for the end, there was no event within 20 s, and the consumer was gone.
#[actix::test]
async fn scenario_28_noauth_mid_run() {
    let server = RedisServer::builder().requirepass("one").start().unwrap();
    let fixture = StreamFixture { server };
    let config = RedisConfig::builder().host("127.0.0.1").port(fixture.server.port()).password("one").key_prefix("t:");
    let hasty = ReconnectPolicy::exponential(ms(5)..=ms(100));
    let redis = Redis::builder(config.build().unwrap()).reconnect(hasty).start().unwrap();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    settled(&redis).await;
    fixture.server.set_password(Some("two")).unwrap();
    tell(&fixture.server, ["CLIENT", "KILL", "TYPE", "normal"]);
    events.saw("it is reported", |kind| matches!(kind, Kind::Trouble { .. })).await;
    tell(&fixture.server, ["XADD", "t:orders", "*", "n", "10"]);
    fixture.server.set_password(Some("one")).unwrap();
    handler.all_of(11).await;
    settled(&redis).await;
    assert_eq!(consumer.stats().await.unwrap().state, "live");
}

/// Every way of an entry where scripts are forbidden: retried, dead-lettered, taken over from others, given back.
/// Without the plain commands none of this came to its end, and there was no event.
#[actix::test]
async fn scenario_28_without_scripts() {
    let fixture = StreamFixture::start();
    allow(&fixture, ["-eval", "-evalsha", "-script"]);
    let redis = fixture.redis();
    let events = Events::watch();
    add(&redis, 0..30).await;
    tell(&fixture.server, ["XGROUP", "CREATE", "t:orders", "billing", "0"]);
    tell(&fixture.server, ["XREADGROUP", "GROUP", "billing", "dead", "COUNT", "5", "STREAMS", "t:orders", ">"]);
    let min_idle = ms(600);
    let handler = Recorder::working(move |job| {
        let (n, attempt) = (job.n, job.attempt());
        async move {
            match (n, attempt) {
                (10, 1) => Outcome::Retry,
                (11, _) => Outcome::reject("no"),
                (12, 1..=2) => Outcome::Release,
                // Without its lease renewed it would look abandoned three times over.
                (13, _) => {
                    actix::clock::sleep(min_idle * 3).await;
                    Outcome::Ack
                }
                _ => Outcome::Ack,
            }
        }
    });
    let consume = |name| {
        let consumer = quick("orders", "billing").consumer(name).sweep_every(ms(50)).on_event(events.recipient());
        consumer.min_idle(min_idle).start::<Job>(&redis, handler.recipient()).unwrap()
    };
    let (first, second) = (consume("c1"), consume("c2"));
    events.saw("it says so", |kind| matches!(kind, Kind::Degraded { missing: Missing::Scripts })).await;
    handler.all_of(30).await;
    // Released entries are not counted; the third time its owner is random.
    tell(&fixture.server, ["XADD", "t:orders", "*", "n", "30"]);
    handler.all_of(31).await;
    let dead = || redis.send(XRange::new("orders:dlq", ..));
    eventually("a dead letter", async || dead().await.is_ok_and(|dead| dead.len() == 1)).await;
    assert_eq!(dead().await.unwrap()[0].get("n"), Some(&b"11"[..]));
    assert_eq!(handler.attempts(10), [1, 2]);
    assert_eq!(handler.attempts(13), [1], "its lease was renewed");
    assert!((0..5).all(|n| handler.attempts(n) == [2]), "taken over from the dead one");
    for consumer in [first, second] {
        let stats = consumer.stats().await.unwrap();
        assert_eq!((stats.state, stats.lease_lost), ("live", 0));
    }
    assert!(events.count(|kind| matches!(kind, Kind::Degraded { .. })) <= 4, "once each: {:?}", events.all());
}

/// With CLIENT taken for granted the consumer never got past the look for its old reader: not all of 20 within 20 s.
#[actix::test]
async fn scenario_28_without_client() {
    let fixture = StreamFixture::start();
    allow(&fixture, ["-client"]);
    let redis = fixture.redis();
    let events = Events::watch();
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").on_event(events.recipient());
    let consumer = consumer.start::<Job>(&redis, handler.recipient()).unwrap();
    add(&redis, 0..10).await;
    handler.all_of(10).await;
    fixture.server.restart().unwrap();
    allow(&fixture, ["-client"]);
    for n in 10..20 {
        tell(&fixture.server, ["XADD", "t:orders", "*", "n", &n.to_string()]);
    }
    handler.all_of(20).await;
    settled(&redis).await;
    consumer.pause();
    events.saw("it says so", |kind| matches!(kind, Kind::Degraded { missing: Missing::Client })).await;
    consumer.resume();
    add(&redis, 20..30).await;
    handler.all_of(30).await;
    let report = consumer.drain(secs(5)).await.unwrap();
    assert_eq!((report.unfinished, report.unacknowledged), (0, 0), "the read ends by itself");
}

/// The wall clock of a server, which jumps on request.
struct Clock(PathBuf);

impl Clock {
    fn start() -> (Self, StreamFixture) {
        let dir = std::env::temp_dir().join(format!("redis-actix-clock-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&dir).unwrap();
        let (library, offset) = (dir.join("clock.so"), dir.join("offset"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stream_support/clock.c");
        // A system that links Rust programs has a C compiler.
        let cc = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(cc.unwrap().success());
        let clock = Self(dir);
        clock.set(0);
        let server = RedisServer::builder().env("LD_PRELOAD", library.to_string_lossy());
        let server = server.env("CLOCK_OFFSET", offset.to_string_lossy()).start().unwrap();
        (clock, StreamFixture { server })
    }

    fn set(&self, seconds: i64) {
        let mut file = File::options().create(true).write(true).truncate(false).open(self.0.join("offset")).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    }

    fn jump(&self, fixture: &StreamFixture, seconds: i64) {
        let time = || tell(&fixture.server, ["TIME"]).array().unwrap()[0].text().unwrap().parse::<i64>().unwrap();
        let before = time();
        self.set(seconds);
        assert!((time() - before).abs() > 3_000, "the clock jumped");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How many sweeps have claimed: one that finds that the clock jumped does not.
fn sweeps(fixture: &StreamFixture) -> u64 {
    let stats = tell(&fixture.server, ["INFO", "commandstats"]).text().unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xautoclaim:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

async fn sweeps_more(fixture: &StreamFixture, count: u64) {
    let before = sweeps(fixture);
    eventually(&format!("{count} sweeps more"), async || sweeps(fixture) >= before + count).await;
}

/// Without comparing the server's clock with its own, a sweep after the jump forward took over what the other was working
/// on: 34 calls for 32 entries.
#[actix::test]
async fn scenario_22_server_clock_jumps() {
    let (clock, fixture) = Clock::start();
    let redis = fixture.redis();
    let (gate, passed) = tokio::sync::watch::channel(false);
    let handler = Recorder::working(move |_| {
        let mut passed = passed.clone();
        async move {
            passed.wait_for(|open| *open).await.unwrap();
            Outcome::Ack
        }
    });
    let consume = |name| {
        let consumer = quick("orders", "billing").consumer(name).min_idle(ms(900)).sweep_every(ms(30));
        // Either has handlers for all of a round, and room to sweep beside them.
        consumer.max_in_flight(8).batch(4).start::<Job>(&redis, handler.recipient()).unwrap()
    };
    // Who has not swept yet knows no clock to compare with. One at a time, for the server does not say who sweeps: one
    // sweep of the other may be under way still when it is paused, and with a second one of its own the first was answered.
    let first = consume("c1");
    sweeps_more(&fixture, 2).await;
    first.pause();
    let second = consume("c2");
    sweeps_more(&fixture, 3).await;
    first.resume();
    let consumers = [first, second];
    for consumer in &consumers {
        eventually("it reads", async || consumer.stats().await.unwrap().state == "live").await;
    }
    let mut added = 0;
    for offset in [3_600, 0, -3_600, 0] {
        gate.send_replace(false);
        add(&redis, added..added + 8).await;
        added += 8;
        handler.all_of(added).await;
        clock.jump(&fixture, offset);
        // All are at work until there are sweeps again that would take over what looks abandoned.
        sweeps_more(&fixture, 6).await;
        gate.send_replace(true);
        settled(&redis).await;
    }
    assert_eq!(handler.seen().len() as u64, added, "every lease was kept: {:?}", handler.seen());
    for consumer in consumers {
        let stats = consumer.stats().await.unwrap();
        assert_eq!((stats.state, stats.lease_lost), ("live", 0));
    }
}
