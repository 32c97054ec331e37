//! Subscriptions while the server is busy with a script.

use redis_actix::prelude::*;
use redis_actix_test::{Proxy, RedisServer};

use crate::pubsub_support::Notes;
use crate::support::{TIME_LIMIT, config, eventually, hasty};

/// Ablation: BUSY taken for a refusal fails with `BUSY Redis is busy running a script`.
#[actix::test]
async fn a_topic_that_is_refused_with_busy_is_asked_for_again() {
    let server = RedisServer::builder().arg("--lua-time-limit", "5").start().unwrap_or_else(|error| panic!("{error}"));
    let proxy = Proxy::start(server.addr()).expect("a port");
    let redis = hasty(config(proxy.port()).command_timeout(TIME_LIMIT)).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let subscription = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
    let mut script = server.connect().expect("connected");
    script.send(["EVAL", "while true do end", "0"]).expect("sent");
    let is_busy =
        || server.command(["PING"]).is_ok_and(|reply| reply.error().is_some_and(|error| error.starts_with("BUSY")));
    eventually("that it is busy", || is_busy().then_some(())).await;
    let before = proxy.bytes_to_client();
    let adding = actix::spawn(async move { subscription.add([Topic::channel("b")]).await.map(|()| subscription) });
    eventually("an answer", || (proxy.bytes_to_client() > before).then_some(())).await;
    server.command(["SCRIPT", "KILL"]).expect("asked").ok().expect("killed");
    let _subscription = adding.await.expect("no panic").expect("confirmed");
    redis.send(Publish::new("b", "heard")).await.expect("sent");
    notes.payload("heard").await;
}
