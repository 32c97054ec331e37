//! An entry on its way to a handler.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix::Message;
use serde::de::DeserializeOwned;

use super::events::ConsumerName;
use super::lease::{Held, Lease};
use super::outcome::{IntoOutcome, Outcome};
use crate::error::Result;
use crate::messages::{
    fields_search::{from_entry, takes_fields},
    stream_id::StreamId,
    streams_replies::StreamEntry,
};

/// Field names with their values, in order, with duplicates.
pub type RawFields = Vec<(Vec<u8>, Vec<u8>)>;

/// What an entry's fields can be turned into: whatever serde can deserialise from a struct, a map or an enum as
/// [`from_fields`](crate::from_fields) does, `()` for handlers that need none of them, or [`StreamEntry`] for the fields as they are.
/// A type with `#[serde(deny_unknown_fields)]` need not know `traceparent`, the field of the trace.
pub trait FromEntry: Sized + Send + 'static {
    /// Reads it from the entry with this id and these fields.
    ///
    /// # Errors
    /// When a field is missing or does not fit. The entry is moved to the dead letters then.
    fn from_entry(id: StreamId, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Self>;

    /// Whether there are any fields from which it can be read. A consumer is not started for a type without.
    #[must_use]
    fn takes_fields() -> bool {
        true
    }
}

impl<T: DeserializeOwned + Send + 'static> FromEntry for T {
    fn from_entry(_: StreamId, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Self> {
        from_entry(fields)
    }

    fn takes_fields() -> bool {
        takes_fields::<T>()
    }
}

impl FromEntry for StreamEntry {
    fn from_entry(id: StreamId, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Self> {
        Ok(Self { id, fields: fields.to_vec() })
    }
}

/// An entry of a stream, handed to a handler once or more often until it is acknowledged.
///
/// `R` is what the handler answers: [`Outcome`], or any other [`IntoOutcome`].
///
/// ```
/// use actix::prelude::*;
/// use redis_actix::{Delivery, Outcome};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     customer: String,
/// }
///
/// struct Billing;
///
/// impl Actor for Billing {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Delivery<Order>> for Billing {
///     type Result = ResponseFuture<Outcome>;
///
///     fn handle(&mut self, order: Delivery<Order>, _: &mut Self::Context) -> Self::Result {
///         Box::pin(async move {
///             if order.customer.is_empty() { Outcome::reject("no customer") } else { Outcome::Ack }
///         })
///     }
/// }
/// ```
#[must_use = "an entry that is not handled stays pending"]
pub struct Delivery<T, R = Outcome> {
    pub(crate) id: StreamId,
    pub(crate) name: Arc<ConsumerName>,
    pub(crate) attempt: u64,
    pub(crate) fields: RawFields,
    pub(crate) payload: T,
    pub(crate) lease: Held,
    pub(crate) span: tracing::Span,
    pub(crate) answer: std::marker::PhantomData<fn() -> R>,
}

impl<T: Send + 'static, R: IntoOutcome> Message for Delivery<T, R> {
    type Result = R;
}

impl<T, R> Delivery<T, R> {
    /// The entry's id.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.lease.start();
        self.id
    }

    /// The stream's name, without the prefix.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.lease.start();
        &self.name.stream
    }

    /// Which consumer got it.
    #[must_use]
    pub fn consumer(&self) -> &ConsumerName {
        self.lease.start();
        &self.name
    }

    /// Counts attempts, this one included: 1 for the first. An attempt is a handler that was started; what handlers gave
    /// back by [`Outcome::Release`] is not counted. Where it is not known whether an earlier attempt was started, because
    /// its process died, it is counted here: only 1 says that nobody has handled the entry before.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.lease.start();
        self.attempt
    }

    /// How long ago the entry was added, by the server's clock then and this machine's now; 0 where those
    /// disagree.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.lease.start();
        let added = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.id.ms));
        added.and_then(|added| SystemTime::now().duration_since(added).ok()).unwrap_or_default()
    }

    /// The fields as they are on the server.
    #[must_use]
    pub fn fields(&self) -> &[(Vec<u8>, Vec<u8>)] {
        self.lease.start();
        &self.fields
    }

    /// The value of a field, the last one if there are several of that name.
    #[must_use]
    pub fn field(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let wanted = name.as_ref();
        self.lease.start();
        self.fields.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_slice())
    }

    /// What the fields were read into.
    pub fn payload(&self) -> &T {
        self.lease.start();
        &self.payload
    }

    /// Takes the payload out.
    pub fn into_payload(self) -> T {
        self.lease.start();
        self.payload
    }

    /// The lease on the entry, for handlers that take long: see [`Lease::progress`] and [`Lease::lost`].
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease.start();
        self.lease.0.clone()
    }

    /// The span of this delivery, `process {stream}`. Give it to `tracing::Instrument::instrument` for the future of the
    /// handler, so that commands and log lines of the handler belong to it. It ends when the handler has answered. It is
    /// disabled if no subscriber records the target `redis_actix::stream` at DEBUG.
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        self.lease.start();
        self.span.clone()
    }

    /// Says that the handler gets on: its deadline begins anew.
    pub fn progress(&self) {
        self.lease.start();
        self.lease.0.progress();
    }
}

impl<T> Delivery<T> {
    /// The same for a handler that answers otherwise.
    pub(crate) fn answered_by<R>(self) -> Delivery<T, R> {
        let Self { id, name, attempt, fields, payload, lease, span, .. } = self;
        Delivery { id, name, attempt, fields, payload, lease, span, answer: std::marker::PhantomData }
    }
}

impl<T, R> std::ops::Deref for Delivery<T, R> {
    type Target = T;

    fn deref(&self) -> &T {
        self.lease.start();
        &self.payload
    }
}

/// Payloads stay out of logs.
impl<T, R> fmt::Debug for Delivery<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("stream", &self.name.stream)
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
