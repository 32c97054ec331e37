//! Serves metrics to Prometheus at `/metrics`, with the histogram buckets of the dashboard.
//!
//! `REDIS_HOST=127.0.0.1 LISTEN=127.0.0.1:9000 cargo run -p redis-actix-telemetry --example prometheus`

use actix_web::{App, HttpServer, web};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use redis_actix::DURATION_BUCKETS;
use redis_actix::prelude::*;

async fn metrics(redis: web::Data<Redis>, prometheus: web::Data<PrometheusHandle>) -> String {
    redis.stats().record_metrics("main");
    prometheus.run_upkeep();
    prometheus.render()
}

async fn hits(redis: web::Data<Redis>) -> String {
    match redis.send(Incr::new("hits")).await {
        Ok(hits) => hits.to_string(),
        Err(error) => error.to_string(),
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS)?.install_recorder()?;
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:9000".to_owned());
    let (redis, prometheus) = (web::Data::new(redis), web::Data::new(prometheus));
    let app = move || {
        App::new()
            .app_data(redis.clone())
            .app_data(prometheus.clone())
            .route("/metrics", web::get().to(metrics))
            .route("/hits", web::get().to(hits))
    };
    let server = HttpServer::new(app).workers(1).bind(&address)?.run();
    println!("serving http://{address}/metrics");
    server.await?;
    Ok(())
}
