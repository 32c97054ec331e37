//! The trace propagator for OpenTelemetry, for services to copy, and the tests of traces and metrics.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use redis_actix::{TraceParent, TracePropagator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Connects the spans of stream producers and handlers through `tracing-opentelemetry`.
#[derive(Debug, Clone, Copy)]
pub struct OpenTelemetryPropagator;

impl TracePropagator for OpenTelemetryPropagator {
    fn context_of(&self, span: &Span) -> Option<TraceParent> {
        let context = span.context();
        let context = context.span().span_context().clone();
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
        format!("00-{trace}-{span}-{flags:02x}").parse().ok()
    }

    fn continue_from(&self, span: &Span, producer: TraceParent) {
        let context = SpanContext::new(
            TraceId::from(producer.trace_id()),
            SpanId::from(producer.span_id()),
            TraceFlags::new(u8::from(producer.is_sampled())),
            true,
            TraceState::default(),
        );
        span.add_link(context.clone());
        // One trace from the producer to the handler. Without this line the handler has its own trace with a link.
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
}
