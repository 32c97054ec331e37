//! What each part answers while Redis is out of memory, read-only or frozen. The README has the table.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, test, web};
use redis_actix::Redis;
use redis_actix_test::RedisServer;
use redis_actix_web::cache::Cache;
use redis_actix_web::idempotency::Idempotency;
use redis_actix_web::limiter::{Limit, Limiter, WhenUnavailable};
use redis_actix_web::lock::Lock;

use crate::{ms, redis, server};

fn set(server: &RedisServer, words: &[&str]) {
    server.command(words).unwrap().ok().unwrap();
}

async fn paid(redis: &Redis) -> u16 {
    let app = App::new().wrap(Idempotency::new(redis.clone())).route("/", web::post().to(HttpResponse::Created));
    let app = test::init_service(app).await;
    let request = test::TestRequest::post().insert_header(("idempotency-key", "k")).to_request();
    test::call_service(&app, request).await.status().as_u16()
}

async fn parts_that_write_follow_their_policy(redis: &Redis) {
    let limit = Limit::token_bucket(1, Duration::from_secs(60));
    let limiter = |policy| Limiter::new(redis.clone(), "l", limit).when_unavailable(policy);
    assert!(limiter(WhenUnavailable::Admit).check("k").await.unwrap().is_admitted);
    limiter(WhenUnavailable::Refuse).check("k").await.unwrap_err();
    assert!(Lock::new(redis.clone(), "k").acquire(Duration::ZERO).await.is_err());
    let cache = Cache::new(redis.clone(), "c");
    let value = cache.get_or_insert_with("k", Duration::from_secs(60), || async { Ok::<_, Infallible>(1_u64) }).await;
    assert_eq!(value.unwrap(), 1);
    assert_eq!(paid(redis).await, 503, "the handler must not run without protection");
}

#[actix_web::test]
async fn parts_of_a_server_without_memory_follow_their_policy() {
    let server = server();
    let redis = redis(&server);
    set(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    parts_that_write_follow_their_policy(&redis).await;
    set(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(paid(&redis).await, 201);
}

#[actix_web::test]
async fn parts_of_a_read_only_server_follow_their_policy() {
    let (server, master) = (server(), server());
    set(&server, &["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    parts_that_write_follow_their_policy(&redis(&server)).await;
}

#[actix_web::test]
async fn a_frozen_server_delays_a_limited_request_by_the_timeout_of_the_limiter() {
    let server = server();
    let redis = redis(&server);
    let limiter = Limiter::new(redis, "l", Limit::token_bucket(1, Duration::from_secs(60))).timeout(ms(200));
    limiter.check("k").await.unwrap();
    server.stop_process().unwrap();
    let asked = Instant::now();
    assert!(limiter.check("k").await.unwrap().is_admitted, "the default policy");
    assert!(asked.elapsed() < ms(1_500), "{:?}", asked.elapsed());
    server.cont_process().unwrap();
}
