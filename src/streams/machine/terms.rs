//! What goes into the machine of a consumer, and what comes out of it.

use std::time::Duration;

use super::group_position::{GroupPosition, LastEntry};
use crate::messages::stream_id::StreamId;
use crate::streams::events::{DeadLetterReason, StreamEventKind as Notice};

/// The terms of one consumer.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) max_in_flight: usize,
    pub(crate) batch: usize,
    /// So many entries of full pages in a row are a backlog.
    pub(crate) backlog: usize,
    pub(crate) max_bytes: usize,
    pub(crate) block: Duration,
    pub(crate) min_idle: Duration,
    pub(crate) handler_deadline: Duration,
    pub(crate) sweep_every: Duration,
    /// The delays of retries; the last one repeats.
    pub(crate) retry: Vec<Duration>,
    pub(crate) max_deliveries: u64,
    /// Whether entries have an order at all.
    pub(crate) ordered: bool,
    pub(crate) stall_after: Duration,
    /// How often the group is looked at.
    pub(crate) look_every: Duration,
    /// The same while nothing is in hand and nothing comes.
    pub(crate) idle_look: Duration,
    /// After how long without a sign of life consumers with nothing pending are removed, if they are.
    pub(crate) forget_after: Option<Duration>,
}

impl Terms {
    pub(super) fn delay(&self, attempt: u64) -> Duration {
        let nth = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = self.retry.get(nth).or(self.retry.last());
        delay.copied().unwrap_or_default()
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action<P> {
    /// Wait until the reader has a link, and report its client id.
    Connect,
    /// Hold the consumer's name, or go on holding it.
    HoldName,
    /// End what the reader's last link left on the server.
    Reap { client: i64 },
    /// Make the group, if it is not there.
    EnsureGroup { known: Option<GroupPosition>, sample: Option<LastEntry> },
    /// List what is pending for this consumer.
    ListPending { after: Option<StreamId>, count: usize },
    /// Read entries of ours, without having them delivered, to learn which lanes they belong to.
    Peek { ids: Vec<StreamId> },
    /// Have entries delivered again that are still ours, with the delivery counts that they have then.
    Take { entries: Vec<(StreamId, u64)> },
    /// Read new entries, and wait for some where it says so.
    Read { count: usize, blocks: bool },
    /// Let a blocked read go.
    Unblock { client: i64 },
    /// Give the reader's link up, unless a reply is arriving on it.
    Disconnect { why: &'static str },
    /// Claim entries that are idle for `min_idle`, if the server's clock is what it should be, give or take so much. Entries
    /// of this consumer from `unread` on were never received.
    Sweep {
        cursor: StreamId,
        count: usize,
        min_idle: Duration,
        clock: Option<(u64, Duration)>,
        unread: Option<StreamId>,
    },
    /// Renew the leases of entries that a read in flight has delivered.
    RenewUnread(UnreadEntries),
    /// Find out how far the group is. `delivered` is the last entry that it had delivered at the last look.
    RefreshTopology { delivered: Option<StreamId> },
    /// Remove consumers that died and left nothing.
    Forget { idle: Duration },
    /// Acknowledge.
    Ack { flight: u64, ids: Vec<StreamId> },
    /// Tell the server since when entries count as idle.
    Lease { terms: Vec<LeaseTerm> },
    /// Move an entry to the dead letters.
    DeadLetter(DeadLetterRequest),
    /// Hand an entry to its handler; `alone`, if it may be what took its last consumer down.
    Run { id: StreamId, run: u64, attempt: u64, alone: bool, payload: P },
    /// A handler's deadline has passed: report whether it made progress.
    CheckProgress { id: StreamId, run: u64 },
    /// Let a handler's slot go, whatever it does: its answer is of no interest any more.
    GiveUp { id: StreamId },
    /// Tell a handler that its entry is somebody else's now.
    SignalLost { id: StreamId },
    /// Tell whoever asked for events.
    PublishEvent(Notice),
    /// Everything is settled, or the deadline passed.
    Finish,
}

/// The entries that a read in flight may have delivered to this consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnreadEntries {
    /// All of them have this id or a higher one.
    pub(crate) from: StreamId,
    pub(crate) count: usize,
    /// All of them were delivered within this time.
    pub(crate) max_idle: Duration,
}

/// One line of a lease errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseTerm {
    pub(crate) id: StreamId,
    pub(crate) idle: Duration,
    /// The delivery count to set, if it is to change.
    pub(crate) count: Option<u64>,
    /// It goes back to the group, for whoever comes first.
    pub(crate) returned: bool,
    /// The server has forgotten that it is pending: it is to be pending again.
    pub(crate) forced: bool,
}

/// An entry on its way to the dead letters.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterRequest {
    pub(crate) id: StreamId,
    pub(crate) reason: DeadLetterReason,
    pub(crate) error: Option<String>,
    /// How often the server has refused it.
    pub(crate) tries: u32,
}

/// An entry that came from the server; its payload is an error where it could not be decoded.
#[derive(Debug)]
pub(crate) struct Arrival<P> {
    pub(crate) id: StreamId,
    pub(crate) order_key: Option<u64>,
    pub(crate) size: usize,
    pub(crate) payload: Result<P, String>,
}

/// Where an entry belongs in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderPosition {
    Lane {
        order_key: Option<u64>,
        size: usize,
    },
    /// It was removed from the stream.
    Gone,
}

/// What a take brought.
#[derive(Debug)]
pub(crate) enum TakeReply<P> {
    Entry(Arrival<P>),
    /// It was removed from the stream.
    Gone(StreamId),
}
