//! What callers hear when the thread of their connection has ended.

use actix::Arbiter;
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate};
use redis_actix_test::{Direction, Proxy};

use crate::support::{self, TIME_LIMIT, aside, config, eventually, hasty};

/// Ablations: without `settle` in the drop of the driver a written command is NotSent; with the fate of a dropped reply channel
/// fixed to Unknown, that of commands which were never sent is.
#[actix::test]
async fn commands_that_were_never_sent_say_so_after_their_arbiter_has_ended() {
    let server = support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let arbiter = Arbiter::new();
    let config = config(proxy.port()).max_in_flight(2).liveness(None).command_timeout(TIME_LIMIT * 10);
    let redis = hasty(config).arbiter(arbiter.handle()).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.hold_only(Direction::ToClient);
    let calls: Vec<_> = (0..4).map(|_| redis.send(Incr::new("k"))).collect();
    let ran = || server.command(["GET", "test:k"]).and_then(|count| count.text()).is_ok_and(|count| count == "2");
    eventually("two have run", || ran().then_some(())).await;
    arbiter.stop();
    aside(move || arbiter.join()).await.expect("ended");
    let mut fates = Vec::new();
    for call in calls {
        let error = call.await.expect_err("no server");
        fates.push((error.kind(), error.fate()));
    }
    let (sent, unsent) = ((ErrorKind::Closed, Fate::Unknown), (ErrorKind::Closed, Fate::NotSent));
    assert_eq!(fates, [sent, sent, unsent, unsent]);
    let late = redis.send(Incr::new("k")).await.expect_err("no server");
    assert_eq!((late.kind(), late.fate()), unsent, "{late}");
}
