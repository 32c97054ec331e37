//! A server that becomes a replica under the same address.

use std::time::Duration;

use redis_actix::prelude::*;
use redis_actix_test::RedisServer;

use crate::pubsub_support::Notes;
use crate::support::{TIME_LIMIT, config, eventually, hasty, ms};
use crate::waiting;

fn follow(server: &RedisServer, master: Option<&RedisServer>) {
    let port = master.map_or("ONE".to_owned(), |master| master.port().to_string());
    let host = if master.is_some() { "127.0.0.1" } else { "NO" };
    server.command(["REPLICAOF", host, &port]).expect("asked").ok().expect("done");
}

/// Issue 17, row 13. The server answers UNBLOCKED and closes the link.
///
/// Ablation: the answer passed on fails with `UNBLOCKED force unblock from blocking operation`.
#[actix::test]
async fn a_wait_goes_on_after_its_server_was_a_replica_for_a_while() {
    let (server, other) = (crate::support::server(), crate::support::server());
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).start().expect("started");
    let pop = redis.send(BLPop::new(["l"], TIME_LIMIT * 2).typed::<String>());
    waiting(&server, 1).await;
    follow(&server, Some(&other));
    waiting(&server, 0).await;
    follow(&server, None);
    waiting(&server, 1).await;
    server.command(["RPUSH", "test:l", "x"]).expect("pushed");
    let popped = tokio::time::timeout(TIME_LIMIT, pop).await.expect("in time").expect("waits on").expect("an element");
    assert_eq!(popped.value, "x");
}

/// An operator's word is none of a role change: it ends the wait.
#[actix::test]
async fn a_wait_that_an_operator_ends_with_an_error_is_over() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let pop = redis.send(BLPop::new(["l"], TIME_LIMIT).typed::<String>());
    waiting(&server, 1).await;
    let clients = server.clients().expect("listed");
    let client = clients.iter().find(|client| client.contains(" flags=b")).expect("it waits");
    let id = client.split([' ', '=']).nth(1).expect("an id");
    server.command(["CLIENT", "UNBLOCK", id, "ERROR"]).expect("asked");
    assert_eq!(pop.await.expect_err("ended").code(), Some("UNBLOCKED"));
}

/// Where no other server takes over, the refusal is returned after the command timeout, not after the whole wait.
#[actix::test]
async fn a_wait_at_a_replica_ends_with_its_refusal() {
    let (server, other) = (crate::support::server(), crate::support::server());
    follow(&server, Some(&other));
    let redis = hasty(config(server.port()).command_timeout(ms(300))).start().expect("started");
    let error = redis.send(BLPop::new(["l"], Duration::MAX)).await.expect_err("a replica");
    assert_eq!((error.code(), error.fate()), (Some("READONLY"), Fate::Rejected), "{error}");
}

/// Issue 17, row 1, where the address stays. The shared connection learns of it from READONLY.
///
/// Ablation: READONLY not reported to the other connections fails with `never saw the others leave`.
#[actix::test]
async fn a_demotion_that_one_connection_sees_ends_all_that_were_made_before() {
    let (server, other) = (crate::support::server(), crate::support::server());
    let redis = hasty(config(server.port())).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
    let watched = redis.watch(["k"], |_| async { Ok(Some(Transaction::new((Incr::new("k"),)))) });
    watched.await.expect("run").expect("run");
    redis.send(Set::new("k", 1)).await.expect("written");
    let ids = || -> Vec<String> {
        let clients = server.clients().expect("listed");
        let ours = clients.iter().filter(|client| client.contains(" flags=N ") || client.contains(" flags=P "));
        ours.filter_map(|client| client.split([' ', '=']).nth(1).map(str::to_owned)).collect()
    };
    let before = ids();
    assert_eq!(before.len(), 3, "shared, subscriptions, and the one that watched");
    follow(&server, Some(&other));
    eventually("a replica", || {
        let error = server.command(["SET", "test:x", "1"]).expect("asked");
        error.error().is_some_and(|error| error.starts_with("READONLY")).then_some(())
    })
    .await;
    let error = redis.send(Set::new("k", 2)).await.expect_err("a replica");
    assert_eq!(error.code(), Some("READONLY"), "{error}");
    eventually("the others leave", || ids().iter().all(|id| !before.contains(id)).then_some(())).await;
    notes.event("the gap", |event| matches!(event, SubscriptionEvent::Gap { .. })).await;
    follow(&server, None);
    redis.send(Set::new("k", 3)).await.expect("a master again");
}
