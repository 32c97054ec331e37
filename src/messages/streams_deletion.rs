//! Streams: deleting entries with their references, returning entries, settings.

use std::borrow::Borrow;
use std::time::Duration;

use redis::Value;

use super::stream_id::StreamId;
use super::streams::some_ids;
use super::{Chosen, choose, decode, shape};
use crate::error::{Error, Result};
use crate::frame::Frame;

/// What happens to references of consumer groups to deleted entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum References {
    /// Keeps them: the entry stays pending. The server's default.
    Keep,
    /// Removes them.
    Delete,
    /// Deletes only entries that every group has acknowledged.
    Acknowledged,
}

impl References {
    fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "KEEPREF",
            Self::Delete => "DELREF",
            Self::Acknowledged => "ACKED",
        }
    }
}

/// The outcome of deleting an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryDeletion {
    /// No such entry, or it is not pending in the group.
    Missing,
    /// The entry was deleted.
    Deleted,
    /// The entry was not deleted, because groups still refer to it.
    Referenced,
}

fn deletions(value: Value) -> Result<Vec<EntryDeletion>> {
    let one = |value| match decode::<i64>(value)? {
        -1 => Ok(EntryDeletion::Missing),
        1 => Ok(EntryDeletion::Deleted),
        2 => Ok(EntryDeletion::Referenced),
        _ => Err(Error::decode("the server returned an unknown status of an entry")),
    };
    shape::items(value)?.into_iter().map(one).collect()
}

/// `IDS count id [id ...]`
fn listed<I: Borrow<StreamId>>(ids: impl IntoIterator<Item = I>) -> Frame {
    let ids = some_ids(Frame::default(), ids);
    Frame::default().arg("IDS").arg(ids.len()).concat(ids)
}

command! {
    /// `XDELEX`: deletes entries. The reply has the outcome of each, in order. Needs Redis 8.2.
    XDelEx => Vec<EntryDeletion>, by deletions
}

impl XDelEx {
    /// Deletes entries, at least one, of the stream at `key`.
    pub fn new<I: Borrow<StreamId>>(
        key: impl AsRef<[u8]>,
        references: References,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        Self::of(Frame::known("XDELEX").key(key).arg(references.as_str()).concat(listed(ids)))
    }
}

command! {
    /// `XACKDEL`: acknowledges and deletes entries. The reply has the outcome of each, in order. Needs Redis 8.2.
    XAckDel => Vec<EntryDeletion>, by deletions
}

impl XAckDel {
    /// Acknowledges entries, at least one, of `group` of the stream at `key`, and deletes them.
    pub fn new<I: Borrow<StreamId>>(
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        references: References,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        let frame = Frame::known("XACKDEL").key(key).arg(group.as_ref()).arg(references.as_str());
        Self::of(frame.concat(listed(ids)))
    }
}

/// Why a consumer returns an entry to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Nack {
    /// The consumer shuts down: the delivery does not count.
    Silent,
    /// The consumer failed: the delivery counts.
    Fail,
    /// The entry cannot be processed: its delivery count becomes the highest.
    Fatal,
}

command! {
    /// `XNACK`: returns entries to the group, so that other consumers get them at once. The reply is the number of
    /// returned entries. Needs Redis 8.8.
    XNack => u64
}

impl XNack {
    /// Returns entries, at least one, of `group` of the stream at `key`.
    pub fn new<I: Borrow<StreamId>>(
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        reason: Nack,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        let word = match reason {
            Nack::Silent => "SILENT",
            Nack::Fail => "FAIL",
            Nack::Fatal => "FATAL",
        };
        Self::of(Frame::known("XNACK").key(key).arg(group.as_ref()).arg(word).concat(listed(ids)))
    }

    /// Sets their delivery count.
    pub fn retry_count(self, deliveries: u64) -> Self {
        self.opt(("RETRYCOUNT", deliveries))
    }

    /// Also returns entries that are not pending.
    pub fn force(self) -> Self {
        self.opt("FORCE")
    }
}

command! {
    /// `XSETID`: sets the last id of a stream, for tools that copy streams. The server replies with an error if the stream
    /// does not exist or has a higher id.
    XSetId => ()
}

impl XSetId {
    /// Sets the last id of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, last: StreamId) -> Self {
        Self::of(Frame::known("XSETID").key(key).arg(last))
    }

    /// Sets the number of entries that were ever added, and the highest id that was deleted. Needs Redis 7.0.
    pub fn counters(self, added: u64, max_deleted: StreamId) -> Self {
        let frame = self.frame.arg(("ENTRIESADDED", added)).arg("MAXDELETEDID").arg(max_deleted);
        Self::of(frame)
    }
}

command! {
    /// `XCFGSET`: sets how long and how many idempotent ids a stream remembers. Needs Redis 8.6.
    XCfgSet, rest Chosen => ()
}

impl XCfgSet {
    /// Changes the stream at `key`. At least one option is needed.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XCFGSET").key(key))
    }

    /// Sets how long an id is remembered (whole seconds, at least 1).
    pub fn idmp_duration(mut self, time: Duration) -> Self {
        let words = ("IDMP-DURATION", time.as_secs().max(1));
        self.frame = choose(&mut self.rest.expiry, "idmp_duration()", self.frame, words);
        self
    }

    /// Sets how many ids of each producer are remembered.
    pub fn idmp_max_size(mut self, ids: u64) -> Self {
        self.frame = choose(&mut self.rest.condition, "idmp_max_size()", self.frame, ("IDMP-MAXSIZE", ids));
        self
    }
}
