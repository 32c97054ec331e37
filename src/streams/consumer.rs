//! The handle to a stream consumer.

use std::time::Duration;

use actix::Addr;
use tokio::sync::oneshot;

use super::dead_letters::{DeadLetterFilter, DeadLetters};
use super::events::ConsumerName;
use super::stats::ConsumerStats;
use crate::actors::stream_consumer::{ConsumerActor, DrainReport, Order};
use crate::error::{Error, ErrorKind, Fate, Result};

/// A cheap, cloneable handle to a consumer of one group of one stream.
///
/// The consumer reads on a connection of its own and hands entries to a handler, whose answer is the
/// acknowledgement. Every entry that was added is handled at least once, whatever dies; with
/// [`ordered_by`](crate::StreamConsumerBuilder::ordered_by) in order within a key. It ends by
/// [`drain`](Self::drain), or when its last handle is gone, as if drained within ten seconds.
///
/// ```no_run
/// # use actix::prelude::*;
/// # use redis_actix::{Delivery, Outcome, Redis, StreamConsumer};
/// # #[derive(serde::Deserialize)] struct Order { customer: String }
/// # async fn example(redis: Redis, billing: Recipient<Delivery<Order>>) -> Result<(), redis_actix::Error> {
/// use std::time::Duration;
///
/// let consumer = StreamConsumer::builder("orders", "billing")
///     .max_in_flight(64)
///     .ordered_by(|order: &Order| order.customer.clone())
///     .start::<Order>(&redis, billing)?;
/// // ...
/// consumer.drain(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "the consumer ends when its last handle is dropped"]
pub struct StreamConsumer {
    addr: Addr<ConsumerActor>,
    name: ConsumerName,
    dead_letters: DeadLetters,
}

impl StreamConsumer {
    pub(crate) fn assemble(addr: Addr<ConsumerActor>, name: ConsumerName, dead_letters: DeadLetters) -> Self {
        Self { addr, name, dead_letters }
    }

    /// Which consumer it is; of several streams the first one's.
    #[must_use]
    pub fn name(&self) -> &ConsumerName {
        &self.name
    }

    /// Reads and hands out nothing until [`resume`](Self::resume). Handlers that work finish; what waits for
    /// a handler goes back to the group at once, and that delivery is not counted. With
    /// [`ordered_by`](crate::StreamConsumerBuilder::ordered_by) it stays here instead, so that nothing of its key overtakes
    /// it; entries that wait for another attempt later than `min_idle` stay as well.
    pub fn pause(&self) {
        self.addr.do_send(Order::Pause);
    }

    /// Goes on after [`pause`](Self::pause), or before the end of
    /// [`Outcome::PauseFor`](crate::Outcome::PauseFor).
    pub fn resume(&self) {
        self.addr.do_send(Order::Resume);
    }

    /// What it does and has done, with all its streams together.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when its supervisor gave it up.
    pub async fn stats(&self) -> Result<ConsumerStats> {
        self.stats_by_stream().await.map(ConsumerStats::sum)
    }

    /// As [`stats`](Self::stats), for each of its streams.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when its supervisor gave it up.
    pub async fn stats_by_stream(&self) -> Result<Vec<ConsumerStats>> {
        let (done, stats) = oneshot::channel();
        self.addr.do_send(Order::Stats(done));
        stats.await.map_err(|_| gone())
    }

    /// The dead letters of its group, of the first stream if it has several.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// Sends dead letters of its group back to their stream; see [`DeadLetters::redrive`].
    ///
    /// # Errors
    /// As [`DeadLetters::redrive`].
    pub async fn redrive(&self, filter: DeadLetterFilter) -> Result<u64> {
        self.dead_letters.redrive(filter).await
    }

    /// Ends the consumer: reads and hands out nothing more, waits for handlers, sends what they acknowledged,
    /// gives what waits back to the group, and reports. At the deadline it ends in any case; what was not
    /// acknowledged by then stays pending and is delivered again.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when its supervisor gave it up.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn drain(&self, within: Duration) -> Result<DrainReport> {
        let (done, report) = oneshot::channel();
        self.addr.do_send(Order::Drain { within, done });
        report.await.map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Closed, Fate::Unknown, "the stream consumer has ended")
}
