//! Commands that wait, and what happens to them and around them.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty, ms};
use redis_actix::LinkLimit;
use redis_actix::prelude::*;
use redis_actix_test::{Answer, FakeServer, RedisServer};

const LONG: Duration = Duration::from_secs(15);

async fn waiting(server: &RedisServer, count: usize) {
    let is_waiting = |client: &String| client.contains(" flags=b");
    eventually("clients that wait", || {
        (server.clients().ok()?.iter().filter(|client| is_waiting(client)).count() == count).then_some(())
    })
    .await;
}

/// Row 14. Ablation: sent on the shared connection (`Frame::waits` false), the first read behind it times out.
#[actix::test]
async fn row_14_a_command_that_waits_delays_no_other() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Set::new("k", 1)).await.expect("set");
    let pop = redis.send(BLPop::new(["queue"], Duration::from_secs(5)));
    waiting(&server, 1).await;
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        redis.send(Get::<i64>::new("k")).await.expect("read");
        times.push(begun.elapsed());
    }
    times.sort();
    println!("p50 {:?}, p99 {:?}", times[50], times[98]);
    assert!(times[98] < ms(50), "{:?}", times[98]);
    waiting(&server, 1).await;
    redis.send(RPush::new("queue", ["x"])).await.expect("pushed");
    assert_eq!(pop.await.expect("answered").expect("popped").value, b"x");
}

/// Row 14. Ablations, with 10,000 elements and 1,000 callers: without putting back, 9,090 were received and none left; without the word that a reply was seen,
/// 8,822; without CLIENT UNBLOCK, 9,170, and 8,721 doubts were reported.
#[actix::test]
async fn row_14_callers_who_leave_lose_nothing() {
    const ELEMENTS: usize = 4_000;
    // Several to a connection. With sixteen to each, a busy machine does little but cancel.
    const CALLERS: u64 = 250;
    let server = crate::support::server();
    let (builder, diary) = Diary::of(hasty(config(server.port())).links(LinkLimit::new(64).idle(ms(200))));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let before = server.clients().expect("listed").len();
    let received = Rc::new(RefCell::new(Vec::<usize>::new()));
    let (count, mut counted) = tokio::sync::watch::channel(0);
    let (over, aborted) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_usize)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (redis, received, over, aborted) = (redis.clone(), received.clone(), over.clone(), aborted.clone());
            let count = count.clone();
            actix::spawn(async move {
                let mut random = fastrand::Rng::with_seed(caller);
                while !over.get() {
                    let (redis, received, count) = (redis.clone(), received.clone(), count.clone());
                    let pop = actix::spawn(async move {
                        let popped = redis.send(BLPop::new(["queue"], LONG).typed::<usize>()).await;
                        if let Some(popped) = popped.expect("answered") {
                            received.borrow_mut().push(popped.value);
                            count.send_modify(|count| *count += 1);
                        }
                    });
                    // Not sooner: a slow core that is busy with leaving callers answers no others.
                    tokio::time::sleep(ms(random.u64(1..500))).await;
                    if !pop.is_finished() {
                        aborted.set(aborted.get() + 1);
                    }
                    pop.abort();
                }
            })
        })
        .collect();
    let lost = |diary: &Diary| diary.count(|event| matches!(event, ConnectionEvent::MayBeLost { .. }));
    let left = || server.command(["LLEN", "test:queue"]).expect("asked").int().expect("a length");
    for batch in (0..ELEMENTS).collect::<Vec<_>>().chunks(10) {
        redis.send(RPush::new("queue", batch.to_vec())).await.expect("pushed");
        eventually("callers take them", || (left() == 0).then_some(())).await;
        // A fast machine would be through before a thousand have left.
        let pushed = batch.last().map_or(0, |last| last + 1);
        eventually("callers leave", || (aborted.get() * 8 >= pushed).then_some(())).await;
    }
    // If some never come, the account below shows it.
    let _ = tokio::time::timeout(TIME_LIMIT * 2, counted.wait_for(|count| *count >= ELEMENTS)).await;
    over.set(true);
    for caller in callers {
        caller.await.expect("no panic");
    }
    let put_back = diary.count(|event| matches!(event, ConnectionEvent::PutBack { .. }));
    let all = received.take();
    println!(
        "{} received, {} aborted, {put_back} put back, {} reported, {} left",
        all.len(),
        aborted.get(),
        lost(&diary),
        left()
    );
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "nothing twice");
    assert_eq!((all.len(), left(), lost(&diary)), (ELEMENTS, 0, 0));
    assert!(aborted.get() > 400 && put_back > 0, "{} aborted, {put_back} put back", aborted.get());
    eventually("clients as before", || (server.clients().ok()?.len() == before).then_some(())).await;
}

/// Row 14, the delivery contract. Ablation: sent again on the next link (not pinned), it would take another element for
/// one caller, which does not receive the first.
#[actix::test]
async fn row_14_a_wait_whose_link_died_may_have_taken_something() {
    let server = crate::support::server();
    let (builder, diary) = Diary::of(hasty(config(server.port())));
    let redis = builder.start().expect("started");
    let there = redis.send(BLPop::new(["a"], LONG));
    let read = redis.send(XRead::new([("s", StreamId::MIN)]).block(LONG));
    waiting(&server, 2).await;
    server.kill().expect("killed");
    let error = there.await.expect_err("lost");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::Unknown), "{error}");
    server.restart().expect("restarted");
    // A read goes on at the new one.
    server.command(["XADD", "test:s", "*", "f", "v"]).expect("added");
    assert_eq!(read.await.expect("read")[0].entries.len(), 1);
    assert_eq!(diary.count(|event| matches!(event, ConnectionEvent::MayBeLost { .. })), 0, "the caller received it");
    // No caller is left.
    let gone = redis.send(BLPop::new(["a"], LONG));
    waiting(&server, 1).await;
    server.kill().expect("killed");
    drop(gone);
    diary.entry("the report", |event| matches!(event, ConnectionEvent::MayBeLost { elements: None, .. })).await;
    server.restart().expect("restarted");
    server.command(["RPUSH", "test:a", "x"]).expect("pushed");
    assert_eq!(redis.send(BLPop::new(["a"], LONG)).await.expect("answered").expect("popped").value, b"x");
}

/// Row 14, half-open: silence beyond the requested time. Ablation: without pieces it goes on for 49 days.
#[actix::test]
async fn row_14_a_dead_link_under_an_endless_wait_is_noticed_and_its_remains_are_ended() {
    let server = FakeServer::builder()
        .on(|argv| match argv.first().map(Vec::as_slice) {
            Some(b"BLPOP") => Answer::Silence,
            // It is the same server process, or no client would be ended there.
            Some(b"INFO") => Answer::raw("$10\r\nrun_id:abc\r\n"),
            _ => Answer::raw("+OK\r\n"),
        })
        .start()
        .expect("started");
    let builder = hasty(config(server.port()).command_timeout(ms(200)).liveness(ms(200)));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let begun = Instant::now();
    let pop = tokio::time::timeout(TIME_LIMIT, redis.send(BLPop::new(["a"], Duration::MAX)));
    let error = pop.await.expect("noticed").expect_err("given up");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::Unknown), "{error}");
    assert!(begun.elapsed() < TIME_LIMIT / 2, "{:?}", begun.elapsed());
    let killed = || {
        let all = server.received_on(0);
        let kill = [b"CLIENT".to_vec(), b"KILL".to_vec(), b"ID".to_vec()];
        all.iter().any(|argv| argv.starts_with(&kill)).then_some(())
    };
    eventually("the client at the server ended", killed).await;
}

/// The time of a pipeline with WAIT begins when it is sent, not when a connection is free for it.
///
/// Ablation: without the deadline of units it fails with `1.6 s behind the connection`.
#[actix::test]
async fn the_deadline_of_a_wait_for_replication_includes_the_time_for_a_connection() {
    const HOLD: Duration = Duration::from_millis(300);
    const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_300);
    let server = crate::support::server();
    let redis = hasty(config(server.port()).command_timeout(COMMAND_TIMEOUT)).links(LinkLimit::new(1));
    let redis = redis.start().expect("started");
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let (leased, has_lease) = tokio::sync::oneshot::channel::<()>();
    let mut once = Some((leased, released));
    let watcher = redis.clone();
    let watching = actix::spawn(async move {
        let watch = watcher.watch(["k"], move |_| {
            let once = once.take();
            async move {
                if let Some((leased, released)) = once {
                    leased.send(()).expect("the test waits");
                    released.await.expect("the test releases");
                }
                Ok(None::<Transaction<(Incr,)>>)
            }
        });
        watch.await.map(drop)
    });
    has_lease.await.expect("the only connection is leased");
    server.command(["CLIENT", "PAUSE", "60000", "WRITE"]).expect("asked").ok().expect("paused");
    let sending = actix::spawn(redis.send(Pipeline::new((Set::new("k", 1), Wait::new(1, HOLD)))));
    let sent = Instant::now();
    eventually("most of the time gone", || (sent.elapsed() > ms(900)).then_some(())).await;
    release.send(()).expect("the watch waits");
    watching.await.expect("no panic").expect("nothing to do");
    let free = Instant::now();
    let error = sending.await.expect("no panic").expect_err("writes are paused");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(free.elapsed() < HOLD + COMMAND_TIMEOUT - ms(300), "{:?} behind the connection", free.elapsed());
    server.command(["CLIENT", "UNPAUSE"]).expect("the server has not crashed").ok().expect("resumed");
}

/// FAILOVER, CLUSTER FAILOVER and CLIENT PAUSE postpone writes, blocking ones included.
///
/// Ablation: CLIENT UNBLOCK without ERROR fails with `the server has not crashed: .. ConnectionRefused`. Where the link is
/// used again on Redis 7.0, the element is taken without a caller.
#[actix::test]
async fn a_caller_that_leaves_while_the_server_postpones_writes_neither_crashes_it_nor_loses_an_element() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Ping::new()).await.expect("ready");
    server.command(["CLIENT", "PAUSE", "60000", "WRITE"]).expect("asked").ok().expect("paused");
    let pop = actix::spawn(redis.send(BLPop::new(["l"], LONG)));
    waiting(&server, 1).await;
    pop.abort();
    waiting(&server, 0).await;
    server.command(["CLIENT", "UNPAUSE"]).expect("the server has not crashed").ok().expect("resumed");
    server.command(["RPUSH", "test:l", "x"]).expect("asked").int().expect("pushed");
    let popped = redis.send(BLPop::new(["l"], LONG)).await.expect("answered");
    assert_eq!(popped.expect("an element").value, b"x");
}
