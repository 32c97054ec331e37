//! What happens to a stream consumer.

mod log;

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
    /// The group was lost, and with it what was pending in it, and was made again.
    Healed {
        /// It begins behind this entry: where the old one had acknowledged everything, or at the beginning of a
        /// stream that is a new one itself.
        after: StreamId,
    },
    /// Another process bears this consumer's name. This one reads nothing before the other is gone, and what it
    /// had in hand is the other's.
    NameTaken {
        /// What the server calls the reader of the other: its name in `CLIENT LIST`.
        holder: String,
    },
    /// The group has entries to read, and none came: the reader's link is given up and made anew.
    Stalled {
        /// How many entries.
        lag: u64,
        /// For how long.
        lasts: Duration,
    },
    /// The server forbids a command or has none of that name, and the consumer makes do without. It says so once, until it is allowed.
    Degraded {
        /// What is missing, and what that means.
        missing: Missing,
    },
    /// A consumer that had died was removed from the group; it had left nothing behind.
    ConsumerRemoved {
        /// Which.
        name: String,
    },
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
    /// Another client removed this consumer from its group (`XGROUP DELCONSUMER`), and with it what was pending for it.
    /// Entries in hand are handled all the same; one whose handler asks for another attempt is not tried again, for the
    /// server does not know it any more.
    Dropped {
        /// How many entries.
        entries: usize,
    },
    /// Round trips to the server are too long for `min_idle`: leases could lapse between two renewals. What others have left
    /// is taken over later than `min_idle` says.
    SlowRoundTrips {
        /// How long they take on average.
        round_trip: Duration,
        /// After how long entries are taken over instead.
        claims_after: Duration,
    },
    /// So many entries wait for another attempt, or for others of their key, that reading will stop when there are
    /// twice as many.
    ManyDelayed {
        /// How many.
        entries: usize,
        /// How many there may be.
        most: usize,
    },
    /// An entry could not be written to the dead letters: it stays pending, and is tried again, ever more slowly. Said
    /// once until a dead letter is written again.
    DeadLetterFailed {
        /// Which.
        id: StreamId,
        /// Why.
        error: Error,
    },
    /// Scheduled messages were refused by the server when their time had come. They are among the dead letters, with the
    /// reason `schedule`; where those cannot be written they are tried again a minute later.
    ScheduleRefused {
        /// How many.
        messages: u64,
        /// What it said of the last of them.
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

/// What a consumer makes do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Missing {
    /// Scripts (`EVALSHA`). Asking who owns an entry and acting on it are two commands now: between them, somebody
    /// else may take the entry over, and it may be handled twice. A dead letter may be there twice.
    Scripts,
    /// `CLIENT`: a read that hangs is ended by giving its link up, and what the server still delivers to that
    /// link is taken back after `min_idle`.
    Client,
    /// `XINFO`: a group that is lost begins where it was configured to; there is no lag, and no stall is seen.
    Info,
    /// `GET` and `SET` of the name's key: nobody notices when two processes bear one consumer's name.
    Names,
}

impl Missing {
    /// What is missing as one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scripts => "scripts",
            Self::Client => "client",
            Self::Info => "info",
            Self::Names => "names",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
