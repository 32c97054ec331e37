//! The spans of the entries that handlers have.

use std::time::Instant;

use tracing::Span;

use crate::messages::stream_id::StreamId;
use crate::streams::delivery::Delivery;
use crate::streams::machine::ids::IdMap;
use crate::streams::outcome::Outcome;
use crate::streams::trace::TraceParent;
use crate::telemetry::stream;

/// The engine keeps each span until the handler has answered, because handlers drop their deliveries early.
#[derive(Default)]
pub(super) struct ProcessSpans {
    open: IdMap<(Span, Instant)>,
}

impl ProcessSpans {
    pub(super) fn begin<T, R>(&mut self, delivery: &mut Delivery<T, R>) {
        let is_traced = stream::is_enabled();
        if !is_traced && !cfg!(feature = "metrics") {
            return;
        }
        stream::record_lag(delivery.id);
        if is_traced {
            let producer = TraceParent::of_fields(&delivery.fields);
            delivery.span = stream::process_span(&delivery.name, delivery.id, producer);
        }
        self.open.insert(delivery.id, (delivery.span.clone(), Instant::now()));
    }

    /// Without an answer the handler panicked or its actor has ended.
    pub(super) fn end(&mut self, id: StreamId, answer: Option<&Outcome>) {
        let Some((span, begun)) = self.open.remove(&id) else { return };
        let error_type = match answer {
            Some(Outcome::Ack) => None,
            Some(Outcome::Reject(_)) => Some("rejected"),
            Some(Outcome::Failed(_)) => Some("failed"),
            Some(_) => Some("retried"),
            None => Some("unanswered"),
        };
        if let Some(error_type) = error_type {
            stream::fail(&span, error_type);
        }
        stream::record_processing(begun.elapsed(), error_type);
    }
}
