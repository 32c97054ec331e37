//! The number of a client means something to one server process only.

use std::time::Duration;

use redis_actix::ConnectionEvent;
use redis_actix::prelude::*;
use redis_actix_test::Proxy;

use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty, ms};
use crate::{calls, waiting};

fn id_of(client: &str) -> u64 {
    client.split([' ', '=']).nth(1).expect("an id").parse().expect("a number")
}

/// Issue 16, row 7: the connection that waits leads to one server, and the shared one, made later, to another.
///
/// Ablation: CLIENT UNBLOCK without a look at the process fails with `left: 1, right: 0` for `client|unblock`.
#[actix::test]
async fn a_client_is_let_go_at_its_own_server_process_or_not_at_all() {
    let (server, other) = (crate::support::server(), crate::support::server());
    let proxy = Proxy::start(server.addr()).expect("started");
    let (builder, diary) = Diary::of(hasty(config(proxy.port())));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(BLPop::new(["l"], ms(1))).await.expect("answered"), None);
    // The address leads elsewhere from now on, and the shared connection is replaced.
    proxy.set_upstream(other.addr());
    let clients = server.clients().expect("listed");
    let shared = clients.iter().min_by_key(|client| id_of(client)).expect("the first");
    server.command(["CLIENT", "KILL", "ID", &id_of(shared).to_string()]).expect("asked");
    eventually("the other server", || (calls(&other, "hello") > 0).then_some(())).await;
    redis.send(Ping::new()).await.expect("answered");

    let strangers: Vec<_> = (0..20)
        .map(|_| {
            let mut stranger = other.connect().expect("connected");
            stranger.send(["BLPOP", "strangers", "0"]).expect("sent");
            stranger
        })
        .collect();
    waiting(&other, strangers.len()).await;
    let pop = redis.send(BLPop::new(["l"], TIME_LIMIT));
    waiting(&server, 1).await;
    drop(pop);
    let event = diary.entry("the report", |event| matches!(event, ConnectionEvent::MayBeLost { .. })).await;
    let ConnectionEvent::MayBeLost { reason, .. } = event else { panic!("{event:?}") };
    assert!(reason.contains("same server process"), "{reason}");
    waiting(&server, 0).await;
    assert_eq!((calls(&other, "client|unblock"), calls(&other, "client|kill")), (0, 0));
    waiting(&other, strangers.len()).await;
}

/// The same for the end of a client whose link broke here: no other client is killed.
///
/// Ablation: CLIENT KILL without a look at the process fails with `left: 1, right: 0` for `client|kill`.
#[actix::test]
async fn a_client_is_killed_at_its_own_server_process_or_not_at_all() {
    let (server, other) = (crate::support::server(), crate::support::server());
    let proxy = Proxy::start(server.addr()).expect("started");
    let redis = hasty(config(proxy.port()).liveness(ms(300)).command_timeout(ms(500))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(BLPop::new(["l"], ms(1))).await.expect("answered"), None);
    proxy.set_upstream(other.addr());
    let clients = server.clients().expect("listed");
    let shared = clients.iter().min_by_key(|client| id_of(client)).expect("the first");
    server.command(["CLIENT", "KILL", "ID", &id_of(shared).to_string()]).expect("asked");
    eventually("the other server", || (calls(&other, "hello") > 0).then_some(())).await;
    redis.send(Ping::new()).await.expect("answered");
    let pop = redis.send(BLPop::new(["l"], Duration::MAX));
    waiting(&server, 1).await;
    server.stop_process().expect("frozen");
    let error = tokio::time::timeout(TIME_LIMIT, pop).await.expect("noticed").expect_err("silent");
    assert_eq!(error.fate(), Fate::Unknown, "{error}");
    // Whatever was on its way by then has been answered before this.
    redis.send(Ping::new()).await.expect("answered");
    redis.send(Ping::new()).await.expect("answered");
    assert_eq!(calls(&other, "client|kill"), 0);
}
