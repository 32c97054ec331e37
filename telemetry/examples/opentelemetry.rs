//! Traces of commands, a producer and a handler, printed by the exporter of OpenTelemetry for the terminal.
//!
//! For a collector replace the exporter by `opentelemetry_otlp::SpanExporter::builder().with_http().build()?` and
//! `with_simple_exporter` by `with_batch_exporter`.
//!
//! `REDIS_HOST=127.0.0.1 cargo run -p redis-actix-telemetry --example opentelemetry`

use std::time::Duration;

use actix::prelude::*;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use redis_actix::prelude::*;
use redis_actix::{Delivery, Entry, Outcome, Producer, StreamConsumer, set_trace_propagator};
use redis_actix_telemetry::OpenTelemetryPropagator;
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Serialize, Deserialize)]
struct Order {
    customer: String,
}

struct Billing(Redis);

impl Actor for Billing {
    type Context = Context<Self>;
}

impl Handler<Delivery<Order>> for Billing {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, delivery: Delivery<Order>, _: &mut Self::Context) -> Self::Result {
        let (redis, span) = (self.0.clone(), delivery.span());
        let order = delivery.into_payload();
        let work = async move {
            match redis.send(Incr::new(format!("orders:{}", order.customer))).await {
                Ok(_) => Outcome::Ack,
                Err(error) => Outcome::failed(error),
            }
        };
        // The INCR of the handler belongs to the span of the delivery.
        Box::pin(work.instrument(span))
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = opentelemetry_stdout::SpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    // Spans of this crate have the level DEBUG and these targets; log lines stay at INFO.
    let spans = EnvFilter::new("info,redis_actix::command=debug,redis_actix::stream=debug");
    tracing_subscriber::registry()
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("shop")).with_filter(spans))
        .with(tracing_subscriber::fmt::layer().with_filter(EnvFilter::new("info")))
        .init();
    set_trace_propagator(OpenTelemetryPropagator);

    let redis = Redis::builder(RedisConfig::from_env()?).start()?;
    let consumer = StreamConsumer::builder("orders", "billing")
        .start::<Order>(&redis, Billing(redis.clone()).start().recipient())?;
    let request = tracing::info_span!("POST /orders");
    let entry = Entry::new(&Order { customer: "ada".to_owned() })?;
    Producer::new(&redis, "orders").append(entry).instrument(request).await?;
    while redis.send(GetDel::<i64>::new("orders:ada")).await?.is_none() {
        actix::clock::sleep(Duration::from_millis(20)).await;
    }
    consumer.drain(Duration::from_secs(5)).await?;
    redis.shutdown(Duration::from_secs(5)).await?;
    provider.shutdown()?;
    println!("exported");
    Ok(())
}
