//! What stream commands answer, taken from the answer by move. RESP2 and RESP3, and servers from 6.2 on.

use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Value};
use serde::de::DeserializeOwned;

use super::stream_id::StreamId;
use super::{decode, fields_search::from_entry, shape};
use crate::error::Result;

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Its fields with their values, in order, with all duplicates.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl StreamEntry {
    /// The value of a field, the last one if there are several of that name.
    #[must_use]
    pub fn get(&self, field: impl AsRef<[u8]>) -> Option<&[u8]> {
        let wanted = field.as_ref();
        self.fields.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| &value[..])
    }

    /// Whether the entry was removed from the stream while it was pending: it has no fields then, which no
    /// entry can be added without.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.fields.is_empty()
    }

    /// Reads a struct, a map or an enum from the fields, as [`from_fields`](crate::from_fields) does.
    ///
    /// ```
    /// use redis_actix::{StreamEntry, StreamId};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     total: f64,
    /// }
    ///
    /// let fields = vec![(b"total".to_vec(), b"9.5".to_vec())];
    /// let order: Order = StreamEntry { id: StreamId::new(1, 0), fields }.decode()?;
    /// assert_eq!(order.total, 9.5);
    /// # Ok::<(), redis_actix::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a field is missing or does not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        from_entry(&self.fields)
    }

    fn from_value(value: Value) -> Result<Self> {
        let mut parts = shape::items(value)?.into_iter();
        let id = StreamId::from_value(shape::next(&mut parts)?)?;
        // Nil in the place of fields: the entry was removed while it was pending.
        let fields = match shape::next(&mut parts)? {
            Value::Nil => Vec::new(),
            fields => fields_of(fields)?,
        };
        Ok(Self { id, fields })
    }
}

fn fields_of(value: Value) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    shape::pairs(value)?.into_iter().map(|(name, value)| Ok((shape::bytes(name)?, shape::bytes(value)?))).collect()
}

impl FromRedisValue for StreamEntry {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Ok(Self::from_value(value)?)
    }
}

/// What was read of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StreamPage {
    /// The name of the stream, without the prefix.
    pub stream: Vec<u8>,
    /// Its entries, oldest first.
    pub entries: Vec<StreamEntry>,
}

/// A list; nil, as servers answer for a missing one, is an empty list.
fn list<T>(value: Value, take: impl FnMut(Value) -> Result<T>) -> Result<Vec<T>> {
    match value {
        Value::Nil => Ok(Vec::new()),
        value => shape::items(value)?.into_iter().map(take).collect(),
    }
}

/// RESP2: an array of names with entries. RESP3: a map. Nil when there is nothing.
pub(super) fn pages(value: Value) -> Result<Vec<StreamPage>> {
    let page = |name, entries| {
        Ok(StreamPage { stream: shape::bytes(name)?, entries: list(entries, StreamEntry::from_value)? })
    };
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(name, entries)| page(name, entries)).collect(),
        value => list(value, |stream| {
            let mut parts = shape::items(stream)?.into_iter();
            page(shape::next(&mut parts)?, shape::next(&mut parts)?)
        }),
    }
}

/// Before Redis 7.0 there is a nil for each entry that was removed.
pub(super) fn claimed<T: FromRedisValue>(value: Value) -> Result<T> {
    let mut items = shape::items(value)?;
    items.retain(|item| *item != Value::Nil);
    decode(Value::Array(items))
}

/// A page of what [`XAutoClaim`](crate::XAutoClaim) took over: entries, or their ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AutoClaimed<T> {
    /// Where the next page begins; [`StreamId::MIN`] when everything was looked at.
    pub cursor: StreamId,
    /// What was taken over.
    pub entries: Vec<T>,
    /// Entries that were removed from the stream; they are no longer pending. Empty before Redis 7.0, where
    /// such entries stay pending.
    pub deleted: Vec<StreamId>,
}

pub(super) fn auto_claimed<T: FromRedisValue>(value: Value) -> Result<AutoClaimed<T>> {
    let mut parts = shape::items(value)?.into_iter();
    Ok(AutoClaimed {
        cursor: StreamId::from_value(shape::next(&mut parts)?)?,
        entries: claimed(shape::next(&mut parts)?)?,
        deleted: list(parts.next().unwrap_or(Value::Nil), StreamId::from_value)?,
    })
}

/// What is pending in a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct PendingSummary {
    /// How many entries are pending.
    pub count: u64,
    /// The lowest of their ids, `None` when nothing is pending.
    pub lowest: Option<StreamId>,
    /// The highest of their ids, `None` when nothing is pending.
    pub highest: Option<StreamId>,
    /// The consumers with something pending, and how many entries that is.
    pub consumers: Vec<(Vec<u8>, u64)>,
}

pub(super) fn pending_summary(value: Value) -> Result<PendingSummary> {
    let mut parts = shape::items(value)?.into_iter();
    Ok(PendingSummary {
        count: shape::count(shape::next(&mut parts)?)?,
        lowest: shape::optional(shape::next(&mut parts)?, StreamId::from_value)?,
        highest: shape::optional(shape::next(&mut parts)?, StreamId::from_value)?,
        consumers: list(shape::next(&mut parts)?, |consumer| {
            let mut parts = shape::items(consumer)?.into_iter();
            Ok((shape::bytes(shape::next(&mut parts)?)?, shape::count(shape::next(&mut parts)?)?))
        })?,
    })
}

/// An entry that is pending.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PendingEntry {
    /// Its id.
    pub id: StreamId,
    /// Who got it last.
    pub consumer: Vec<u8>,
    /// How long ago that was.
    pub idle: Duration,
    /// How often it was delivered.
    pub deliveries: u64,
}

pub(super) fn pending_entries(value: Value) -> Result<Vec<PendingEntry>> {
    list(value, |entry| {
        let mut parts = shape::items(entry)?.into_iter();
        Ok(PendingEntry {
            id: StreamId::from_value(shape::next(&mut parts)?)?,
            consumer: shape::bytes(shape::next(&mut parts)?)?,
            idle: Duration::from_millis(shape::informational(shape::next(&mut parts)?).unwrap_or_default()),
            deliveries: shape::informational(shape::next(&mut parts)?).unwrap_or_default(),
        })
    })
}

/// What the server knows about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct StreamInfo {
    /// How many entries it has.
    pub length: u64,
    /// How many groups it has.
    pub groups: u64,
    /// The id of the entry that was added last, even if it is removed.
    pub last_generated_id: StreamId,
    /// The highest id that was removed; `None` before Redis 7.0.
    pub max_deleted_entry_id: Option<StreamId>,
    /// How many entries were ever added; `None` before Redis 7.0.
    pub entries_added: Option<u64>,
    /// The first entry that there is; `None` when the stream is empty.
    pub first_entry: Option<StreamEntry>,
    /// The last entry that there is; `None` when the stream is empty.
    pub last_entry: Option<StreamEntry>,
}

pub(super) fn stream_info(value: Value) -> Result<StreamInfo> {
    let mut info = StreamInfo::default();
    for (name, value) in shape::pairs(value)? {
        match shape::bytes(name)?.as_slice() {
            b"length" => info.length = shape::informational(value).unwrap_or_default(),
            b"groups" => info.groups = shape::informational(value).unwrap_or_default(),
            b"last-generated-id" => info.last_generated_id = StreamId::from_value(value)?,
            b"max-deleted-entry-id" => info.max_deleted_entry_id = shape::optional(value, StreamId::from_value)?,
            b"entries-added" => info.entries_added = shape::informational(value),
            b"first-entry" => info.first_entry = shape::optional(value, StreamEntry::from_value)?,
            b"last-entry" => info.last_entry = shape::optional(value, StreamEntry::from_value)?,
            _ => {}
        }
    }
    Ok(info)
}

/// A group of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// How many consumers it has.
    pub consumers: u64,
    /// How many entries are pending in it.
    pub pending: u64,
    /// The id of the entry that was delivered last.
    pub last_delivered_id: StreamId,
    /// How many entries it has read; `None` when the server cannot tell (a negative number included), and before Redis
    /// 7.0.
    pub entries_read: Option<u64>,
    /// How many entries it has not read yet; `None` when the server cannot tell, or answers a negative number (as it does
    /// after `XGROUP SETID .. ENTRIESREAD` with too many), and before Redis 7.0. A server may count too many where entries were trimmed before the group had read them ([redis#13957]); that nothing is left is sure where
    /// `last_delivered_id` is [`StreamInfo::last_generated_id`].
    ///
    /// [redis#13957]: https://github.com/redis/redis/issues/13957
    pub lag: Option<u64>,
}

pub(super) fn group_infos(value: Value) -> Result<Vec<GroupInfo>> {
    list(value, |group| {
        let mut info = GroupInfo::default();
        for (name, value) in shape::pairs(group)? {
            match shape::bytes(name)?.as_slice() {
                b"name" => info.name = shape::bytes(value)?,
                b"consumers" => info.consumers = shape::informational(value).unwrap_or_default(),
                b"pending" => info.pending = shape::informational(value).unwrap_or_default(),
                b"last-delivered-id" => info.last_delivered_id = StreamId::from_value(value)?,
                b"entries-read" => info.entries_read = shape::informational(value),
                b"lag" => info.lag = shape::informational(value),
                _ => {}
            }
        }
        Ok(info)
    })
}

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// How many entries are pending for it.
    pub pending: u64,
    /// How long ago it last tried to read, claim or acknowledge.
    pub idle: Duration,
    /// How long ago it last got an entry; `None` when it never did, and before Redis 7.2.
    pub inactive: Option<Duration>,
}

pub(super) fn consumer_infos(value: Value) -> Result<Vec<ConsumerInfo>> {
    list(value, |consumer| {
        let mut info = ConsumerInfo::default();
        for (name, value) in shape::pairs(consumer)? {
            match shape::bytes(name)?.as_slice() {
                b"name" => info.name = shape::bytes(value)?,
                b"pending" => info.pending = shape::informational(value).unwrap_or_default(),
                b"idle" => info.idle = Duration::from_millis(shape::informational(value).unwrap_or_default()),
                // -1 stands for never.
                b"inactive" => info.inactive = shape::informational(value).map(Duration::from_millis),
                _ => {}
            }
        }
        Ok(info)
    })
}
