//! What happens to a stream consumer.

use std::{fmt, sync::Arc, time::Duration};

use actix::Message;

use crate::error::Error;
use crate::messages::stream_id::StreamId;

/// Which consumer of which group of which stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ConsumerName {
    /// The stream, without the prefix.
    pub stream: Arc<str>,
    /// The group.
    pub group: Arc<str>,
    /// The consumer.
    pub consumer: Arc<str>,
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.stream, self.group, self.consumer)
    }
}

/// Something happened to a consumer; sent to every recipient of
/// [`on_event`](crate::StreamConsumerBuilder::on_event).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamEvent {
    /// To whom.
    pub consumer: ConsumerName,
    /// What.
    pub kind: StreamEventKind,
}

/// The kinds of [`StreamEvent`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StreamEventKind {
    /// The group was not there and was made.
    GroupCreated,
    /// Entries are read: the reader is connected, and what was pending for this consumer is in hand.
    Connected {
        /// How many entries were pending for this consumer and are delivered again.
        recovered: u64,
    },
    /// The reader's link was lost; it comes back by itself.
    Disconnected {
        /// Why.
        cause: Error,
    },
    /// Entries were taken over whose consumers left them.
    Claimed {
        /// How many.
        entries: usize,
    },
    /// Entries were trimmed from the stream or deleted before they could be delivered again: they are gone.
    Trimmed {
        /// Which.
        ids: Vec<StreamId>,
    },
    /// Somebody else has taken an entry over that a handler still works on: it may run twice.
    LeaseLost {
        /// Which.
        id: StreamId,
    },
    /// A handler did not answer within its deadline; the entry will be delivered again.
    TimedOut {
        /// Which.
        id: StreamId,
        /// Counts its deliveries.
        attempt: u64,
    },
    /// An entry is among the dead letters now.
    DeadLettered {
        /// Which.
        id: StreamId,
        /// Why.
        reason: DeadLetterReason,
    },
    /// An entry could not be written to the dead letters: it stays pending, and is tried again.
    DeadLetterFailed {
        /// Which.
        id: StreamId,
        /// Why.
        error: Error,
    },
    /// The server refuses what the consumer needs; tried again, ever slower.
    Trouble {
        /// What it said.
        error: Error,
    },
    /// Nothing is read or handed out any more.
    Paused {
        /// For how long, if a handler asked for it; else until `resume`.
        lasts: Option<Duration>,
    },
    /// Reading goes on.
    Resumed,
    /// The handler's actor has ended: the consumer hands back what it has, and ends.
    HandlerGone,
    /// The supervisor restarted the consumer. What it had in hand is delivered again.
    Restarted {
        /// Why.
        reason: String,
    },
    /// Nothing more is read or handed out; handlers finish.
    Draining,
    /// It is over for good.
    Closed,
}

/// Why an entry is among the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// The handler rejected it.
    Rejected,
    /// It was delivered as often as allowed.
    MaxDeliveries,
    /// It does not fit the type that the handler takes.
    Decode,
}

impl DeadLetterReason {
    /// The reason as one lower-case word, as the dead letter has it in its field `dead:reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::MaxDeliveries => "max_deliveries",
            Self::Decode => "decode",
        }
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Message for StreamEvent {
    type Result = ();
}

impl StreamEvent {
    /// One line for the log, at the level an operator would want it.
    pub(crate) fn log(&self) {
        use StreamEventKind as Kind;
        let consumer = &self.consumer;
        match &self.kind {
            Kind::GroupCreated => tracing::info!(%consumer, "made the consumer group"),
            Kind::Connected { recovered } => tracing::info!(%consumer, recovered, "reading the stream"),
            Kind::Disconnected { cause } => tracing::warn!(%consumer, %cause, "the stream's reader lost its link"),
            Kind::Claimed { entries } => tracing::info!(%consumer, entries, "took over what others had left"),
            Kind::Trimmed { ids } => {
                tracing::error!(%consumer, entries = ids.len(), "entries were trimmed before they were handled");
            }
            Kind::LeaseLost { id } => tracing::warn!(%consumer, %id, "somebody else has taken an entry over"),
            Kind::TimedOut { id, attempt } => tracing::warn!(%consumer, %id, attempt, "a handler took too long"),
            Kind::DeadLettered { id, reason } => {
                tracing::warn!(%consumer, %id, %reason, "moved an entry to the dead letters");
            }
            Kind::DeadLetterFailed { id, error } => {
                tracing::error!(%consumer, %id, %error, "a dead letter could not be written");
            }
            Kind::Trouble { error } => tracing::error!(%consumer, %error, "the stream cannot be consumed"),
            Kind::Paused { lasts } => tracing::info!(%consumer, ?lasts, "paused"),
            Kind::Resumed => tracing::info!(%consumer, "resumed"),
            Kind::HandlerGone => tracing::error!(%consumer, "the handler's actor has ended, so does the consumer"),
            Kind::Restarted { reason } => tracing::error!(%consumer, reason, "the consumer was restarted"),
            Kind::Draining => tracing::info!(%consumer, "finishing what is in hand"),
            Kind::Closed => tracing::info!(%consumer, "closed"),
        }
    }
}
