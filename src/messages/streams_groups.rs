//! Consumer groups of streams: making them, reading through them, acknowledging, asking about them.

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
    /// `XGROUP CREATE`: makes a consumer group; the server answers `BUSYGROUP` when there is one of that
    /// name. Names of groups and consumers get no prefix: they belong to the stream.
    ///
    /// ```
    /// use redis_actix::{Command, XGroupCreate};
    ///
    /// let frame = XGroupCreate::new("orders", "billing").mkstream().frame();
    /// assert_eq!(frame.name(), "XGROUP CREATE");
    /// ```
    XGroupCreate, rest Start => ()
}

/// Where a group begins to read.
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
    /// Makes `group` for the stream at `key`. It gets every entry that the stream has and will have.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP CREATE").key(key).arg(group.as_ref()))
    }

    /// Begins behind `id`.
    pub fn start_after(mut self, id: StreamId) -> Self {
        self.rest.at = Position::After(id);
        self
    }

    /// Begins with what is added from now on, and skips what the stream has.
    pub fn start_at_end(mut self) -> Self {
        self.rest.at = Position::End;
        self
    }

    /// Makes an empty stream if there is none, instead of an error.
    pub fn mkstream(mut self) -> Self {
        self.rest.mkstream = true;
        self
    }

    /// Says how many entries the group counts as read, for its lag. Needs Redis 7.0.
    pub fn entries_read(mut self, entries: u64) -> Self {
        self.rest.entries_read = Some(entries);
        self
    }
}

command! {
    /// `XGROUP SETID`: lets a group go on reading somewhere else. What is pending stays pending.
    XGroupSetId, rest Start => ()
}

impl XGroupSetId {
    /// Lets `group` of the stream at `key` go on behind `id`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>, id: StreamId) -> Self {
        let mut set = Self::of(Frame::known("XGROUP SETID").key(key).arg(group.as_ref()));
        set.rest.at = Position::After(id);
        set
    }

    /// Lets `group` skip all that the stream has.
    pub fn end(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        let mut set = Self::new(key, group, StreamId::MIN);
        set.rest.at = Position::End;
        set
    }

    /// Says how many entries the group counts as read, for its lag. Needs Redis 7.0.
    pub fn entries_read(mut self, entries: u64) -> Self {
        self.rest.entries_read = Some(entries);
        self
    }
}

command! {
    /// `XGROUP DESTROY`: removes a group with all that is pending in it; the reply is whether it was there.
    XGroupDestroy => bool
}

impl XGroupDestroy {
    /// Removes `group` from the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP DESTROY").key(key).arg(group.as_ref()))
    }
}

command! {
    /// `XGROUP CREATECONSUMER`: makes a consumer; the reply is whether it is new. Reading makes one too.
    /// Needs Redis 6.2.
    XGroupCreateConsumer => bool
}

impl XGroupCreateConsumer {
    /// Makes `consumer` in `group` of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>, consumer: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP CREATECONSUMER").key(key).arg(group.as_ref()).arg(consumer.as_ref()))
    }
}

command! {
    /// `XGROUP DELCONSUMER`: removes a consumer; the reply is how many pending entries went with it. Those
    /// are lost to the group: claim them first.
    XGroupDelConsumer => u64
}

impl XGroupDelConsumer {
    /// Removes `consumer` from `group` of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>, consumer: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XGROUP DELCONSUMER").key(key).arg(group.as_ref()).arg(consumer.as_ref()))
    }
}

command! {
    /// `XREADGROUP`: entries as a consumer of a group, which are pending until they are acknowledged; only
    /// streams that have some are in the reply. It waits only with [`block`](Self::block). Not a read: sent again, it would answer
    /// other entries, and leave the first ones pending.
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

    /// Reads what no consumer of `group` has got yet, of each of the streams, at least one.
    pub fn new<K: AsRef<[u8]>>(
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        Self::streams(group, consumer, Streams::of(keys.into_iter().map(|key| (key, ">"))))
    }

    /// Reads again what is pending for `consumer`, of each stream from behind its id on. Entries that were
    /// removed meanwhile come without fields; see [`StreamEntry::is_deleted`](crate::StreamEntry::is_deleted).
    pub fn history<K: AsRef<[u8]>>(
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        streams: impl IntoIterator<Item = (K, StreamId)>,
    ) -> Self {
        Self::streams(group, consumer, Streams::of(streams))
    }

    /// Reads at most that many entries of each stream, at least 1.
    pub fn count(mut self, entries: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(entries.max(1));
        self
    }

    /// Reads first what is pending for anybody and was not delivered for `min_idle` (whole milliseconds), makes it
    /// pending for this consumer and counts a delivery. Needs Redis 8.4.
    pub fn claim(mut self, min_idle: Duration) -> Self {
        self.frame = self.frame.arg("CLAIM").arg(u64::try_from(min_idle.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Takes the entries as acknowledged: what is lost on the way is lost.
    pub fn no_ack(mut self) -> Self {
        self.frame = self.frame.arg("NOACK");
        self
    }

    /// Waits up to `longest` for an entry, at least a millisecond, on a connection of its own; see
    /// [`BLPop`](crate::BLPop). `Duration::MAX` is 49 days. What was delivered to a caller who went away stays
    /// pending of its consumer, and
    /// [`ConnectionEvent::MayBeLost`](crate::ConnectionEvent::MayBeLost) says so.
    pub fn block(mut self, longest: Duration) -> Self {
        let longest = milliseconds(longest);
        self.frame = self.frame.arg("BLOCK").arg(longest).hold(Duration::from_millis(longest));
        self
    }
}

command! {
    /// `XACK`: acknowledges entries, which are then no longer pending; the reply is how many of them were.
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
    /// `XINFO STREAM`: what the server knows about a stream; an error when there is no such key. A read.
    XInfoStream => StreamInfo, by stream_info
}

impl XInfoStream {
    /// Asks about the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XINFO STREAM").key(key).read_only())
    }
}

command! {
    /// `XINFO GROUPS`: the groups of a stream; an error when there is no such key. A read.
    XInfoGroups => Vec<GroupInfo>, by group_infos
}

impl XInfoGroups {
    /// Asks about the groups of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XINFO GROUPS").key(key).read_only())
    }
}

command! {
    /// `XINFO CONSUMERS`: the consumers of a group; an error when there is no such key or group. A read.
    XInfoConsumers => Vec<ConsumerInfo>, by consumer_infos
}

impl XInfoConsumers {
    /// Asks about the consumers of `group` of the stream at `key`.
    pub fn new(key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XINFO CONSUMERS").key(key).arg(group.as_ref()).read_only())
    }
}
