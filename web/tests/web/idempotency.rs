//! A repeated request gets the first response, and its handler does not run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{App, HttpResponse, test, web};
use redis_actix_web::idempotency::Idempotency;

use crate::{ms, redis, server, without_server};

async fn pay(runs: web::Data<AtomicU64>, body: String) -> HttpResponse {
    let nth = runs.fetch_add(1, Ordering::Relaxed) + 1;
    match &*body {
        "slow" => tokio::time::sleep(ms(300)).await,
        "fails" if nth == 1 => return HttpResponse::InternalServerError().finish(),
        _ => {}
    }
    HttpResponse::Created().insert_header(("x-payment", nth.to_string())).body(format!("payment {nth}"))
}

macro_rules! app {
    ($idempotency:expr, $runs:expr) => {
        test::init_service(
            App::new()
                .app_data(web::Data::from($runs.clone()))
                .wrap($idempotency)
                .route("/pay", web::post().to(pay))
                .route("/other", web::post().to(pay)),
        )
        .await
    };
}

fn request(uri: &str, key: &str, user: &'static str, body: &'static str) -> actix_http::Request {
    let request = test::TestRequest::post().uri(uri).insert_header(("idempotency-key", key.to_owned()));
    request.insert_header(("x-user", user)).set_payload(body).to_request()
}

fn by_user(idempotency: Idempotency) -> Idempotency {
    idempotency.scope(|request| Some(request.headers().get("x-user")?.to_str().ok()?.to_owned()))
}

#[actix_web::test]
async fn a_repeated_request_gets_the_first_response() {
    let (server, runs) = (server(), Arc::new(AtomicU64::new(0)));
    let app = app!(by_user(Idempotency::new(redis(&server)).max_body(1_000)), runs);
    let first = test::call_service(&app, request("/pay", "k", "ada", "5")).await;
    assert_eq!(first.status(), 201);
    assert!(first.headers().get("idempotent-replayed").is_none());
    assert_eq!(test::read_body(first).await, "payment 1");
    let again = test::call_service(&app, request("/pay", "k", "ada", "5")).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers().get("idempotent-replayed").unwrap(), "true");
    assert_eq!(again.headers().get("x-payment").unwrap(), "1");
    assert_eq!(test::read_body(again).await, "payment 1");
    let status = |response: actix_web::dev::ServiceResponse<_>| response.status().as_u16();
    assert_eq!(status(test::call_service(&app, request("/pay", "k", "ada", "6")).await), 422, "another body");
    assert_eq!(status(test::call_service(&app, request("/other", "k", "ada", "5")).await), 422, "another path");
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let others = test::call_service(&app, request("/pay", "k", "grace", "5")).await;
    assert_eq!(test::read_body(others).await, "payment 2", "keys belong to their user");
    let long = "k".repeat(256);
    assert_eq!(status(test::call_service(&app, request("/pay", &long, "ada", "5")).await), 400);
    let large: &'static str = "x".repeat(1_001).leak();
    assert_eq!(status(test::call_service(&app, request("/pay", "large", "ada", large)).await), 413);
}

#[actix_web::test]
async fn a_request_under_way_is_a_conflict_and_a_failed_one_runs_again() {
    let (server, runs) = (server(), Arc::new(AtomicU64::new(0)));
    let app = app!(by_user(Idempotency::new(redis(&server))), runs);
    let failed = test::call_service(&app, request("/pay", "f", "ada", "fails")).await;
    assert_eq!(failed.status(), 500);
    let second = test::call_service(&app, request("/pay", "f", "ada", "fails")).await;
    assert_eq!(test::read_body(second).await, "payment 2");
    let (slow, meanwhile) = futures_util::future::join(
        test::call_service(&app, request("/pay", "s", "ada", "slow")),
        test::call_service(&app, request("/pay", "s", "ada", "slow")),
    )
    .await;
    assert_eq!((slow.status().as_u16(), meanwhile.status().as_u16()), (201, 409));
    assert_eq!(meanwhile.headers().get("retry-after").unwrap(), "1");
}

#[actix_web::test]
async fn without_redis_the_handler_does_not_run() {
    let runs = Arc::new(AtomicU64::new(0));
    let app = app!(Idempotency::new(without_server()), runs);
    assert_eq!(test::call_service(&app, request("/pay", "k", "ada", "5")).await.status(), 503);
    let without_key = test::TestRequest::post().uri("/pay").to_request();
    assert_eq!(test::call_service(&app, without_key).await.status(), 201);
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}
