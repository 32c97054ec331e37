//! Spans as an OpenTelemetry exporter sees them, with names and types of the semantic conventions.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use opentelemetry_semantic_conventions::attribute as names;
use redis_actix::prelude::*;
use redis_actix::{Delivery, Entry, Outcome, Producer, Script, StreamConsumer, set_trace_propagator};
use redis_actix_telemetry::OpenTelemetryPropagator;
use redis_actix_test::RedisServer;
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

const CANARY: &str = "canary-9f2c";
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One exporter for the process, and everything that is logged at TRACE.
fn listen() -> &'static (InMemorySpanExporter, Log) {
    static LISTENING: OnceLock<(InMemorySpanExporter, Log)> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let (exporter, log) = (InMemorySpanExporter::default(), Log::default());
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("test"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false);
        let writer = log.clone();
        tracing_subscriber::registry()
            .with(spans.with_filter(EnvFilter::new("info,redis_actix::command=debug,redis_actix::stream=debug")))
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(move || writer.clone())
                    .with_filter(EnvFilter::new("trace")),
            )
            .init();
        assert!(set_trace_propagator(OpenTelemetryPropagator));
        (exporter, log)
    })
}

/// The ended spans of this trace, as soon as there are as many.
fn spans_of(root: &tracing::Span, wanted: usize) -> Vec<SpanData> {
    use opentelemetry::trace::TraceContextExt;
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    let trace = root.context().span().span_context().trace_id();
    let deadline = Instant::now() + LIMIT;
    loop {
        let spans = listen().0.get_finished_spans().unwrap();
        let spans: Vec<_> = spans.into_iter().filter(|span| span.span_context.trace_id() == trace).collect();
        if spans.len() >= wanted {
            return spans;
        }
        assert!(Instant::now() < deadline, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn attributes(span: &SpanData) -> HashMap<&str, &Value> {
    span.attributes.iter().map(|pair| (pair.key.as_str(), &pair.value)).collect()
}

/// The attributes with their types in `docs/operations/traces.md`.
fn documented() -> HashMap<&'static str, &'static str> {
    let rows = include_str!("../../docs/operations/traces.md").lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let named = cells.filter(|cells| cells[2].starts_with("string") || cells[2].starts_with("int"));
    named.map(|cells| (cells[1].trim_matches('`'), cells[2].split(',').next().unwrap())).collect()
}

fn assert_documented(spans: &[SpanData]) {
    let documented = documented();
    assert!(documented.len() > 10);
    for span in spans.iter().filter(|span| span.name != "request") {
        for (name, value) in attributes(span) {
            let kind = documented.get(name).unwrap_or_else(|| panic!("{name} of {} is not documented", span.name));
            let fits = matches!((*kind, value), ("string", Value::String(_)) | ("int", Value::I64(_)));
            assert!(fits, "{name} of {} is {value:?}", span.name);
        }
    }
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no span {name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
}

fn redis(server: &RedisServer) -> Redis {
    let config = RedisConfig::builder().url(server.url()).key_prefix("shop:").build().unwrap();
    // The actor has a thread of its own: the parent crosses it.
    Redis::builder(config).start_on_own_thread().unwrap()
}

/// The conventions' constants are compared with the documented names, so that a renamed attribute is noticed.
#[test]
fn documented_names_are_those_of_the_conventions() {
    let conventions = [
        names::DB_SYSTEM_NAME,
        names::DB_OPERATION_NAME,
        names::DB_OPERATION_BATCH_SIZE,
        names::DB_NAMESPACE,
        names::DB_STORED_PROCEDURE_NAME,
        names::DB_RESPONSE_STATUS_CODE,
        names::ERROR_TYPE,
        names::SERVER_ADDRESS,
        names::SERVER_PORT,
        names::MESSAGING_SYSTEM,
        names::MESSAGING_OPERATION_NAME,
        names::MESSAGING_OPERATION_TYPE,
        names::MESSAGING_DESTINATION_NAME,
        names::MESSAGING_CONSUMER_GROUP_NAME,
        names::MESSAGING_CLIENT_ID,
        names::MESSAGING_MESSAGE_ID,
    ];
    let mut conventions = conventions.to_vec();
    conventions.sort_unstable();
    let mut ours: Vec<_> = documented().into_keys().collect();
    ours.sort_unstable();
    assert_eq!(ours, conventions);
}

#[actix::test]
async fn each_command_has_one_span_below_the_span_of_its_caller() {
    listen();
    static SCRIPT: Script<i64> = Script::new("return 1");
    let server = RedisServer::builder().start().unwrap();
    let redis = redis(&server);
    let root = tracing::info_span!("request");
    let work = async {
        redis.send(Set::new(CANARY, CANARY)).await.unwrap();
        let missing: Option<String> = redis.send(Get::new("missing")).await.unwrap();
        assert_eq!(missing, None);
        redis.send(Incr::new(CANARY)).await.unwrap_err();
        redis.send(LLen::new(CANARY)).await.unwrap_err();
        redis.send(Pipeline::new((Incr::new("a"), Incr::new("b")))).await.unwrap();
        redis.send(Pipeline::new((Incr::new("a"), Get::<String>::new("b")))).await.unwrap();
        redis.send(Transaction::new((Incr::new("a"),))).await.unwrap();
        redis.send(SCRIPT.invoke().arg(CANARY)).await.unwrap();
    };
    work.instrument(root.clone()).await;
    let parent: SpanId = {
        use opentelemetry::trace::TraceContextExt;
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        root.context().span().span_context().span_id()
    };
    let spans = spans_of(&root, 8);
    assert_documented(&spans);
    assert_eq!(spans.len(), 8, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    for span in &spans {
        assert_eq!((span.parent_span_id, &span.span_kind), (parent, &SpanKind::Client), "{}", span.name);
        let attributes = attributes(span);
        assert_eq!(attributes[names::DB_SYSTEM_NAME].as_str(), "redis");
        assert_eq!(attributes[names::DB_OPERATION_NAME].as_str(), span.name);
        assert_eq!(attributes[names::SERVER_PORT], &Value::I64(i64::from(server.port())));
    }
    assert_eq!(named(&spans, "GET").status, Status::Unset, "nil is not an error");
    let failed = named(&spans, "LLEN");
    assert!(matches!(failed.status, Status::Error { .. }));
    assert_eq!(attributes(failed)[names::DB_RESPONSE_STATUS_CODE].as_str(), "WRONGTYPE");
    assert_eq!(attributes(failed)[names::ERROR_TYPE].as_str(), "WRONGTYPE");
    assert_eq!(attributes(named(&spans, "PIPELINE INCR"))[names::DB_OPERATION_BATCH_SIZE], &Value::I64(2));
    named(&spans, "PIPELINE");
    assert!(!attributes(named(&spans, "MULTI INCR")).contains_key(names::DB_OPERATION_BATCH_SIZE), "not for one");
    assert_eq!(attributes(named(&spans, "EVALSHA"))[names::DB_STORED_PROCEDURE_NAME].as_str().len(), 40);
    assert!(!format!("{spans:?}").contains(CANARY), "an argument is in a span");
    let log = String::from_utf8_lossy(&listen().1.0.lock().unwrap()).into_owned();
    assert!(log.contains("connection.connected") && !log.contains(CANARY), "an argument is in the log");
}

#[actix::test]
async fn a_command_that_fails_without_a_server_has_its_kind_as_error_type() {
    listen();
    let config = RedisConfig::builder().url("redis://127.0.0.1:1/").command_timeout(Duration::from_millis(200));
    let redis = Redis::builder(config.build().unwrap()).start_on_own_thread().unwrap();
    let root = tracing::info_span!("request");
    async { redis.send(Incr::new("k")).await.unwrap_err() }.instrument(root.clone()).await;
    let spans = spans_of(&root, 1);
    assert_documented(&spans);
    assert_eq!(attributes(named(&spans, "INCR"))[names::ERROR_TYPE].as_str(), "timeout");
}

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

    fn handle(&mut self, delivery: Delivery<Order>, _: &mut Context<Self>) -> Self::Result {
        let (redis, span) = (self.0.clone(), delivery.span());
        let customer = delivery.into_payload().customer;
        let work =
            async move { redis.send(Set::new("seen", customer)).await.map_or_else(Outcome::failed, |_| Outcome::Ack) };
        Box::pin(work.instrument(span))
    }
}

#[actix::test]
async fn one_trace_goes_from_the_producer_through_the_stream_to_the_handler() {
    listen();
    let server = RedisServer::builder().start().unwrap();
    // Two connections, as two processes have them: only the entry carries the trace.
    let (producing, consuming) = (redis(&server), redis(&server));
    let billing = Billing(consuming.clone()).start().recipient();
    let consumer = StreamConsumer::builder("orders", "billing").start::<Order>(&consuming, billing).unwrap();
    let root = tracing::info_span!("request");
    let entry = Entry::new(&Order { customer: CANARY.to_owned() }).unwrap();
    let appended = Producer::new(&producing, "orders").append(entry).instrument(root.clone()).await.unwrap();
    let deadline = Instant::now() + LIMIT;
    while consumer.stats().await.unwrap().acked < 1 {
        assert!(Instant::now() < deadline);
        actix::clock::sleep(Duration::from_millis(5)).await;
    }
    // send, XADD, process, SET
    let spans = spans_of(&root, 4);
    assert_documented(&spans);
    let (send, add) = (named(&spans, "send orders"), named(&spans, "XADD"));
    let (process, set) = (named(&spans, "process orders"), named(&spans, "SET"));
    assert_eq!((&send.span_kind, &process.span_kind), (&SpanKind::Producer, &SpanKind::Consumer));
    assert_eq!(add.parent_span_id, send.span_context.span_id());
    assert_eq!(process.parent_span_id, send.span_context.span_id());
    assert_eq!(set.parent_span_id, process.span_context.span_id());
    assert_eq!(process.links.links[0].span_context.span_id(), send.span_context.span_id());
    let id = appended.id.to_string();
    for span in [send, process] {
        assert_eq!(attributes(span)[names::MESSAGING_MESSAGE_ID].as_str(), id);
        assert_eq!(attributes(span)[names::MESSAGING_DESTINATION_NAME].as_str(), "orders");
    }
    assert!(!format!("{spans:?}").contains(CANARY), "a payload is in a span");
    consumer.drain(Duration::from_secs(5)).await.unwrap();
}
