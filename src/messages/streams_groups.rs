//! Consumer groups of streams: creating, reading, acknowledging, and information.

use std::borrow::Borrow;
use std::time::Duration;

use super::stream_id::StreamId;
use super::streams::some_ids;
use super::streams_reads::Streams;
use super::streams_replies::{
    ConsumerInfo, GroupInfo, StreamInfo, StreamPage, consumer_infos, group_infos, pages, stream_info,
};
use crate::frame::{Frame, ReplyKeys};
use crate::prefix::waits::milliseconds;

command! {
    /// `XGROUP CREATE`: creates a consumer group. The server replies with `BUSYGROUP` if it exists. Names of groups
    /// and consumers get no prefix, because they belong to the stream.
    ///
    /// ```
    /// use redis_actix::{Command, XGroupCreate};
    ///
    /// let frame = XGroupCreate::new("orders", "billing").mkstream().frame();
    /// assert_eq!(frame.name(), "XGROUP CREATE");
    /// ```
    XGroupCreate, rest Start => ()
}

/// The start position of a group.
#[derive(Clone, Copy, Default)]
struct Start {
    at: Position,
    mkstream: bool,
    entries_read: Option<u64>,
}

#[derive(Clone, Copy)]
enum Position {
    After(StreamId),
    End,
}

impl Default for Position {
    fn default() -> Self {
        Self::After(StreamId::MIN)
    }
}

impl super::Rest for Start {
    fn finish(self, head: Frame) -> Frame {
        let frame = match self.at {
            Position::After(id) => head.arg(id),
            Position::End => head.arg("$"),
        };
        let frame = if self.mkstream { frame.arg("MKSTREAM") } else { frame };
        match self.entries_read {
            Some(read) => frame.arg("ENTRIESREAD").arg(read),
            None => frame,
        }
    }
}

impl XGroupCreate {
    /// Creates `group` for the stream at `key`. It receives every entry that the stream has and will have.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP CREATE").key(key).arg(group.as_ref()))
    }

    /// Starts after `id`.
    pub fn start_after(mut self, id: StreamId) -> Self {
        self.rest.at = Position::After(id);
        self
    }

    /// Starts with entries that are added from now on, and skips existing ones.
    pub fn start_at_end(mut self) -> Self {
        self.rest.at = Position::End;
        self
    }

    /// Creates an empty stream if it does not exist.
    pub fn mkstream(mut self) -> Self {
        self.rest.mkstream = true;
        self
    }

    /// Sets how many entries count as read by the group, which determines its lag. Needs Redis 7.0.
    pub fn entries_read(mut self, entries: u64) -> Self {
        self.rest.entries_read = Some(entries);
        self
    }
}

command! {
    /// `XGROUP SETID`: moves the read position of a group. Pending entries stay pending.
    XGroupSetId, rest Start => ()
}

impl XGroupSetId {
    /// Sets the position of `group` of the stream at `key` to after `id`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>, id: StreamId) -> Self {
        let mut set = Self::of(Frame::known("XGROUP SETID").key(key).arg(group.as_ref()));
        set.rest.at = Position::After(id);
        set
    }

    /// Lets `group` skip all existing entries.
    pub fn end(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        let mut set = Self::new(key, group, StreamId::MIN);
        set.rest.at = Position::End;
        set
    }

    /// Sets how many entries count as read by the group, which determines its lag. Needs Redis 7.0.
    pub fn entries_read(mut self, entries: u64) -> Self {
        self.rest.entries_read = Some(entries);
        self
    }
}

command! {
    /// `XGROUP DESTROY`: removes a group with its pending entries. The reply is whether it existed.
    XGroupDestroy => bool
}

impl XGroupDestroy {
    /// Removes `group` from the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP DESTROY").key(key).arg(group.as_ref()))
    }
}

command! {
    /// `XGROUP CREATECONSUMER`: creates a consumer. The reply is whether it is new. Reading creates one as well.
    /// Needs Redis 6.2.
    XGroupCreateConsumer => bool
}

impl XGroupCreateConsumer {
    /// Creates `consumer` in `group` of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>, consumer: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP CREATECONSUMER").key(key).arg(group.as_ref()).arg(consumer.as_ref()))
    }
}

command! {
    /// `XGROUP DELCONSUMER`: removes a consumer. The reply is the number of pending entries that were removed with
    /// it. The group loses these entries: claim them before.
    XGroupDelConsumer => u64
}

impl XGroupDelConsumer {
    /// Removes `consumer` from `group` of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>, consumer: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP DELCONSUMER").key(key).arg(group.as_ref()).arg(consumer.as_ref()))
    }
}

command! {
    /// `XREADGROUP`: reads entries as a consumer of a group. They are pending until they are acknowledged. The reply
    /// contains only streams with entries. It blocks only with [`block`](Self::block). It does not count as a read: a
    /// retry would return other entries, and leave the first ones pending.
    ///
    /// ```
    /// use redis_actix::{Command, XReadGroup};
    ///
    /// let frame = XReadGroup::new("billing", "pod-1", ["orders"]).count(10).frame();
    /// assert_eq!(frame.args().last(), Some(&b">"[..]));
    /// ```
    XReadGroup, rest Streams => Vec<StreamPage>, by pages
}

impl XReadGroup {
    fn streams(group: impl AsRef<[u8]>, consumer: impl AsRef<[u8]>, streams: Streams) -> Self {
        let frame = Frame::known("XREADGROUP").arg("GROUP").arg(group.as_ref()).arg(consumer.as_ref());
        let mut read = Self::of(frame.reply_keys(ReplyKeys::Streams));
        read.rest = streams;
        read
    }

    /// Reads entries that were delivered to no consumer of `group`, from each of the streams, at least one.
    pub fn new<K: AsRef<[u8]>>(
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        Self::streams(group, consumer, Streams::of(keys.into_iter().map(|key| (key, ">"))))
    }

    /// Reads the pending entries of `consumer` again, after the given id of each stream. Entries that were removed
    /// meanwhile have no fields; see [`StreamEntry::is_deleted`](crate::StreamEntry::is_deleted).
    pub fn history<K: AsRef<[u8]>>(
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        streams: impl IntoIterator<Item = (K, StreamId)>,
    ) -> Self {
        Self::streams(group, consumer, Streams::of(streams))
    }

    /// Reads up to `entries` entries of each stream, minimum 1.
    pub fn count(mut self, entries: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(entries.max(1));
        self
    }

    /// First claims entries that are pending for any consumer and were not delivered for `min_idle` (whole
    /// milliseconds), and increments their delivery count. Needs Redis 8.4.
    pub fn claim(mut self, min_idle: Duration) -> Self {
        self.frame = self.frame.arg("CLAIM").arg(u64::try_from(min_idle.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Acknowledges the entries on delivery: an entry that is lost in transit is lost.
    pub fn no_ack(mut self) -> Self {
        self.frame = self.frame.arg("NOACK");
        self
    }

    /// Blocks for up to `longest` for an entry, at least 1 millisecond, on a dedicated connection; see
    /// [`BLPop`](crate::BLPop). `Duration::MAX` is 49 days. After a cancellation delivered entries stay pending for
    /// the consumer, and [`ConnectionEvent::MayBeLost`](crate::ConnectionEvent::MayBeLost) is reported.
    pub fn block(mut self, longest: Duration) -> Self {
        let longest = milliseconds(longest);
        self.frame = self.frame.arg("BLOCK").arg(longest).hold(Duration::from_millis(longest));
        self
    }
}

command! {
    /// `XACK`: acknowledges entries, which are then no longer pending. The reply is the number of entries that were
    /// pending.
    XAck => u64
}

impl XAck {
    /// Acknowledges the entries with these ids, at least one, in `group` of the stream at `key`.
    pub fn new<I: Borrow<StreamId>>(
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        Self::of(some_ids(Frame::known("XACK").key(key).arg(group.as_ref()), ids))
    }
}

command! {
    /// `XINFO STREAM`: information about a stream; an error if the key does not exist. A read.
    XInfoStream => StreamInfo, by stream_info
}

impl XInfoStream {
    /// Reads information about the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XINFO STREAM").key(key).read_only())
    }
}

command! {
    /// `XINFO GROUPS`: the groups of a stream; an error if the key does not exist. A read.
    XInfoGroups => Vec<GroupInfo>, by group_infos
}

impl XInfoGroups {
    /// Reads the groups of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XINFO GROUPS").key(key).read_only())
    }
}

command! {
    /// `XINFO CONSUMERS`: the consumers of a group; an error if the key or the group does not exist. A read.
    XInfoConsumers => Vec<ConsumerInfo>, by consumer_infos
}

impl XInfoConsumers {
    /// Reads the consumers of `group` of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XINFO CONSUMERS").key(key).arg(group.as_ref()).read_only())
    }
}
