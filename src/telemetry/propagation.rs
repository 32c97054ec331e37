//! The connection between `tracing` spans and the trace that a stream entry carries.

use std::sync::OnceLock;

use tracing::Span;

use crate::streams::trace::TraceParent;

/// Reads and links the trace context of spans, for the tracing backend of the service. See
/// [`set_trace_propagator`].
pub trait TracePropagator: Send + Sync {
    /// The context of this span, to be written to a stream entry. `None` if it belongs to no trace.
    fn context_of(&self, span: &Span) -> Option<TraceParent>;

    /// Connects `span`, which handles an entry, with the span that added the entry: as its parent, by a link, or both.
    fn continue_from(&self, span: &Span, producer: TraceParent);
}

static PROPAGATOR: OnceLock<Box<dyn TracePropagator>> = OnceLock::new();

/// Sets the propagator of the process. Afterwards [`Producer::append`](crate::Producer::append) writes `traceparent` to
/// entries that have none, if its span is recorded, and the span of a handler is connected with the span of the producer.
/// Returns whether it was set: the first call wins.
///
/// The crate has no dependency on a tracing backend. With `tracing-opentelemetry` an implementation has 20 lines; the
/// guide has it in the chapter on operating.
pub fn set_trace_propagator(propagator: impl TracePropagator + 'static) -> bool {
    PROPAGATOR.set(Box::new(propagator)).is_ok()
}

pub(crate) fn context_of(span: &Span) -> Option<TraceParent> {
    PROPAGATOR.get()?.context_of(span)
}

pub(crate) fn link(span: &Span, producer: Option<TraceParent>) {
    if let (Some(propagator), Some(producer)) = (PROPAGATOR.get(), producer) {
        propagator.continue_from(span, producer);
    }
}
