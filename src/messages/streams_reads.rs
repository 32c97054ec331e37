//! Streams: reading by range, and after an id.

use std::ops::RangeBounds;
use std::time::Duration;

use redis::ToSingleRedisArg;

use super::Rest;
use super::stream_id::StreamId;
use super::streams_replies::{StreamEntry, StreamPage, pages};
use crate::frame::{Frame, ReplyKeys};
use crate::prefix::waits::milliseconds;

const NO_STREAM: &str = "needs at least one stream";

command! {
    /// `XLEN`: the number of entries of a stream, 0 if the key does not exist. A read.
    XLen => u64
}

impl XLen {
    /// Counts the entries of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XLEN").key(key).read_only())
    }
}

command! {
    /// `XRANGE`: entries of a stream, oldest first; empty if there are none or the key does not exist. A read.
    ///
    /// ```
    /// use redis_actix::{Command, StreamId, XRange};
    ///
    /// let page = XRange::new("orders", StreamId::new(1_700_000_000_000, 0)..).count(100);
    /// assert_eq!(page.frame().args().nth(3), Some(&b"+"[..]));
    /// ```
    XRange => Vec<StreamEntry>
}

impl XRange {
    /// Reads the entries of the stream at `key` with ids in a range: `..`, `id..`, `first..=last`. An excluded bound
    /// needs Redis 6.2.
    pub fn new(key: impl AsRef<[u8]>, ids: impl RangeBounds<StreamId>) -> Self {
        let from = StreamId::bound(ids.start_bound(), "-");
        let to = StreamId::bound(ids.end_bound(), "+");
        Self::of(Frame::known("XRANGE").key(key).arg(&from[..]).arg(&to[..]).read_only())
    }

    /// Reads up to `entries` entries, minimum 1.
    pub fn count(mut self, entries: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(entries.max(1));
        self
    }
}

command! {
    /// `XREVRANGE`: entries of a stream, newest first; empty if there are none or the key does not exist. A read.
    XRevRange => Vec<StreamEntry>
}

impl XRevRange {
    /// Reads the entries of the stream at `key` with ids in a range. The lower bound comes first, as for [`XRange`].
    pub fn new(key: impl AsRef<[u8]>, ids: impl RangeBounds<StreamId>) -> Self {
        let from = StreamId::bound(ids.start_bound(), "-");
        let to = StreamId::bound(ids.end_bound(), "+");
        Self::of(Frame::known("XREVRANGE").key(key).arg(&to[..]).arg(&from[..]).read_only())
    }

    /// Reads up to `entries` entries, minimum 1.
    pub fn count(mut self, entries: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(entries.max(1));
        self
    }
}

/// The streams of XREAD and XREADGROUP with their start ids: all names, then all ids.
#[derive(Clone, Default)]
pub(super) struct Streams {
    keys: Frame,
    ids: Frame,
}

impl Streams {
    pub(super) fn of<K: AsRef<[u8]>, I: ToSingleRedisArg>(streams: impl IntoIterator<Item = (K, I)>) -> Self {
        streams
            .into_iter()
            .fold(Self::default(), |all, (key, id)| Self { keys: all.keys.key(key), ids: all.ids.arg(id) })
    }
}

impl Rest for Streams {
    fn finish(self, head: Frame) -> Frame {
        let head = if self.ids.len() == 0 { head.invalid(NO_STREAM) } else { head };
        head.arg("STREAMS").concat(self.keys).concat(self.ids)
    }
}

command! {
    /// `XREAD`: entries after given ids of one or several streams. The reply contains only streams with entries. It
    /// blocks only with [`block`](Self::block). A read.
    ///
    /// ```
    /// use redis_actix::{Command, StreamId, XRead};
    ///
    /// let frame = XRead::new([("orders", StreamId::MIN)]).count(10).frame();
    /// assert_eq!(frame.args().last(), Some(&b"0-0"[..]));
    /// ```
    XRead, rest Streams => Vec<StreamPage>, by pages
}

impl XRead {
    /// Reads each stream, at least one, after its id. In a cluster all must be in one slot.
    pub fn new<K: AsRef<[u8]>>(streams: impl IntoIterator<Item = (K, StreamId)>) -> Self {
        let mut read = Self::of(Frame::known("XREAD").read_only().reply_keys(ReplyKeys::Streams));
        read.rest = Streams::of(streams);
        read
    }

    /// Reads up to `entries` entries of each stream, minimum 1.
    pub fn count(mut self, entries: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(entries.max(1));
        self
    }

    /// Blocks for up to `longest` for an entry, at least 1 millisecond, on a dedicated connection; see
    /// [`BLPop`](crate::BLPop). `Duration::MAX` is 49 days.
    pub fn block(mut self, longest: Duration) -> Self {
        let longest = milliseconds(longest);
        self.frame = self.frame.arg("BLOCK").arg(longest).hold(Duration::from_millis(longest));
        self
    }
}
