//! The end of a service finishes what is under way.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use redis_actix::prelude::*;
use redis_actix_web::health::Probes;
use redis_actix_web::service::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{TIME_LIMIT, eventually, ms, redis, server};

async fn slow(redis: web::Data<Redis>) -> HttpResponse {
    redis.send(Set::new("begun", 1)).await.unwrap();
    tokio::time::sleep(ms(300)).await;
    HttpResponse::Ok().body(redis.send(Incr::new("hits")).await.unwrap().to_string())
}

#[actix_web::test]
async fn a_request_under_way_is_finished_before_the_connection_closes() {
    let server = server();
    let redis = redis(&server);
    let probes = Probes::new(redis.clone());
    let data = web::Data::new(redis.clone());
    let http = HttpServer::new(move || App::new().app_data(data.clone()).route("/", web::get().to(slow)));
    let http = http.workers(1).bind(("127.0.0.1", 0)).unwrap();
    let address = http.addrs()[0];
    let http = http.disable_signals().shutdown_timeout(10).run();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let service = Service::new(redis.clone(), probes.clone()).notice(Duration::ZERO).within(TIME_LIMIT);
    let running = actix_rt::spawn(service.run_until(http, async { drop(ended.await) }));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    eventually("the request at its handler", async || redis.send(Exists::new(["begun"])).await.unwrap() == 1).await;
    end.send(()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('1'), "{answer}");
    let report = tokio::time::timeout(TIME_LIMIT, running).await.unwrap().unwrap().unwrap();
    assert!(report.is_clean() && probes.is_draining(), "{report:?}");
    assert_eq!(redis.send(Incr::new("hits")).await.unwrap_err().kind(), ErrorKind::Closed);
}
