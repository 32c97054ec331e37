//! The end of a connection, and what those hear who depend on it.

use std::time::Duration;

use crate::support::{Diary, Own, TIME_LIMIT, config, eventually, hasty, incr_load::IncrLoad, ms, until_state};
use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, ConnectionState, ErrorKind, Fate, Frame, Value};
use redis_actix_test::{Direction, Proxy};
use tokio::time::Instant;

/// Row 18. Ablation: under a supervisor that does not survive panics the callers are never answered again.
#[actix::test]
async fn row_18_panics_under_load_lose_no_call_and_run_nothing_twice() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let load = IncrLoad::start(&redis, "k");
    for fall in 1..=5 {
        load.goes_on(500).await;
        let fell = Instant::now();
        crate::support::fall_over(&redis, Get::<i64>::new("k")).await.expect("answered, and fatal");
        crate::support::until(&redis, "up again", |status| {
            status.restarts == fall && status.state == ConnectionState::Ready
        })
        .await;
        assert!(fell.elapsed() < Duration::from_secs(1), "{:?}", fell.elapsed());
    }
    let counted = load.finish().await;
    let counter: Option<i64> = redis.send(Get::new("k")).await.expect("read");
    counted.check(counter.expect("counted"));
}

/// Row 18, over a reply. Ablation: decoded without catching it, the panic takes the actor down, and the link of all with it.
#[actix::test]
async fn row_18_a_panic_over_a_reply_is_that_of_its_caller() {
    crate::support::injected_panics_are_quiet();
    struct Defect(usize);
    impl Message for Defect {
        type Result = redis_actix::Result<i64>;
    }
    impl Command for Defect {
        type Reply = i64;
        fn frame(&self) -> Frame {
            Frame::new("INCRBY").key("k").arg(self.0)
        }
        fn reply(value: Value) -> redis_actix::Result<i64> {
            match value {
                Value::Int(n) if n % 2 == 0 => Ok(n),
                _ => panic!("injected while the reply is decoded"),
            }
        }
    }
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let connected = redis.status().borrow().generation;
    // Defective ones among others, on one link; every second one of them panics, as it comes.
    let mut calls = Vec::new();
    for nth in 0..300 {
        let good = redis.send(Incr::new("k"));
        let bad = redis.send(Defect(1 + nth % 2));
        redis.addr().do_send(Defect(2));
        calls.push((good, bad));
    }
    let mut last = 0;
    let mut panicked = 0;
    for (good, bad) in calls {
        let count = good.await.expect("its own answer");
        assert!(count > last, "in order: {count} after {last}");
        last = count;
        match bad.await {
            Ok(count) => {
                assert!(count > last, "in order: {count} after {last}");
                last = count;
            }
            Err(error) => {
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Decode, Fate::Unknown), "{error}");
                assert!(error.to_string().contains("INCRBY"), "{error}");
                panicked += 1;
            }
        }
    }
    assert!(panicked > 100, "{panicked}");
    let error = redis.addr().send(Defect(1)).await.expect("the actor is there");
    let odd = error.is_err();
    assert_eq!(redis.addr().send(Defect(1)).await.expect("the actor is there").is_err(), !odd);
    // A unit is one reply of one caller.
    let pipeline = Pipeline::new(vec![Defect(1), Defect(1)]);
    assert_eq!(redis.send(pipeline).await.expect_err("one of both is odd").kind(), ErrorKind::Decode);
    let status = redis.status().borrow().clone();
    assert_eq!((status.restarts, status.disconnects, status.generation), (0, 0, connected));
}

/// Row 18, in the middle of telling of a lost link. Ablation: with the rest of them left in flight, one takes the next
/// link's reply to another caller for its own.
#[actix::test]
async fn row_18_a_panic_while_a_lost_link_is_settled_gives_no_caller_the_reply_of_another() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port()).liveness(None)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.hold_only(Direction::ToClient);
    let fatal = crate::support::fall_over(&redis, Incr::new("k"));
    let others = async {
        let counts: Vec<_> = (0..3).map(|_| redis.send(Incr::new("k"))).collect();
        let ran = || server.command(["GET", "test:k"]).and_then(|count| count.text()).is_ok_and(|count| count == "4");
        eventually("all four have run", || ran().then_some(())).await;
        proxy.close_all();
        proxy.resume();
        crate::support::until(&redis, "up again", |status| {
            status.restarts == 1 && status.state == ConnectionState::Ready
        })
        .await;
        redis.send(Set::new("other", "v")).await.expect("its own reply");
        for count in counts {
            let error = count.await.expect_err("its reply went with the link");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::Unknown), "{error}");
        }
    };
    let (fatal, ()) = futures_util::future::join(fatal, others).await;
    assert_eq!(fatal.expect_err("its reply, too").fate(), Fate::Unknown);
}

/// Row 26, in time.
#[actix::test]
async fn row_26_what_is_in_flight_is_finished_before_the_end() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.hold_only(Direction::ToClient);
    let calls: Vec<_> = (0..1_000).map(|_| redis.send(Incr::new("k"))).collect();
    let (ending, late) = futures_util::future::join(redis.shutdown(TIME_LIMIT), async {
        until_state(&redis, ConnectionState::Draining).await;
        let late = redis.send(Incr::new("k")).await;
        proxy.resume();
        late
    })
    .await;
    let report = ending.expect("a report");
    assert_eq!((report.completed, report.failed, report.unknown, report.abandoned), (1_000, 0, 0, 0));
    let error = late.expect_err("too late");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent), "{error}");
    for (call, expected) in calls.into_iter().zip(1..) {
        assert_eq!(call.await.expect("finished"), expected);
    }
    eventually("no client left", || server.clients().expect("listed").is_empty().then_some(())).await;
}

/// Row 26, at the deadline. Ablation: an estimate of the abandoned commands instead of a count.
#[actix::test]
async fn row_26_at_the_deadline_all_are_answered_and_counted() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let (builder, diary) = Diary::of(hasty(config(proxy.port()).max_in_flight(500).liveness(None)));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(Incr::new("before")).await.expect("counted"), 1);
    proxy.hold();
    let on_the_wire: Vec<_> = (0..450).map(|_| redis.send(Incr::new("k"))).collect();
    let short: Vec<_> = (0..50).map(|_| redis.send(Incr::new("k").timeout(ms(150)))).collect();
    let queued: Vec<_> = (0..400).map(|_| redis.send(Incr::new("k"))).collect();
    let short_too: Vec<_> = (0..60).map(|_| redis.send(Incr::new("k").timeout(ms(150)))).collect();
    let given_up: Vec<_> = (0..40).map(|_| redis.send(Incr::new("k"))).collect();
    let ending = redis.shutdown(ms(400));
    let again = redis.shutdown(TIME_LIMIT);
    let leaving = async {
        until_state(&redis, ConnectionState::Draining).await;
        drop(given_up);
    };
    let (report, again, ()) = futures_util::future::join3(ending, again, leaving).await;
    let report = report.expect("a report");
    assert_eq!(again.expect("a report"), report);
    assert_eq!((report.completed, report.unknown), (0, 450));
    assert_eq!((report.failed, report.abandoned), (400, 150));
    for (calls, kind, fate) in [
        (on_the_wire, ErrorKind::Closed, Fate::Unknown),
        (queued, ErrorKind::Closed, Fate::NotSent),
        (short, ErrorKind::Timeout, Fate::Unknown),
        (short_too, ErrorKind::Timeout, Fate::NotSent),
    ] {
        for call in calls {
            let error = call.await.expect_err("held");
            assert_eq!((error.kind(), error.fate()), (kind, fate), "{error}");
        }
    }
    assert!(matches!(diary.events().last(), Some(ConnectionEvent::Closed { .. })));
}

/// Row 26. Callers that wait for room are completed, too.
#[actix::test]
async fn row_26_no_caller_that_waits_for_room_is_forgotten() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).max_in_flight(5).max_queued(5).liveness(None)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    server.stop_process().expect("frozen");
    let calls: Vec<_> = (0..100).map(|_| redis.send(Incr::new("k"))).collect();
    let all = futures_util::future::join_all(calls);
    let (answers, report) = futures_util::future::join(all, redis.shutdown(ms(100))).await;
    let report = report.expect("a report");
    assert_eq!((report.failed, report.unknown), (5, 5));
    for error in answers.into_iter().map(|answer| answer.expect_err("frozen")) {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    server.cont_process().expect("thawed");
}

/// An actor that must not outlive its connection by more than it can bear.
struct Dependant {
    redis: Redis,
    bears: Duration,
}

impl Actor for Dependant {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (redis, bears) = (self.redis.clone(), self.bears);
        let lost = async move { redis.lost(bears).await };
        ctx.spawn(lost.into_actor(self).map(|_, _, ctx| ctx.stop()));
    }
}

#[actix::test]
async fn a_dependant_outlives_short_outages_and_no_long_one() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port())).start().expect("started");
    let dependant = Dependant { redis: redis.clone(), bears: ms(300) }.start();
    redis.ready(TIME_LIMIT).await.expect("ready");
    for _ in 0..3 {
        proxy.reset_all();
        until_state(&redis, ConnectionState::Backoff).await;
        until_state(&redis, ConnectionState::Ready).await;
    }
    assert!(dependant.connected());
    let lost = Instant::now();
    proxy.refuse();
    proxy.reset_all();
    eventually("its end", || (!dependant.connected()).then_some(())).await;
    assert!(lost.elapsed() >= ms(300), "{:?}", lost.elapsed());
    proxy.pass();
    until_state(&redis, ConnectionState::Ready).await;
    let waits = redis.lost(Duration::from_secs(600));
    redis.shutdown(ms(100)).await.expect("a report");
    assert_eq!(waits.await.state, ConnectionState::Closed);
}

#[actix::test]
async fn who_comes_late_hears_first_what_is() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let diary = Diary::from_now_on(&redis);
    let present = diary.entry("the present state", |_| true).await;
    let ConnectionEvent::Present { status } = present else { panic!("{present:?}") };
    assert_eq!((status.state, status.generation), (ConnectionState::Ready, 1));
    proxy.reset_all();
    diary
        .entry(
            "the next link",
            |event| matches!(event, ConnectionEvent::Connected { generation, outage: Some(_), .. } if *generation > 1),
        )
        .await;
    let names: Vec<_> =
        diary.events().iter().map(|event| format!("{event:?}").split(' ').next().map(str::to_owned)).collect();
    assert_eq!(names[..3], ["Present", "Disconnected", "Retrying"].map(|name| Some(name.to_owned())), "{names:?}");
}

#[actix::test]
async fn the_rate_of_errors_shows_when_to_shed_load() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port()).command_timeout(ms(50)).liveness(None)).start().expect("started");
    assert_eq!(redis.error_rate().ratio(), 0.0);
    for _ in 0..10 {
        redis.send(Incr::new("k")).await.expect("counted");
    }
    assert!(redis.send(Own(Frame::new("LPUSH").key("k").arg("v"))).await.is_err(), "the caller's own fault");
    eventually("the counts", || (redis.error_rate().answered >= 11).then_some(())).await;
    assert_eq!(redis.error_rate().ratio(), 0.0);
    proxy.hold();
    let calls: Vec<_> = (0..33).map(|_| redis.send(Incr::new("k"))).collect();
    for call in calls {
        call.await.expect_err("held");
    }
    eventually("the counts", || (redis.error_rate().failed == 33).then_some(())).await;
    assert!(redis.error_rate().ratio() > 0.5 && redis.status().borrow().is_available(), "the link looks well");
}
