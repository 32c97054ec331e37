//! Futures that are kept without being polled.

use std::{future::Future, pin::pin, task::Context};

use redis_actix::LinkLimit;
use redis_actix::prelude::*;

use crate::support::{TIME_LIMIT, config, hasty, ms};
use crate::waiting;

/// Issue 15, row 2, for connections that are leased.
///
/// Ablation: a permit that is handed to the first in line fails with `Overloaded` (the gate before it was changed).
#[actix::test]
async fn a_watch_that_is_kept_unpolled_does_not_take_the_free_connection() {
    let server = crate::support::server();
    let redis =
        hasty(config(server.port()).command_timeout(ms(2_000))).links(LinkLimit::new(1)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let busy = redis.send(BLPop::new(["l"], TIME_LIMIT));
    waiting(&server, 1).await;
    let mut kept = pin!(redis.watch(["k"], |_| async { Ok(Some(Transaction::new((Incr::new("k"),)))) }));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(kept.as_mut().poll(&mut cx).is_pending(), "behind the one that waits");
    redis.send(RPush::new("l", ["x"])).await.expect("pushed");
    assert!(busy.await.expect("popped").is_some());
    for _ in 0..3 {
        let other = redis.watch(["o"], |_| async { Ok(Some(Transaction::new((Incr::new("o"),)))) });
        other.await.expect("the connection is free").expect("run");
    }
    assert_eq!(redis.send(BLPop::new(["l"], ms(1))).await.expect("its turn"), None);
    assert_eq!(kept.await.expect("polled again").expect("run"), (1,));
}
