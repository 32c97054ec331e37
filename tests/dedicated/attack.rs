//! Blocking commands whose callers leave or fail.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, LinkLimit};
use redis_actix_test::{Proxy, RedisServer};

const LONG: Duration = Duration::from_secs(15);

async fn waiting(server: &RedisServer, count: usize) {
    eventually("clients that wait", || {
        (server.clients().ok()?.iter().filter(|client| client.contains(" flags=b")).count() == count).then_some(())
    })
    .await;
}

fn held(server: &RedisServer, key: &str) -> Vec<String> {
    let range = |command: &str| server.command([command, key, "0", "-1"]).expect("asked");
    let answer = Some(range("LRANGE")).filter(|answer| answer.error().is_none()).unwrap_or_else(|| range("ZRANGE"));
    answer.array().expect("a list").iter().map(|one| one.text().expect("text")).collect()
}

/// Deadlines, aborts, several commands, a proxy that splits and delays: conservation.
async fn chaos(seed: u64, resp2: bool, resets: bool) {
    const N: usize = 1500;
    let mut builder = RedisServer::builder();
    if resp2 {
        builder = builder.args(["--rename-command", "HELLO", ""]);
    }
    let server = builder.start().expect("a server");
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    proxy.split(7);
    let config = config(proxy.port()).command_timeout(ms(3000)).liveness(ms(400));
    let (builder, diary) = Diary::of(hasty(config).links(LinkLimit::new(6)));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let got = Rc::new(RefCell::new(Vec::<usize>::new()));
    let over = Rc::new(RefCell::new(false));
    let errors = Rc::new(RefCell::new(BTreeMap::<String, usize>::new()));
    let callers: Vec<_> = (0..24)
        .map(|n| {
            let (redis, got, over, errors) = (redis.clone(), got.clone(), over.clone(), errors.clone());
            actix::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed * 1000 + n);
                while !*over.borrow() {
                    let (redis, got, errors) = (redis.clone(), got.clone(), errors.clone());
                    let (kind, own, wait) = (random.u8(0..6), random.u64(1..60), ms(random.u64(1..80)));
                    let timed = random.bool();
                    let pop =
                        actix::spawn(async move {
                            macro_rules! go {
                                ($m:expr, $take:expr) => {{
                                    let message = $m;
                                    let message = if timed { message.timeout(ms(own)) } else { message };
                                    match redis.send(message).await {
                                        Ok(Some(popped)) => got.borrow_mut().extend($take(popped)),
                                        Ok(None) => {}
                                        Err(error) => {
                                            *errors
                                                .borrow_mut()
                                                .entry(format!("{:?} {:?} {error}", error.kind(), error.fate()))
                                                .or_default() += 1
                                        }
                                    }
                                }};
                            }
                            match kind {
                                0 => go!(
                                    BLPop::new(["l", "m"], wait).typed::<usize>(),
                                    |p: redis_actix::Popped<usize>| vec![p.value]
                                ),
                                1 => go!(
                                    BRPop::new(["m", "l"], wait).typed::<usize>(),
                                    |p: redis_actix::Popped<usize>| vec![p.value]
                                ),
                                2 => go!(
                                    BLMPop::new(["l", "m"], ListEnd::Right, wait).count(3).typed::<usize>(),
                                    |p: redis_actix::Popped<Vec<usize>>| p.value
                                ),
                                3 => go!(
                                    BLMove::new("l", "m", ListEnd::Left, ListEnd::Right, wait).typed::<usize>(),
                                    |_: usize| Vec::<usize>::new()
                                ),
                                4 => go!(
                                    BZPopMin::new(["z"], wait).typed::<usize>(),
                                    |p: redis_actix::Popped<(usize, f64)>| vec![p.value.0]
                                ),
                                _ => go!(
                                    BZMPop::new(["z"], ScoreEnd::Max, wait).count(2).typed::<usize>(),
                                    |p: redis_actix::Popped<Vec<(usize, f64)>>| p
                                        .value
                                        .into_iter()
                                        .map(|m| m.0)
                                        .collect::<Vec<_>>()
                                ),
                            }
                        });
                    tokio::time::sleep(ms(random.u64(1..60))).await;
                    pop.abort();
                }
            })
        })
        .collect();
    for n in 0..N {
        if n % 3 == 0 {
            server.command(["ZADD", "test:z", &format!("{}.5", n % 17), &n.to_string()]).expect("added");
        } else {
            server.command(["RPUSH", "test:l", &n.to_string()]).expect("pushed");
        }
        if n % 10 == 0 {
            // Sometimes the callers wait for elements, sometimes elements for them.
            let few = 1 + n / 10 % 8;
            let lying = || ["test:l", "test:m", "test:z"].map(|key| held(&server, key).len()).iter().sum::<usize>();
            eventually("callers take them", || (lying() <= few).then_some(())).await;
        }
        if resets && n % 100 == 50 {
            proxy.reset_all();
        }
        if resets && n % 300 == 250 {
            redis.reauthenticate().await.ok();
        }
    }
    *over.borrow_mut() = true;
    for caller in callers {
        caller.await.expect("no panic");
    }
    redis.shutdown(LONG).await.expect("a report");
    eventually("no client", || server.clients().ok()?.is_empty().then_some(())).await;
    let lost = diary.count(|event| matches!(event, ConnectionEvent::MayBeLost { .. }));
    let mut all = got.take();
    for key in ["test:l", "test:m", "test:z"] {
        all.extend(held(&server, key).iter().map(|one| one.parse::<usize>().expect("a number")));
    }
    all.sort_unstable();
    let mut once = all.clone();
    once.dedup();
    assert_eq!(once.len(), all.len(), "twice");
    if resets {
        let unknown: usize =
            errors.borrow().iter().filter(|(words, _)| words.contains("Unknown")).map(|(_, n)| n).sum();
        assert!(N - all.len() <= 3 * (lost + unknown), "{} missing, {lost} reported, {unknown} unknown", N - all.len());
    } else {
        assert_eq!((all.len(), lost), (N, 0), "conserved");
    }
}

#[actix::test]
async fn chaos_resets() {
    chaos(3, false, true).await;
    chaos(4, true, true).await;
}

#[actix::test]
async fn chaos_resp3() {
    chaos(1, false, false).await;
}

#[actix::test]
async fn chaos_resp2() {
    chaos(2, true, false).await;
}

/// Extreme scores, and bytes of any kind, go back as they were; operators' keys too.
#[actix::test]
async fn what_goes_back_is_what_it_was() {
    for resp2 in [false, true] {
        let mut builder = RedisServer::builder();
        if resp2 {
            builder = builder.args(["--rename-command", "HELLO", ""]);
        }
        let server = builder.start().expect("a server");
        let (builder, diary) = Diary::of(hasty(config(server.port())));
        let redis = builder.start().expect("started");
        let scores = ["-inf", "inf", "1.7976931348623157e308", "5e-324", "-0", "0.1", "9007199254740993"];
        for score in scores {
            server.command(["ZADD", "test:z", score, score]).expect("added");
        }
        let before = server.command(["ZRANGE", "test:z", "0", "-1", "WITHSCORES"]).expect("asked");
        let pop = Box::pin(redis.send(BZMPop::new(["z"], ScoreEnd::Max, LONG).count(99)));
        // Sent by being made? If not, this polls it once.
        let mut pop = pop;
        let _ = futures_util::poll!(&mut pop);
        eventually("taken", || held(&server, "test:z").is_empty().then_some(())).await;
        drop(pop);
        diary.entry("put back", |event| matches!(event, ConnectionEvent::PutBack { elements: 7, .. })).await;
        let after = server.command(["ZRANGE", "test:z", "0", "-1", "WITHSCORES"]).expect("asked");
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
        let foreign = redis
            .unprefixed()
            .send(Raw::<redis_actix::Value>::new("blmpop").arg(15).arg(1).arg("far").arg("right").arg("COUNT").arg(5));
        let mut foreign = Box::pin(foreign);
        let _ = futures_util::poll!(&mut foreign);
        waiting(&server, 1).await;
        server.command([b"RPUSH".as_slice(), b"far", b"\x00\xff", b"", b"\r\n"]).expect("pushed");
        eventually("taken", || held_raw(&server, "far").is_empty().then_some(())).await;
        drop(foreign);
        eventually("back", || {
            (held_raw(&server, "far") == [b"\x00\xff".to_vec(), b"".to_vec(), b"\r\n".to_vec()]).then_some(())
        })
        .await;
    }
}

fn held_raw(server: &RedisServer, key: &str) -> Vec<Vec<u8>> {
    let answer = server.command(["LRANGE", key, "0", "-1"]).expect("asked");
    answer.array().expect("a list").iter().map(|one| one.bytes().expect("bytes").to_vec()).collect()
}

/// The server takes no word while callers go and the handle is shut down.
#[actix::test]
async fn a_shutdown_of_a_silent_server_ends_in_time() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port()).command_timeout(ms(20_000)).liveness(None)).start().expect("started");
    let waits: Vec<_> = (0..4).map(|_| redis.send(BLPop::new(["a"], LONG))).collect();
    waiting(&server, 4).await;
    proxy.hold();
    server.command(["RPUSH", "test:a", "1", "2"]).expect("pushed");
    let mut waits = waits;
    waits.truncate(2);
    let begun = Instant::now();
    let report = redis.shutdown(ms(500)).await;
    assert!(report.is_ok(), "{report:?}");
    for wait in waits {
        let answer = tokio::time::timeout(ms(5000), wait).await.expect("answered in time");
        let error = answer.expect_err("it is unknown what it took");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::Unknown));
    }
    assert!(begun.elapsed() < ms(5000));
}

/// The last handle goes while a command waits: it still has its answer.
#[actix::test]
async fn the_last_handle_goes_while_a_command_waits() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let pop = redis.send(BLPop::new(["a"], LONG));
    let dropped = redis.send(BLPop::new(["b"], LONG));
    waiting(&server, 2).await;
    drop(redis);
    server.command(["RPUSH", "test:a", "1"]).expect("pushed");
    let answer = tokio::time::timeout(ms(5000), pop).await.expect("received");
    let kept = held(&server, "test:a");
    assert!(matches!(&answer, Ok(Some(_))) != (kept.len() == 1), "{answer:?} {kept:?}");
    drop(dropped);
    eventually("no client", || server.clients().ok()?.is_empty().then_some(())).await;
}

/// Watches and blocking commands share few connections, and none waits without end.
#[actix::test]
async fn watches_and_waits_share_one_link_without_a_deadlock() {
    let server = crate::support::server();
    let redis =
        hasty(config(server.port()).command_timeout(ms(500))).links(LinkLimit::new(1)).start().expect("started");
    let begun = Instant::now();
    let inner = redis.clone();
    let outcome = redis
        .watch(["k"], move |_| {
            let inner = inner.clone();
            async move {
                let pop = inner.send(BLPop::new(["a"], ms(100))).await;
                assert_eq!(pop.expect_err("the watch has the link").kind(), ErrorKind::Overloaded);
                Ok(None::<Transaction<(Incr,)>>)
            }
        })
        .await;
    outcome.expect("decided");
    assert!(begun.elapsed() < ms(5000));
    // The link is free again.
    assert_eq!(redis.send(BLPop::new(["a"], ms(10))).await.expect("served"), None);
}
