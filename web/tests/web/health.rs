//! Probes distinguish a broken service from a missing Redis, without a command.

use actix_web::{App, test};
use redis_actix_web::health::Probes;

use crate::{TIME_LIMIT, eventually, redis, server};

#[actix_web::test]
async fn readiness_follows_the_connection_and_the_drain() {
    let server = server();
    let redis = redis(&server);
    redis.ready(TIME_LIMIT).await.unwrap();
    let (probes, independent) = (Probes::new(redis.clone()), Probes::new(redis.clone()).without_redis());
    let app = test::init_service(App::new().configure(|config| probes.configure(config))).await;
    let other = test::init_service(App::new().configure(|config| independent.configure(config))).await;
    let ready = || test::TestRequest::get().uri("/readyz").to_request();
    let before = redis.stats().answered;
    assert_eq!(test::call_service(&app, ready()).await.status(), 200);
    assert_eq!(redis.stats().answered, before, "no command was sent");
    server.kill().unwrap();
    eventually("not ready", async || test::call_service(&app, ready()).await.status() == 503).await;
    let body: serde_json::Value = test::read_body_json(test::call_service(&app, ready()).await).await;
    assert_eq!((&body["status"], &body["service"]), (&"not ready".into(), &"serving".into()), "{body}");
    assert!(body["redis"]["cause"].is_string(), "{body}");
    assert!(!body.to_string().contains("127.0.0.1"), "no address in a public answer");
    let alive = test::TestRequest::get().uri("/livez").to_request();
    assert_eq!(test::call_service(&app, alive).await.status(), 200);
    assert_eq!(test::call_service(&other, ready()).await.status(), 200);
    server.restart().unwrap();
    eventually("ready again", async || test::call_service(&app, ready()).await.status() == 200).await;
    probes.drain();
    let body: serde_json::Value = test::read_body_json(test::call_service(&app, ready()).await).await;
    assert_eq!((&body["status"], &body["service"]), (&"not ready".into(), &"draining".into()));
}
