//! Locks exclude each other, are renewed, and report their loss.

use std::cell::Cell;
use std::time::{Duration, Instant};

use redis_actix_web::lock::Lock;

use crate::{TIME_LIMIT, ms, redis, server, without_server};

#[actix_web::test]
async fn one_owner_at_a_time_has_a_lock_and_tokens_grow() {
    let server = server();
    let (inside, last) = (Cell::new(0), Cell::new(0));
    let owner = |redis| {
        let (inside, last) = (&inside, &last);
        async move {
            let lock = Lock::new(redis, "invoices");
            for _ in 0..5 {
                let guard = lock.acquire(TIME_LIMIT).await.unwrap().expect("in time");
                assert_eq!(inside.replace(1), 0, "two owners");
                assert!(guard.fencing_token() > last.replace(guard.fencing_token()));
                tokio::task::yield_now().await;
                inside.set(0);
                assert!(guard.release().await.unwrap());
            }
        }
    };
    futures_util::future::join_all((0..4).map(|_| owner(redis(&server)))).await;
    assert_eq!(last.get(), 20);
}

#[actix_web::test]
async fn a_lock_is_renewed_and_freed_when_its_guard_is_dropped() {
    let server = server();
    let (redis, other) = (redis(&server), Lock::new(redis(&server), "k").lease(ms(500)));
    let guard = Lock::new(redis, "k").lease(ms(500)).acquire(Duration::ZERO).await.unwrap().unwrap();
    let begun = Instant::now();
    assert!(other.acquire(ms(1_500)).await.unwrap().is_none(), "held for three leases");
    assert!(begun.elapsed() >= ms(1_500) && !guard.is_lost());
    drop(guard);
    assert!(other.acquire(TIME_LIMIT).await.unwrap().is_some());
}

/// Ablation: with a renewal that does not compare the owner, `lost` never completes.
#[actix_web::test]
async fn a_lock_that_is_taken_away_is_lost() {
    let server = server();
    let guard = Lock::new(redis(&server), "k").lease(ms(300)).acquire(Duration::ZERO).await.unwrap().unwrap();
    server.command(["SET", "web:lock:{k}", "another"]).unwrap().ok().unwrap();
    tokio::time::timeout(TIME_LIMIT, guard.lost()).await.expect("in time");
    assert!(guard.is_lost());
    assert!(!guard.release().await.unwrap());
    assert_eq!(server.command(["GET", "web:lock:{k}"]).unwrap().text().unwrap(), "another");
}

#[actix_web::test]
async fn a_lock_is_lost_when_redis_is_gone_for_its_lease() {
    let server = server();
    let guard = Lock::new(redis(&server), "k").lease(ms(300)).acquire(Duration::ZERO).await.unwrap().unwrap();
    server.kill().unwrap();
    tokio::time::timeout(TIME_LIMIT, guard.lost()).await.expect("in time");
    Lock::new(without_server(), "k").acquire(Duration::ZERO).await.unwrap_err();
}
