//! Numbers of a connection that need no server.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::poll;
use redis_actix::prelude::*;
use redis_actix::{CauseKind, ConnectionState, ErrorKind, Fate, ReconnectPolicy, RestartLimit, ShutdownReport};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, aside, config, eventually, fall_over, hasty, injected_panics_are_quiet, ms, until};

/// Ablation: with `Losses::count` left out of the driver there are no disconnects and no replays.
#[actix::test]
async fn stats_tell_what_became_of_commands_and_links_also_during_an_outage() {
    let gets = Arc::new(AtomicUsize::new(0));
    let counted = gets.clone();
    let answer = move |argv: &[Vec<u8>]| match argv[0].as_slice() {
        b"GET" if counted.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Close,
        b"GET" => Answer::raw("$1\r\nv\r\n"),
        b"INCR" => Answer::Close,
        b"EXISTS" => Answer::Silence,
        _ => Answer::Default,
    };
    let server = FakeServer::builder().on(answer).start().unwrap();
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).start().unwrap();
    let idle = redis.stats();
    assert_eq!((idle.state, idle.answered, idle.disconnects), (ConnectionState::Idle, 0, vec![]));

    redis.send(Get::<String>::new("a")).await.unwrap();
    assert_eq!(redis.send(Incr::new("a")).await.unwrap_err().fate(), Fate::Unknown);
    redis.send(Get::<String>::new("a")).await.unwrap();
    let mut silent = pin!(redis.send(Exists::new(["b"])));
    assert!(poll!(silent.as_mut()).is_pending());
    let busy = eventually("one in flight", || Some(redis.stats()).filter(|stats| stats.in_flight == 1)).await;
    assert_eq!((busy.state, busy.queued, busy.waiting_for_room), (ConnectionState::Ready, 0, 0));
    assert!((350..1000).contains(&busy.bytes), "{}", busy.bytes);
    assert_eq!((busy.answered, busy.not_sent, busy.unknown, busy.abandoned), (2, 0, 1, 0));
    assert_eq!((busy.replays, busy.disconnects), (1, vec![(CauseKind::Broken, 2)]));

    drop(server);
    until(&redis, "down", |status| status.state == ConnectionState::Backoff).await;
    let error = redis.send(Get::<String>::new("a").timeout(ms(20))).await.unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent);
    // While a dial is under way there is no cause.
    let is_reported = |stats: &redis_actix::Stats| stats.abandoned == 1 && stats.cause.is_some();
    let down = eventually("the timeout and a cause", || Some(redis.stats()).filter(is_reported)).await;
    assert!(down.links.is_empty() && down.nodes.is_empty());
    assert_eq!(down.unknown + down.replays, 3, "EXISTS waits for the next link");
    redis.shutdown(ms(0)).await.unwrap();
    let closed = redis.stats();
    assert_eq!((closed.state, closed.queued, closed.in_flight, closed.bytes), (ConnectionState::Closed, 0, 0, 0));
}

/// Ablation: without `Gauges::count_turned_away` fails with `left: (0, 0) right: (2, 2)`.
#[actix::test]
async fn commands_that_find_no_room_are_counted_as_not_sent() {
    let answer = |argv: &[Vec<u8>]| if argv[0] == b"GET" { Answer::Silence } else { Answer::Default };
    let server = FakeServer::builder().on(answer).start().unwrap();
    let config = config(server.port()).max_in_flight(1).max_queued(1).command_timeout(TIME_LIMIT);
    let redis = hasty(config).start().unwrap();
    redis.ready(TIME_LIMIT).await.unwrap();
    let _held: Vec<_> = (0..2).map(|_| redis.send(Get::<String>::new("a"))).collect();
    let late = redis.send(Get::<String>::new("late").timeout(ms(5))).await.unwrap_err();
    assert_eq!((late.kind(), late.fate()), (ErrorKind::Overloaded, Fate::NotSent), "{late}");
    // Outside of tokio a caller cannot wait for room.
    let other = redis.clone();
    let outside =
        std::thread::spawn(move || futures_util::FutureExt::now_or_never(other.send(Get::<String>::new("a"))));
    assert_eq!(outside.join().unwrap().unwrap().unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!((redis.stats().not_sent, redis.error_rate().failed), (2, 2));
}

/// Ablations: without `measure` in `Driver::abort` and in its destructor fails with one in flight and none unknown.
#[actix::test]
async fn stats_are_final_when_the_actor_was_given_up_or_its_thread_has_ended() {
    injected_panics_are_quiet();
    for given_up in [true, false] {
        let is_held = |argv: &[Vec<u8>]| matches!(argv[0].as_slice(), b"GET" | b"EXISTS");
        let answer = move |argv: &[Vec<u8>]| if is_held(argv) { Answer::Silence } else { Answer::Default };
        let server = FakeServer::builder().on(answer).start().unwrap();
        let arbiter = actix::Arbiter::new();
        let config = config(server.port()).command_timeout(TIME_LIMIT * 10).max_in_flight(2).liveness(None);
        let builder = hasty(config).restarts(RestartLimit::new(0, TIME_LIMIT));
        let redis = if given_up { builder } else { builder.arbiter(arbiter.handle()) }.start().unwrap();
        redis.ready(TIME_LIMIT).await.unwrap();
        let get = Get::<String>::new("a");
        // In the first case its reply ends the actor.
        let mut first: Pin<Box<dyn Future<Output = _>>> =
            if given_up { Box::pin(fall_over(&redis, get)) } else { Box::pin(redis.send(get)) };
        assert!(poll!(first.as_mut()).is_pending());
        let calls: Vec<_> = (0..2).map(|_| redis.send(Exists::new(["b"]))).collect();
        let is_busy = |stats: &redis_actix::Stats| (stats.in_flight, stats.queued) == (2, 1);
        eventually("two in flight", || Some(redis.stats()).filter(is_busy)).await;
        if given_up {
            server.send(b"$-1\r\n");
            first.await.unwrap();
        }
        arbiter.stop();
        aside(move || arbiter.join()).await.unwrap();
        for call in calls {
            call.await.unwrap_err();
        }
        let ended = redis.stats();
        assert_eq!((ended.state, ended.in_flight, ended.queued), (ConnectionState::Closed, 0, 0));
        let (answered, unknown) = if given_up { (1, 1) } else { (0, 2) };
        assert_eq!((ended.answered, ended.unknown, ended.not_sent), (answered, unknown, 1));
    }
}

/// Ablation: with the report since the start of the connection fails with `completed: 3`.
#[actix::test]
async fn a_shutdown_after_the_end_of_a_connection_completes_nothing() {
    let server = FakeServer::builder().start().unwrap();
    let config = config(server.port()).build().unwrap();
    let redis = Redis::builder(config).reconnect(ReconnectPolicy::default().give_up_after(1)).start().unwrap();
    for _ in 0..3 {
        redis.send(Ping::new()).await.unwrap();
    }
    drop(server);
    until(&redis, "closed", |status| status.state == ConnectionState::Closed).await;
    assert_eq!(redis.shutdown(TIME_LIMIT).await.unwrap(), ShutdownReport::default());
}
