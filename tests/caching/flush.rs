//! When entries are not used any more: what would have invalidated them may not have arrived.

use std::time::{Duration, Instant};

use redis_actix::ConnectionState;
use redis_actix_test::Proxy;

use crate::support::{TIME_LIMIT, eventually, hasty, server, until_state};
use crate::{by_others, cached, caching, fresh, get, start, stats};

/// Ablation: if the end of a link leaves its entries valid, the old value is read.
#[actix::test]
async fn entries_of_a_lost_link_are_not_used() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["SET", "test:k", "old"]);
    for round in 1..=5 {
        let before = cached(&redis, "k").await;
        let new = format!("new{round}");
        // In one step for the server, so that the invalidation has no link to go to.
        by_others(&server, &["EVAL", "redis.call('client', 'kill', 'type', 'normal', 'skipme', 'yes') return 1", "0"]);
        by_others(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        by_others(&server, &["SET", "test:k", &new]);
        eventually("a flush", || (stats(&redis).flushes_link_lost >= round).then_some(())).await;
        assert_ne!(before.as_ref(), Some(&new));
        assert_eq!(get(&redis, "k").await, Some(new));
    }
}

#[actix::test]
async fn a_restarted_server_is_asked_again() {
    let server = server();
    let redis = start(server.port());
    by_others(&server, &["SET", "test:k", "v"]);
    assert_eq!(cached(&redis, "k").await.as_deref(), Some("v"));
    server.kill().expect("killed");
    eventually("the loss", || (stats(&redis).flushes_link_lost > 0).then_some(())).await;
    server.restart().expect("restarted");
    until_state(&redis, ConnectionState::Ready).await;
    assert_eq!(get(&redis, "k").await, fresh(&redis, "k").await);
}

/// Ablation: if nil does not flush, the value of before is read.
#[actix::test]
async fn flushall_by_another_client_is_seen() {
    let server = server();
    let redis = start(server.port());
    for round in 1..=20 {
        by_others(&server, &["SET", "test:k", "v"]);
        // Ablation: if a hit does not use up the budget of its task, the actor never sees that this value is old.
        while cached(&redis, "k").await.is_none() {}
        by_others(&server, &["FLUSHALL"]);
        eventually("a flush", || (stats(&redis).flushes_server >= round).then_some(())).await;
        assert_eq!(get(&redis, "k").await, None);
    }
}

/// The server forgets keys beyond its limit, and reports them.
#[actix::test]
async fn an_overflow_of_the_servers_table_is_seen() {
    let server = server();
    by_others(&server, &["CONFIG", "SET", "tracking-table-max-keys", "10"]);
    let redis = start(server.port());
    for key in 0..200 {
        get(&redis, &format!("k{key}")).await;
    }
    eventually("invalidations", || (stats(&redis).invalidations >= 150).then_some(())).await;
    for key in 0..200 {
        by_others(&server, &["SET", &format!("test:k{key}"), "new"]);
    }
    let deadline = Instant::now() + TIME_LIMIT;
    for key in 0..200 {
        while get(&redis, &format!("k{key}")).await.is_none() {
            assert!(Instant::now() < deadline, "k{key} is stale");
            tokio::task::yield_now().await;
        }
    }
}

/// A link on which nothing arrives brings no invalidations, and nobody notices while all reads are hits.
///
/// Ablation: without the time of the last byte, the old value is read for twice the liveness.
#[actix::test]
async fn a_half_open_link_is_trusted_for_no_longer_than_the_liveness() {
    let server = server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let liveness = Duration::from_millis(1000);
    let redis = hasty(caching(proxy.port()).liveness(liveness)).start().expect("started");
    by_others(&server, &["SET", "test:k", "old"]);
    assert_eq!(cached(&redis, "k").await.as_deref(), Some("old"));
    proxy.strand_all();
    let stranded = Instant::now();
    by_others(&server, &["SET", "test:k", "new"]);
    let mut last_stale = stranded;
    while get(&redis, "k").await.as_deref() == Some("old") {
        last_stale = Instant::now();
        assert!(stranded.elapsed() < TIME_LIMIT, "stale for good");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let stale_for = last_stale - stranded;
    println!("stale for {stale_for:?} of {liveness:?}");
    assert!(stale_for <= liveness + Duration::from_millis(50), "stale for {stale_for:?}");
}

/// Ablation: without the flush, the entries of the former user are answered.
#[actix::test]
async fn a_new_login_flushes() {
    let server = server();
    server.set_password(Some("secret")).expect("used");
    let redis = hasty(caching(server.port()).password("secret")).start().expect("started");
    by_others(&server, &["SET", "test:k", "v"]);
    cached(&redis, "k").await;
    redis.reauthenticate().await.expect("logged in");
    let before = stats(&redis);
    assert_eq!(before.flushes_login, 2);
    get(&redis, "k").await;
    assert_eq!(stats(&redis).invalid, before.invalid + 1);
}
