//! The spans of stream producers and handlers.

use std::time::Duration;

use tracing::{Level, Span, field::Empty};

use super::propagation;
use crate::error::Error;
use crate::messages::stream_id::StreamId;
use crate::streams::events::ConsumerName;
use crate::streams::trace::TraceParent;

/// The target of the spans of streams, for filters.
pub(crate) const STREAMS: &str = "redis_actix::stream";

/// `send {stream}`: a message is added to a stream.
pub(crate) fn send_span(stream: &str) -> Span {
    if !tracing::enabled!(target: STREAMS, Level::DEBUG) {
        return Span::none();
    }
    tracing::debug_span!(
        target: STREAMS,
        "redis.send",
        otel.name = format!("send {stream}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = "redis",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = stream,
        messaging.message.id = Empty,
        error.type = Empty,
    )
}

/// Records the outcome of [`send_span`].
pub(crate) fn sent(span: &Span, id: Result<StreamId, &Error>) {
    match id {
        Ok(id) => {
            span.record("messaging.message.id", tracing::field::display(id));
        }
        Err(error) => fail(span, super::error_type(error)),
    }
}

/// `process {stream}`: a handler has an entry. The propagator connects it with the span of the producer.
pub(crate) fn process_span(name: &ConsumerName, id: StreamId, producer: Option<TraceParent>) -> Span {
    let span = tracing::debug_span!(
        target: STREAMS,
        parent: None,
        "redis.process",
        otel.name = format!("process {}", name.stream),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "redis",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = &*name.stream,
        messaging.consumer.group.name = &*name.group,
        messaging.client.id = &*name.consumer,
        messaging.message.id = %id,
        error.type = Empty,
    );
    propagation::link(&span, producer);
    span
}

/// Whether anything records [`process_span`].
pub(crate) fn is_enabled() -> bool {
    tracing::enabled!(target: STREAMS, Level::DEBUG)
}

/// Marks a span as failed.
pub(crate) fn fail(span: &Span, error_type: &str) {
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
}

/// The time from XADD to the start of handling, by the clocks of the server and of this machine.
#[cfg(feature = "metrics")]
pub(crate) fn record_lag(id: StreamId) {
    let now = crate::messages::unix_millis(std::time::SystemTime::now());
    metrics::histogram!("redis.client.stream.lag").record(now.saturating_sub(id.ms) as f64 / 1000.0);
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn record_lag(_: StreamId) {}

/// The time from handing an entry out to the handler's answer.
#[cfg(feature = "metrics")]
pub(crate) fn record_processing(took: Duration, error_type: Option<&'static str>) {
    let outcome = error_type.unwrap_or("ok");
    metrics::histogram!("messaging.process.duration", "messaging.system" => "redis", "outcome" => outcome)
        .record(took.as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn record_processing(_: Duration, _: Option<&'static str>) {}
