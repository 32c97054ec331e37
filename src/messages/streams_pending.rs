//! Pending entries: listing and claiming them.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::time::{Duration, SystemTime};

use super::stream_id::StreamId;
use super::streams::some_ids;
use super::streams_replies::{
    AutoClaimed, PendingEntry, PendingSummary, StreamEntry, auto_claimed, claimed, pending_entries, pending_summary,
};
use super::unix_millis;
use crate::frame::Frame;

/// An idle time; unlike a time to live it may be 0.
fn idle_millis(idle: Duration) -> u64 {
    u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)
}

command! {
    /// `XPENDING`: a summary of the pending entries of a group; an error if the group does not exist. A read.
    XPending => PendingSummary, by pending_summary
}

impl XPending {
    /// Reads the summary of `group` of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XPENDING").key(key).arg(group.as_ref()).read_only())
    }
}

command! {
    /// `XPENDING` with a range: pending entries ordered by id, with their idle time and delivery count. A read.
    ///
    /// ```
    /// use redis_actix::{Command, XPendingEntries};
    /// use std::time::Duration;
    ///
    /// let stuck = XPendingEntries::new("orders", "billing", .., 100).min_idle(Duration::from_secs(30));
    /// assert_eq!(stuck.frame().args().count(), 8);
    /// ```
    XPendingEntries, rest Frame => Vec<PendingEntry>, by pending_entries
}

impl XPendingEntries {
    /// Reads up to `count` pending entries of `group` of the stream at `key`, with ids in a range: `..`, `id..`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>, ids: impl RangeBounds<StreamId>, count: u64) -> Self {
        let from = StreamId::bound(ids.start_bound(), "-");
        let to = StreamId::bound(ids.end_bound(), "+");
        let mut pending = Self::of(Frame::known("XPENDING").key(key).arg(group.as_ref()).read_only());
        pending.rest = Frame::default().arg(&from[..]).arg(&to[..]).arg(count);
        pending
    }

    /// Only the pending entries of this consumer.
    pub fn consumer(mut self, consumer: impl AsRef<[u8]>) -> Self {
        self.rest = self.rest.arg(consumer.as_ref());
        self
    }

    /// Only entries that were not delivered for this time (whole milliseconds). Needs Redis 6.2.
    pub fn min_idle(mut self, idle: Duration) -> Self {
        self.frame = self.frame.arg("IDLE").arg(idle_millis(idle));
        self
    }
}

command! {
    /// `XCLAIM`: changes the owner of pending entries to this consumer. The reply contains the claimed entries, or
    /// with [`just_id`](Self::just_id) their ids.
    ///
    /// Entries that were removed from the stream are never in the reply. Since Redis 7.0 the server also removes them
    /// from the pending entries; earlier versions keep them pending.
    XClaim<T = Vec<StreamEntry>> => T, by claimed
}

impl XClaim {
    /// Claims the entries with these ids, at least one, for `consumer`, if they were not delivered for `min_idle`
    /// (whole milliseconds, may be 0).
    pub fn new<I: Borrow<StreamId>>(
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        min_idle: Duration,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        let frame = Frame::known("XCLAIM").key(key).arg(group.as_ref()).arg(consumer.as_ref());
        Self::of(some_ids(frame.arg(idle_millis(min_idle)), ids))
    }

    /// Returns ids instead of entries, and does not increment the delivery count.
    pub fn just_id(self) -> XClaim<Vec<StreamId>> {
        XClaim { frame: self.frame.arg("JUSTID"), rest: (), reply: PhantomData }
    }
}

impl<T> XClaim<T> {
    fn with(mut self, option: &str, value: u64) -> Self {
        self.frame = self.frame.arg(option).arg(value);
        self
    }

    /// Sets their idle time (whole milliseconds, default 0).
    pub fn idle(self, idle: Duration) -> Self {
        self.with("IDLE", idle_millis(idle))
    }

    /// Sets the time of their delivery, by the server's clock.
    pub fn time(self, at: SystemTime) -> Self {
        self.with("TIME", unix_millis(at))
    }

    /// Sets their delivery count.
    pub fn retry_count(self, deliveries: u64) -> Self {
        self.with("RETRYCOUNT", deliveries)
    }

    /// Also claims entries of the stream that are not pending.
    pub fn force(mut self) -> Self {
        self.frame = self.frame.arg("FORCE");
        self
    }
}

command! {
    /// `XAUTOCLAIM`: like [`XClaim`] for all entries with a sufficient idle time, page by page. Needs Redis 6.2.
    XAutoClaim<T = StreamEntry> => AutoClaimed<T>, by auto_claimed
}

impl XAutoClaim {
    /// Claims entries with ids from `start` on for `consumer`, if they were not delivered for `min_idle` (whole
    /// milliseconds, may be 0). Start with [`StreamId::MIN`] and continue with the cursor of the reply: the server
    /// examines up to ten times as many entries as it may claim.
    pub fn new(
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        min_idle: Duration,
        start: StreamId,
    ) -> Self {
        let frame = Frame::known("XAUTOCLAIM").key(key).arg(group.as_ref()).arg(consumer.as_ref());
        Self::of(frame.arg(idle_millis(min_idle)).arg(start))
    }

    /// Returns ids instead of entries, and does not increment the delivery count.
    pub fn just_id(self) -> XAutoClaim<StreamId> {
        XAutoClaim { frame: self.frame.arg("JUSTID"), rest: (), reply: PhantomData }
    }
}

impl<T> XAutoClaim<T> {
    /// Claims up to `entries` entries, minimum 1; the server's default is 100.
    pub fn count(mut self, entries: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(entries.max(1));
        self
    }
}
