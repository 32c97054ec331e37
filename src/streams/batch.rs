//! Several entries on their way to a handler at once.

use std::{fmt, slice, vec};

use actix::Message;

use super::delivery::Delivery;
use super::lease::{Held, Lease};
use super::outcome::{IntoBatchOutcome, Outcome};

/// Entries of one stream, handed to a handler together: one message, and one answer for all or for each.
///
/// It holds what was there, at least one entry and at most as many as
/// [`batch`](crate::StreamConsumerBuilder::batch) says. One that is delivered again comes alone: it may be what took
/// its last consumer down. All entries have one deadline, which begins anew with
/// [`progress`](Self::progress). With [`ordered_by`](crate::StreamConsumerBuilder::ordered_by) a batch has at most
/// one entry of a key.
///
/// `R` is what the handler answers: [`Outcome`] for all, or any other [`IntoBatchOutcome`].
///
/// ```
/// use actix::prelude::*;
/// use redis_actix::{Batch, Outcome};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     cents: i64,
/// }
///
/// struct Billing;
///
/// impl Actor for Billing {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Batch<Order, Vec<Outcome>>> for Billing {
///     type Result = MessageResult<Batch<Order, Vec<Outcome>>>;
///
///     fn handle(&mut self, orders: Batch<Order, Vec<Outcome>>, _: &mut Self::Context) -> Self::Result {
///         let outcome = |cents| if cents > 0 { Outcome::Ack } else { Outcome::reject("an order costs something") };
///         MessageResult(orders.iter().map(|order| outcome(order.cents)).collect())
///     }
/// }
/// ```
#[must_use = "entries that are not handled stay pending"]
pub struct Batch<T, R = Outcome> {
    pub(crate) deliveries: Vec<Delivery<T>>,
    pub(crate) lease: Held,
    pub(crate) answer: std::marker::PhantomData<fn() -> R>,
}

impl<T: Send + 'static, R: IntoBatchOutcome> Message for Batch<T, R> {
    type Result = R;
}

impl<T, R> Batch<T, R> {
    /// How many entries it has, at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lease.start();
        self.deliveries.len()
    }

    /// Never true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// The stream's name, without the prefix.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.deliveries.first().map_or("", Delivery::stream)
    }

    /// The entries, each as a handler of single ones gets it, in the order of the stream.
    pub fn deliveries(&self) -> &[Delivery<T>] {
        self.lease.start();
        &self.deliveries
    }

    /// Takes the entries out.
    #[must_use]
    pub fn into_deliveries(self) -> Vec<Delivery<T>> {
        self.lease.start();
        self.deliveries
    }

    /// Takes the payloads out.
    #[must_use]
    pub fn into_payloads(self) -> Vec<T> {
        self.deliveries.into_iter().map(Delivery::into_payload).collect()
    }

    /// Walks over the entries.
    pub fn iter(&self) -> slice::Iter<'_, Delivery<T>> {
        self.lease.start();
        self.deliveries.iter()
    }

    /// Says that the handler gets on: the deadline of all entries begins anew.
    pub fn progress(&self) {
        self.lease.start();
        self.lease.0.progress();
    }

    /// The lease, for the task that works on the batch.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease.start();
        self.lease.0.clone()
    }
}

impl<T, R> IntoIterator for Batch<T, R> {
    type Item = Delivery<T>;
    type IntoIter = vec::IntoIter<Delivery<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.deliveries.into_iter()
    }
}

impl<'a, T, R> IntoIterator for &'a Batch<T, R> {
    type Item = &'a Delivery<T>;
    type IntoIter = slice::Iter<'a, Delivery<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.deliveries.iter()
    }
}

/// Payloads stay out of logs.
impl<T, R> fmt::Debug for Batch<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("stream", &self.stream())
            .field("entries", &self.len())
            .field("first", &self.deliveries.first().map(Delivery::id))
            .finish_non_exhaustive()
    }
}
