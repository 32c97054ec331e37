//! Delivery: a reply reaches its own caller or none, and nothing runs twice.

use std::{cell::Cell, rc::Rc, time::Duration};

use crate::support::{Diary, Own, TIME_LIMIT, config, hasty, incr_load::IncrLoad, ms, until_state};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, Frame, Phase, WhenDown};
use redis_actix_test::{Answer, Direction, FakeServer, Proxy, RedisServer};

/// How long the load of row 1 lasts: 2 s, or the seconds in `FAULTS_SECONDS` (the row asks for 30).
fn load_time() -> Duration {
    let seconds = std::env::var("FAULTS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// Row 1. Ablation: when a command that timed out gives up its place in the queue, the
/// next in line gets its late reply.
#[actix::test]
async fn row_01_a_late_reply_reaches_its_own_caller_or_none() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port()).command_timeout(ms(20))).start().expect("started");
    for caller in 0..64 {
        let value = format!("value of {caller}");
        server.command(["SET", &format!("test:k{caller}"), &value]).expect("written").ok().expect("written");
    }
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.delay(ms(2));
    proxy.split(61);
    let (answered, unanswered) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let until = tokio::time::Instant::now() + load_time();
    let callers = (0..64).map(|caller| {
        let (redis, answered, unanswered) = (redis.clone(), answered.clone(), unanswered.clone());
        actix::spawn(async move {
            let mut chance = fastrand::Rng::with_seed(caller);
            let (key, value) = (format!("k{caller}"), format!("value of {caller}"));
            while tokio::time::Instant::now() < until {
                let read = redis.send(Get::<String>::new(&key));
                // Some are dropped at once, some while the reply is on its way, some run into their deadline.
                match tokio::time::timeout(Duration::from_micros(chance.u64(0..40_000)), read).await {
                    Ok(Ok(found)) => {
                        assert_eq!(found.as_deref(), Some(&*value), "the reply of another caller");
                        answered.set(answered.get() + 1);
                    }
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
                    Err(_) => unanswered.set(unanswered.get() + 1),
                }
                if chance.u8(..) == 0 {
                    proxy_noise(&redis).await;
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    assert!(answered.get() > 100 && unanswered.get() > 100, "{answered:?} answered, {unanswered:?} not");
}

/// A burst that is given up at once: its replies come all the same.
async fn proxy_noise(redis: &Redis) {
    for other in 0..32 {
        drop(redis.send(Get::<String>::new(format!("k{other}"))));
    }
}

/// Row 2. Ablation: without checking commands built by hand `CLIENT REPLY SKIP` gives the readers each
/// other's values.
#[actix::test]
async fn row_02_commands_that_change_the_connection_are_refused_before_they_are_sent() {
    let server = FakeServer::builder()
        .on(|argv| match argv {
            [name, key] if name == b"GET" => {
                Answer::raw([format!("${}\r\n", key.len()).as_bytes(), key, b"\r\n"].concat())
            }
            _ => Answer::raw("+OK\r\n"),
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    let readers: Vec<_> = (0..8)
        .map(|reader| {
            let redis = redis.clone();
            actix::spawn(async move {
                for nth in 0..200 {
                    let key = format!("{reader}:{nth}");
                    let value: Option<String> = redis.send(Get::new(&key)).await.expect("read");
                    assert_eq!(value, Some(format!("test:{key}")));
                }
            })
        })
        .collect();
    let greeted = server.received().len();
    for line in [
        "AUTH",
        "HELLO",
        "SELECT",
        "RESET",
        "QUIT",
        "ASKING",
        "READONLY",
        "READWRITE",
        "MONITOR",
        "SYNC",
        "PSYNC",
        "REPLCONF",
        "CLIENT REPLY",
        "CLIENT TRACKING",
        "CLIENT CACHING",
        "CLIENT SETNAME",
        "CLIENT SETINFO",
        "CLIENT NO-EVICT",
        "CLIENT NO-TOUCH",
        "CLIENT CAPA",
        "CLIENT",
        "client reply",
        "SeLeCt",
        "monitor",
    ] {
        for frame in [Frame::new(line).arg("1"), Frame::join([Frame::new("PING"), Frame::new(line)])] {
            let error = redis.send(Own(frame)).await.expect_err(line);
            assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent), "{error}");
        }
    }
    for reader in readers {
        reader.await.expect("no panic");
    }
    let name = |argv: &Vec<Vec<u8>>| String::from_utf8_lossy(&argv[0]).to_ascii_uppercase();
    let strangers: Vec<_> = server.received().iter().skip(greeted).map(name).filter(|name| name != "GET").collect();
    let handshake = ["HELLO", "CLIENT", "PING"];
    assert!(strangers.iter().all(|name| handshake.contains(&&**name)), "{strangers:?}");
    assert!(redis.send(Own(Frame::new("CLIENT ID"))).await.is_ok(), "asking is harmless");
}

/// Row 4. Ablation: sending commands of unknown fate again makes the counter exceed the acknowledged number
/// or unknown; failing the queue on a lost link fails callers who could have been served.
#[actix::test]
async fn row_04_a_killed_server_runs_nothing_twice_and_serves_those_who_waited() {
    let server = Rc::new(RedisServer::builder().appendonly(true).fsync_always().start().expect("a server"));
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port())).start().expect("started");
    let load = IncrLoad::start(&redis, "counter");
    for round in 0..6 {
        load.goes_on(300).await;
        if round % 2 == 0 {
            // Run by the server, and the reply lost.
            proxy.cut_after(Direction::ToClient, 20);
        } else {
            server.kill().expect("killed");
            until_state(&redis, ConnectionState::Backoff).await;
            server.restart_without_waiting().expect("restarted");
        }
        load.goes_on(600).await;
    }
    let counted = load.finish().await;
    let counter = server.command(["GET", "test:counter"]).expect("asked").text().expect("a number");
    counted.check(counter.parse().expect("a number"));
    assert!(counted.unknown > 0, "the faults hit no command");
}

/// Ablation: putting retried commands behind the queue instead of in front of it.
#[actix::test]
async fn order_is_kept_across_lost_links() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port()).max_in_flight(30)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let mut fates = Vec::new();
    for round in 0..10 {
        // Cut in the middle of a command: what came whole ran, the rest is sent again, in order.
        proxy.cut_after(Direction::ToServer, 333 + 17 * round);
        let pushes: Vec<_> =
            (0..100).map(|nth| redis.send(Own(Frame::new("RPUSH").key("list").arg(round * 100 + nth)))).collect();
        for push in pushes {
            fates.push(push.await.map_err(|error| error.fate()));
        }
    }
    let list = server.command(["LRANGE", "test:list", "0", "-1"]).expect("asked");
    let list = list.array().expect("a list");
    let list: Vec<usize> = list.iter().map(|item| item.text().expect("text").parse().expect("a number")).collect();
    assert!(list.is_sorted_by(|one, next| one < next), "overtaken or run twice: {list:?}");
    for (nth, fate) in fates.iter().enumerate() {
        let ran = list.binary_search(&nth).is_ok();
        match fate {
            Ok(_) => assert!(ran, "{nth} was acknowledged and did not run"),
            Err(Fate::NotSent | Fate::Rejected) => assert!(!ran, "{nth} ran and was called unsent"),
            Err(Fate::Unknown) => {}
        }
    }
    assert!(fates.iter().any(Result::is_err), "no cut hit anything");
    // What may run twice is sent again, ahead of what waited behind it: the last one written is the last.
    for round in 0..10 {
        proxy.cut_after(Direction::ToServer, 333 + 17 * round);
        let writes: Vec<_> = (0..100).map(|nth| redis.send(Set::new("last", round * 100 + nth).idempotent())).collect();
        for write in writes {
            write.await.expect("sent again");
        }
        let last = server.command(["GET", "test:last"]).expect("asked").text().expect("a number");
        assert_eq!(last, (round * 100 + 99).to_string());
    }
}

#[actix::test]
async fn errors_name_the_phase_and_the_state() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis =
        hasty(config(proxy.port()).command_timeout(ms(60)).liveness(None).max_in_flight(1)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.hold();
    let (sent, queued) = (redis.send(Incr::new("k")), redis.send(Incr::new("k")));
    let (sent, queued) = (sent.await.expect_err("held"), queued.await.expect_err("held"));
    assert_eq!((sent.phase(), sent.fate(), sent.kind()), (Some(Phase::Sent), Fate::Unknown, ErrorKind::Timeout));
    assert_eq!((queued.phase(), queued.fate()), (Some(Phase::Queued), Fate::NotSent));
    assert!(sent.to_string().starts_with("INCR: ") && sent.to_string().contains("connection ready"), "{sent}");
    proxy.refuse();
    proxy.reset_all();
    let connecting = redis.send(Incr::new("k")).await.expect_err("no server");
    assert_eq!((connecting.phase(), connecting.fate()), (Some(Phase::Connecting), Fate::NotSent), "{connecting}");
    assert!(connecting.to_string().contains("may have run") ^ connecting.to_string().contains("was not sent"));
}

#[actix::test]
async fn each_message_says_what_becomes_of_it_without_a_link() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    proxy.refuse();
    let port = proxy.port();
    let queueing = hasty(config(port)).start().expect("started");
    let hasty_one = hasty(config(port).when_down(WhenDown::FailFast)).start().expect("started");
    for redis in [&queueing, &hasty_one] {
        redis.ready(ms(50)).await.expect_err("no server");
    }
    let started = tokio::time::Instant::now();
    for error in [
        queueing.send(Incr::new("k").when_down(WhenDown::FailFast)).await.expect_err("down"),
        hasty_one.send(Incr::new("k")).await.expect_err("down"),
    ] {
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::NotSent), "{error}");
    }
    assert!(started.elapsed() < ms(1_000));
    let waiting = [queueing.send(Incr::new("k")), hasty_one.send(Incr::new("k").when_down(WhenDown::Queue))];
    proxy.pass();
    for waits in waiting {
        waits.await.expect("served when the server came");
    }
}

#[actix::test]
async fn a_read_lives_through_as_many_links_as_it_may() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    for (retries, lives) in [(0, false), (1, true)] {
        let (builder, diary) = Diary::of(hasty(config(proxy.port()).max_retries(retries)));
        let redis = builder.start().expect("started");
        redis.ready(TIME_LIMIT).await.expect("ready");
        proxy.cut_after(Direction::ToClient, 0);
        let read = redis.send(Get::<String>::new("k")).await;
        assert_eq!(read.is_ok(), lives, "{read:?}");
        if let Err(error) = read {
            assert_eq!((error.fate(), error.phase()), (Fate::Unknown, Some(Phase::Sent)), "{error}");
        }
        let lost = |event: &redis_actix::ConnectionEvent| {
            matches!(event, redis_actix::ConnectionEvent::Disconnected { replayed, unknown, .. }
                if (*replayed, *unknown) == if lives { (1, 0) } else { (0, 1) })
        };
        diary.entry("the lost link with its counts", lost).await;
    }
}
