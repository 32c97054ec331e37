//! Every entry reaches every client, also over a reconnect.

use std::pin::pin;

use actix_web::{App, HttpRequest, test, web};
use futures_util::StreamExt;
use redis_actix::prelude::*;
use redis_actix_web::events::EventStream;

use crate::{TIME_LIMIT, eventually, redis, server};

async fn add(redis: &Redis, n: u64) -> StreamId {
    redis.send(XAdd::new("news").field("data", n)).await.unwrap()
}

#[actix_web::test]
async fn a_client_that_reconnects_misses_no_entry() {
    let server = server();
    let redis = redis(&server);
    let before = add(&redis, 0).await;
    let events = EventStream::start(redis.clone(), "news");
    let mut first = pin!(events.subscribe(Some(before)));
    for n in 1..=3 {
        add(&redis, n).await;
    }
    let mut frames = Vec::new();
    for _ in 0..3 {
        frames.push(tokio::time::timeout(TIME_LIMIT, first.next()).await.expect("in time").unwrap().unwrap());
    }
    assert!(
        frames.iter().zip(1..).all(|(frame, n)| frame.ends_with(format!("data: {n}\n\n").as_bytes())),
        "{frames:?}"
    );
    for n in 4..=250 {
        add(&redis, n).await;
    }
    let last = std::str::from_utf8(&frames[2]).unwrap().lines().next().unwrap().trim_start_matches("id: ").to_owned();
    let mut again = pin!(events.subscribe(Some(last.parse().unwrap())));
    for n in 4..=250 {
        let frame = tokio::time::timeout(TIME_LIMIT, again.next()).await.expect("in time").unwrap().unwrap();
        assert!(frame.ends_with(format!("data: {n}\n\n").as_bytes()), "{n}: {frame:?}");
    }
}

#[actix_web::test]
async fn entries_that_come_over_a_restart_of_the_server_arrive() {
    let server = redis_actix_test::RedisServer::builder().appendonly(true).start().unwrap();
    let redis = redis(&server);
    let before = add(&redis, 0).await;
    let events = EventStream::start(redis.clone(), "news");
    let mut client = pin!(events.subscribe(Some(before)));
    add(&redis, 1).await;
    let frame = tokio::time::timeout(TIME_LIMIT, client.next()).await.expect("in time").unwrap().unwrap();
    assert!(frame.ends_with(b"data: 1\n\n"));
    server.restart().unwrap();
    eventually("another entry", async || redis.send(XAdd::new("news").field("data", 2)).await.is_ok()).await;
    let frame = tokio::time::timeout(TIME_LIMIT, client.next()).await.expect("in time").unwrap().unwrap();
    assert!(frame.ends_with(b"data: 2\n\n"));
}

#[actix_web::test]
async fn the_response_has_the_headers_of_an_event_stream() {
    let server = server();
    let events = web::Data::new(EventStream::start(redis(&server), "news"));
    let handler = |request: HttpRequest, events: web::Data<EventStream>| async move { events.respond(&request) };
    let app = test::init_service(App::new().app_data(events).route("/", web::get().to(handler))).await;
    let response = test::call_service(&app, test::TestRequest::get().to_request()).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
    let invalid = test::TestRequest::get().insert_header(("last-event-id", "x"));
    assert_eq!(test::call_service(&app, invalid.to_request()).await.status(), 400);
}
