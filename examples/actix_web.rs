//! A small web service: one handle shared by all workers, a readiness endpoint, a graceful shutdown.
//!
//! `curl localhost:8080/hits/front` counts, `curl -i localhost:8080/ready` is the readiness probe.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, Responder, get, web};
use redis_actix::prelude::*;
use redis_actix::{Error, ErrorKind};

#[get("/hits/{page}")]
async fn hits(redis: web::Data<Redis>, page: web::Path<String>) -> impl Responder {
    let counted = redis.send(Incr::new(format!("hits:{page}")).timeout(Duration::from_millis(500))).await;
    match counted {
        Ok(hits) => HttpResponse::Ok().body(format!("{hits}\n")),
        Err(error) => unavailable(&error),
    }
}

#[get("/ready")]
async fn ready(redis: web::Data<Redis>) -> impl Responder {
    // Reading the status sends nothing to the server.
    let status = redis.status().borrow().clone();
    if status.is_available() {
        return HttpResponse::Ok().body(format!("{}\n", status.state));
    }
    let cause = status.cause.map_or_else(String::new, |cause| format!(": {cause}"));
    HttpResponse::ServiceUnavailable().body(format!("{}{cause}\n", status.state))
}

fn unavailable(error: &Error) -> HttpResponse {
    match error.kind() {
        ErrorKind::Overloaded => HttpResponse::TooManyRequests().finish(),
        ErrorKind::Timeout | ErrorKind::Disconnected | ErrorKind::Refused | ErrorKind::Closed => {
            HttpResponse::ServiceUnavailable().body(format!("{error}\n"))
        }
        _ => HttpResponse::InternalServerError().finish(),
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    // One connection for all workers, on its own thread: the load of one worker does not delay the replies of another.
    let redis = Redis::builder(RedisConfig::from_env()?).start_on_own_thread()?;
    let data = web::Data::new(redis.clone());
    let server = HttpServer::new(move || App::new().app_data(data.clone()).service(hits).service(ready));
    println!("listening on http://{address}");
    server.bind(address)?.workers(2).run().await?;
    println!("{:?}", redis.shutdown(Duration::from_secs(5)).await?);
    Ok(())
}
