//! What waits, and for how long.

use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, ShutdownReport};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, config, hasty, ms, until_state};

fn refuse() -> u16 {
    redis_actix_test::free_port().expect("a port")
}

/// Ablation: with `expire_in_place` for the queue the second hundred gets Overloaded, and the shutdown takes its whole time.
#[actix::test]
async fn expired_commands_leave_the_queue() {
    let redis = hasty(config(refuse()).max_queued(100)).start().expect("started");
    let later = |timeout| redis.addr().send(Incr::new("k").timeout(timeout));
    for _ in 0..3 {
        let calls: Vec<_> = (0..100).map(|_| later(ms(30))).collect();
        for call in calls {
            let error = call.await.expect("the actor is there").expect_err("no server");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent), "{error}");
        }
    }
    // Among others that live on, from the middle as well.
    let waiting: Vec<_> = (0..50).map(|_| redis.addr().send(Incr::new("k"))).collect();
    let hasty: Vec<_> = (0..50).map(|_| later(ms(30))).collect();
    for call in hasty {
        let error = call.await.expect("the actor is there").expect_err("no server");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    let again: Vec<_> = (0..50).map(|_| later(ms(30))).collect();
    for call in again {
        assert_eq!(call.await.expect("there").expect_err("no server").kind(), ErrorKind::Timeout);
    }
    drop(waiting);
    // Only abandoned commands wait: half of the time would be enough.
    let report = tokio::time::timeout(TIME_LIMIT, redis.shutdown(TIME_LIMIT * 2))
        .await
        .expect("nothing was left")
        .expect("ended");
    assert_eq!((report.completed, report.unknown), (0, 0));
}

/// Ablation: with `expire_in_place` for the queue the shutdown takes the whole 40 s.
#[actix::test]
async fn a_shutdown_does_not_wait_for_commands_that_have_expired() {
    let redis = hasty(config(refuse())).start().expect("started");
    redis.send(Incr::new("k").timeout(ms(20))).await.expect_err("no server");
    let shutdown = tokio::time::timeout(TIME_LIMIT, redis.shutdown(TIME_LIMIT * 2));
    assert_eq!(shutdown.await.expect("nothing is left").expect("ended"), ShutdownReport::default());
}

/// Ablation: as above, the actor dials on.
#[actix::test]
async fn an_actor_without_handles_ends_when_its_commands_have_expired() {
    let redis = hasty(config(refuse())).start().expect("started");
    let mut status = redis.status();
    redis.send(Incr::new("k").timeout(ms(20))).await.expect_err("no server");
    drop(redis);
    let closed = status.wait_for(|status| status.state == ConnectionState::Closed);
    tokio::time::timeout(TIME_LIMIT, closed).await.expect("it ends").expect("it says so");
}

/// A server that is not ready for more than the deadline, and then is.
#[actix::test]
async fn deferred_commands_expire_and_leave_no_timer_behind() {
    let server = FakeServer::builder()
        .on(|_| Answer::raw("-LOADING Redis is loading the dataset in memory\r\n"))
        .start()
        .expect("a server");
    let redis = hasty(config(server.port()).liveness(None)).start().expect("started");
    until_state(&redis, ConnectionState::Idle).await;
    let calls: Vec<_> = (0..20).map(|_| redis.send(Incr::new("k").timeout(ms(150)))).collect();
    for call in calls {
        let error = call.await.expect_err("never ready");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent), "{error}");
    }
    let asked = server.received().len();
    server.on(|_| Answer::raw(":1\r\n"));
    assert_eq!(redis.send(Incr::new("k")).await.expect("ready now"), 1);
    assert_eq!(server.received().len(), asked + 1, "nothing that has expired is sent");
}
