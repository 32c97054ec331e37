//! Numbers of a connection that need no server.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::poll;
use redis_actix::prelude::*;
use redis_actix::{CauseKind, ConnectionState, Fate};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, config, eventually, hasty, ms, until};

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
