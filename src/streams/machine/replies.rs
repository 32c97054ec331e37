//! The server's replies, as the machine gets them.

use std::time::Duration;

use crate::messages::stream_id::StreamId;

/// What a sweep brought.
#[derive(Debug)]
pub(crate) struct SweepReply {
    /// The server's clock, in milliseconds since the Unix epoch.
    pub(crate) clock: u64,
    /// What other consumers have handed back, with the counts of its deliveries and how long it is idle.
    pub(crate) returned: Vec<(StreamId, u64, Duration)>,
    /// Nothing where the clock was not what it should be.
    pub(crate) claims: Option<ClaimReply>,
}

/// What came of telling the server terms.
#[derive(Debug, Default)]
pub(crate) struct LeaseReply {
    /// Entries that are somebody else's.
    pub(crate) lost: Vec<StreamId>,
    /// Entries that are pending for nobody.
    pub(crate) absent: Vec<StreamId>,
    /// Entries that were removed from the stream.
    pub(crate) gone: Vec<StreamId>,
}

/// A page of entries that others had left.
#[derive(Debug, Default)]
pub(crate) struct ClaimReply {
    pub(crate) cursor: StreamId,
    pub(crate) entries: Vec<ClaimedEntry>,
    /// Entries that were removed from the stream.
    pub(crate) gone: Vec<StreamId>,
}

/// An entry that was idle for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClaimedEntry {
    pub(crate) id: StreamId,
    pub(crate) deliveries: u64,
    /// It was pending for this consumer, and its id is higher than any that this consumer has received.
    pub(crate) is_unread: bool,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadLetterOutcome {
    Written,
    NotOurs,
    Gone,
}
