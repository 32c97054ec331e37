//! Values are computed once, and expire.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use redis_actix_web::cache::{Cache, CacheError};

use crate::{eventually, ms, redis, server, without_server};

const MINUTE: Duration = Duration::from_secs(60);

#[actix_web::test]
async fn concurrent_callers_of_several_processes_compute_once() {
    let server = server();
    let caches: Vec<_> = (0..3).map(|_| Cache::new(redis(&server), "users")).collect();
    for cache in &caches {
        cache.remove("connects").await;
    }
    let computed = Cell::new(0);
    let call = |cache: Cache| {
        let computed = &computed;
        async move {
            let compute = || async {
                computed.set(computed.get() + 1);
                tokio::time::sleep(ms(100)).await;
                Ok::<_, Infallible>("ada".to_owned())
            };
            cache.get_or_insert_with("7", MINUTE, compute).await.unwrap()
        }
    };
    let values = futures_util::future::join_all((0..60).map(|nth| call(caches[nth % 3].clone()))).await;
    assert!(values.iter().all(|value| value == "ada"));
    assert_eq!(computed.get(), 1);
    assert_eq!(call(caches[0].clone()).await, "ada");
    assert_eq!(computed.get(), 1);
    caches[1].remove("7").await;
    call(caches[0].clone()).await;
    assert_eq!(computed.get(), 2);
}

#[actix_web::test]
async fn a_failed_computation_is_not_stored_and_blocks_no_other() {
    let server = server();
    let (one, other) = (Cache::new(redis(&server), "c"), Cache::new(redis(&server), "c"));
    let failed = one.get_or_insert_with("k", MINUTE, || async { Err::<u64, _>("no database") }).await;
    assert!(matches!(failed, Err(CacheError::Compute("no database"))));
    let value = other.get_or_insert_with("k", MINUTE, || async { Ok::<_, Infallible>(1_u64) }).await;
    assert_eq!(value.unwrap(), 1);
}

#[actix_web::test]
async fn missing_values_are_remembered_for_a_shorter_time() {
    let server = server();
    let cache = Cache::new(redis(&server), "c").negative_ttl(ms(300));
    let computed = Cell::new(0);
    let missing = || async {
        computed.set(computed.get() + 1);
        Ok::<_, Infallible>(None::<u64>)
    };
    assert_eq!(cache.get_or_insert_option("k", MINUTE, missing).await.unwrap(), None);
    eventually("another computation", async || {
        cache.get_or_insert_option("k", MINUTE, missing).await.unwrap();
        computed.get() > 1
    })
    .await;
    // A caller that needs a value does not take the absence for one.
    assert_eq!(cache.get_or_insert_with("k", MINUTE, || async { Ok::<_, Infallible>(5_u64) }).await.unwrap(), 5);
    assert_eq!(cache.get_or_insert_option("k", MINUTE, missing).await.unwrap(), Some(5));
}

#[actix_web::test]
async fn a_dropped_computation_is_taken_over() {
    let server = server();
    let cache = Cache::new(redis(&server), "c").lead_time(ms(100));
    let never = cache.get_or_insert_with("k", MINUTE, std::future::pending::<Result<u64, Infallible>>);
    tokio::time::timeout(ms(50), never).await.unwrap_err();
    assert_eq!(cache.get_or_insert_with("k", MINUTE, || async { Ok::<_, Infallible>(1_u64) }).await.unwrap(), 1);
}

#[actix_web::test]
async fn without_redis_values_are_computed() {
    let cache = Cache::new(without_server(), "c");
    let value = cache.get_or_insert_with("k", MINUTE, || async { Ok::<_, Infallible>(1_u64) }).await;
    assert_eq!(value.unwrap(), 1);
}

/// Ablation: where callers wait for each other before they read, one GET is in flight.
#[actix_web::test]
async fn values_that_are_there_are_read_at_the_same_time() {
    let server = server();
    let redis = redis(&server);
    let cache = Cache::new(redis.clone(), "c");
    let value = || cache.get_or_insert_with("k", MINUTE, || async { Ok::<_, Infallible>(1_u64) });
    value().await.unwrap();
    server.stop_process().unwrap();
    let reads = futures_util::future::join_all((0..20).map(|_| value()));
    let all_in_flight = async {
        eventually("all reads in flight", async || redis.stats().in_flight == 20).await;
        server.cont_process().unwrap();
    };
    let (values, ()) = futures_util::future::join(reads, all_in_flight).await;
    assert!(values.into_iter().all(|value| value.unwrap() == 1));
}
