//! Any order of faults and cancellations that chance can think of, against the whole connection.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::support::{Diary, Own, eventually, hasty, ms, until_state};
use proptest::{prelude::*, test_runner::TestRunner};
use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, ConnectionState, Fate, Frame};
use redis_actix_test::{Direction, Proxy, RedisServer};

#[derive(Debug, Clone)]
enum Step {
    /// Sends `count` of each: increments, reads of this caller's own values, pushes onto a list.
    Send(u8),
    /// Sends increments whose callers have left by the time they are answered.
    SendAndLeave(u8),
    SendInAHurry(u8),
    CutToServer(u16),
    CutToClient(u16),
    Reset,
    Close,
    Garbage,
    Split(u8),
    Delay(u8),
    Hold(bool),
    Refuse(bool),
    Turns(u8),
    Pause(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..20_u8).prop_map(Step::Send),
        2 => (1..20_u8).prop_map(Step::SendAndLeave),
        2 => (1..20_u8).prop_map(Step::SendInAHurry),
        3 => (0..600_u16).prop_map(Step::CutToServer),
        3 => (0..300_u16).prop_map(Step::CutToClient),
        1 => Just(Step::Reset),
        1 => Just(Step::Close),
        1 => Just(Step::Garbage),
        1 => (1..40_u8).prop_map(Step::Split),
        1 => (0..3_u8).prop_map(Step::Delay),
        2 => any::<bool>().prop_map(Step::Hold),
        1 => prop::bool::weighted(0.3).prop_map(Step::Refuse),
        6 => (1..10_u8).prop_map(Step::Turns),
        4 => (1..25_u8).prop_map(Step::Pause),
    ];
    prop::collection::vec(step, 1..40)
}

static CASES: AtomicU32 = AtomicU32::new(0);

async fn run(server: &RedisServer, steps: Vec<Step>) {
    let prefix = format!("case{}:", CASES.fetch_add(1, Ordering::Relaxed));
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let config = crate::support::config(proxy.port()).key_prefix(&prefix).command_timeout(ms(400)).liveness(ms(100));
    let config = config.connect_timeout(ms(200)).max_in_flight(64).max_queued(64);
    let (builder, diary) = Diary::of(hasty(config));
    let redis = builder.start().expect("started");
    let (mut counts, mut reads, mut pushes, mut left) = (Vec::new(), Vec::new(), Vec::new(), 0_i64);
    let key = |name: &str| format!("{prefix}{name}");
    for nth in 0..8 {
        server.command(["SET", &key(&nth.to_string()), &format!("value {nth}")]).expect("asked").ok().expect("set");
    }
    for step in steps {
        match step {
            Step::Send(times) => {
                for nth in 0..usize::from(times) {
                    counts.push(actix::spawn(redis.send(Incr::new("counter"))));
                    reads.push((nth % 8, actix::spawn(redis.send(Get::<String>::new((nth % 8).to_string())))));
                    let push = Frame::new("RPUSH").key("list").arg(pushes.len());
                    pushes.push(actix::spawn(redis.send(Own(push))));
                }
            }
            Step::SendAndLeave(times) => {
                for nth in 0..times {
                    let call = redis.send(Incr::new("counter"));
                    left += 1;
                    actix::spawn(tokio::time::timeout(ms(u64::from(nth % 4)), call));
                }
            }
            Step::SendInAHurry(times) => {
                for nth in 0..times {
                    let short = Incr::new("counter").timeout(ms(u64::from(nth) + 1));
                    counts.push(actix::spawn(redis.send(short)));
                }
            }
            Step::CutToServer(bytes) => proxy.cut_after(Direction::ToServer, bytes.into()),
            Step::CutToClient(bytes) => proxy.cut_after(Direction::ToClient, bytes.into()),
            Step::Reset => proxy.reset_all(),
            Step::Close => proxy.close_all(),
            Step::Garbage => proxy.inject(b"?"),
            Step::Split(size) => proxy.split(size.into()),
            Step::Delay(by) => proxy.delay(ms(by.into())),
            Step::Hold(true) => proxy.hold(),
            Step::Hold(false) => proxy.resume(),
            Step::Refuse(true) => proxy.refuse(),
            Step::Refuse(false) => proxy.pass(),
            Step::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            // What happens meanwhile is the case; nothing is waited for.
            Step::Pause(by) => actix::clock::sleep(ms(by.into())).await,
        }
    }
    check(&redis, (server, &proxy), Calls { counts, reads, pushes, left }, &prefix).await;
    alternates(&diary.events());
}

struct Calls {
    counts: Vec<tokio::task::JoinHandle<redis_actix::Result<i64>>>,
    reads: Vec<(usize, tokio::task::JoinHandle<redis_actix::Result<Option<String>>>)>,
    pushes: Vec<tokio::task::JoinHandle<redis_actix::Result<redis_actix::Value>>>,
    left: i64,
}

/// Every call is answered by its deadline, by its own reply, and did what its outcome says.
async fn check(redis: &Redis, (server, proxy): (&RedisServer, &Proxy), calls: Calls, prefix: &str) {
    let in_time = Duration::from_secs(3);
    let (mut acknowledged, mut unknown) = (0, 0);
    for call in calls.counts {
        match tokio::time::timeout(in_time, call).await.expect("answered").expect("no panic") {
            Ok(_) => acknowledged += 1,
            Err(error) if error.fate() == Fate::Unknown => unknown += 1,
            Err(error) => assert_eq!(error.fate(), Fate::NotSent, "{error}"),
        }
    }
    for (nth, call) in calls.reads {
        if let Ok(value) = tokio::time::timeout(in_time, call).await.expect("answered").expect("no panic") {
            assert_eq!(value, Some(format!("value {nth}")), "the reply of another caller");
        }
    }
    let mut pushed = Vec::new();
    for call in calls.pushes {
        let answer = tokio::time::timeout(in_time, call).await.expect("answered").expect("no panic");
        pushed.push(answer.map_err(|error| error.fate()));
    }
    proxy.pass();
    if redis.status().borrow().state != ConnectionState::Idle {
        until_state(redis, ConnectionState::Ready).await;
    }
    // What a held or cut link still carries to the server arrives before its end does.
    eventually("the old links gone", || (proxy.live_connections() <= 1).then_some(())).await;
    redis.shutdown(ms(500)).await.expect("a report");
    eventually("no client left", || (proxy.live_connections() == 0).then_some(())).await;
    let at_rest = || server.clients().expect("listed").is_empty().then_some(());
    eventually("the server at rest", at_rest).await;
    let counter = server.command(["GET", &format!("{prefix}counter")]).expect("asked");
    let counter = counter.text().ok().map_or(0, |text| text.parse::<i64>().expect("a number"));
    assert!(
        (acknowledged..=acknowledged + unknown + calls.left).contains(&counter),
        "{acknowledged} acknowledged, {unknown} unknown, {} left, {counter} run",
        calls.left
    );
    let list = server.command(["LRANGE", &format!("{prefix}list"), "0", "-1"]).expect("asked");
    let list: Vec<usize> = list
        .array()
        .expect("a list")
        .iter()
        .map(|item| item.text().expect("text").parse().expect("a number"))
        .collect();
    assert!(list.is_sorted_by(|one, next| one < next), "overtaken or run twice: {list:?}");
    for (nth, answer) in pushed.iter().enumerate() {
        let ran = list.binary_search(&nth).is_ok();
        match answer {
            Ok(_) => assert!(ran, "{nth} was acknowledged and did not run"),
            Err(Fate::NotSent | Fate::Rejected) => assert!(!ran, "{nth} ran and was called unsent"),
            Err(Fate::Unknown) => {}
        }
    }
}

/// Links come and go one at a time, and each has a number of its own.
fn alternates(events: &[ConnectionEvent]) {
    let (mut up, mut last) = (false, 0);
    for event in events {
        match event {
            ConnectionEvent::Connecting { generation, .. } => {
                assert!(!up && *generation == last + 1, "{events:?}");
                last = *generation;
            }
            ConnectionEvent::Connected { generation, .. } => {
                assert!(!up && *generation == last, "{events:?}");
                up = true;
            }
            ConnectionEvent::Disconnected { generation, .. } => {
                assert!(up && *generation == last, "{events:?}");
                up = false;
            }
            ConnectionEvent::Restarted { .. } => panic!("it fell: {events:?}"),
            _ => {}
        }
    }
    assert!(!up);
}

/// Ablations: each of those in `src/core` that its own property tests name is found by this one, too.
#[test]
fn whatever_happens_every_call_is_answered_and_nothing_runs_twice() {
    // One for all cases, and not in a static: that would never be dropped, and the server would outlive the test.
    let server = crate::support::server();
    // `PROPTEST_CASES` and `PROPTEST_RNG_SEED` choose others.
    let config =
        ProptestConfig { cases: cases(), max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        actix_rt::System::new().block_on(run(&server, steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}
