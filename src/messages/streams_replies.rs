//! Replies of stream commands, taken apart by move. Supports RESP2 and RESP3, and servers from 6.2 on.

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
    /// The value of a field, or the last one if the name occurs several times.
    #[must_use]
    pub fn get(&self, field: impl AsRef<[u8]>) -> Option<&[u8]> {
        let wanted = field.as_ref();
        self.fields.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| &value[..])
    }

    /// Whether the entry was removed from the stream while it was pending. Such an entry has no fields, while every
    /// other entry has at least one.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.fields.is_empty()
    }

    /// Decodes the fields into a struct, a map or an enum, like [`from_fields`](crate::from_fields).
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
    /// If a field is missing or has the wrong type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        from_entry(&self.fields)
    }

    fn from_value(value: Value) -> Result<Self> {
        let mut parts = shape::items(value)?.into_iter();
        let id = StreamId::from_value(shape::next(&mut parts)?)?;
        // Nil instead of fields: the entry was removed while it was pending.
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

/// The entries that were read from one stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StreamPage {
    /// The name of the stream, without the prefix.
    pub stream: Vec<u8>,
    /// Its entries, oldest first.
    pub entries: Vec<StreamEntry>,
}

/// A list. Servers reply with nil for an empty one.
fn list<T>(value: Value, take: impl FnMut(Value) -> Result<T>) -> Result<Vec<T>> {
    match value {
        Value::Nil => Ok(Vec::new()),
        value => shape::items(value)?.into_iter().map(take).collect(),
    }
}

/// RESP2: an array of names with entries. RESP3: a map. Nil if there are no entries.
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

/// Before Redis 7.0 the reply contains a nil for each removed entry.
pub(super) fn claimed<T: FromRedisValue>(value: Value) -> Result<T> {
    let mut items = shape::items(value)?;
    items.retain(|item| *item != Value::Nil);
    decode(Value::Array(items))
}

/// A page of the entries claimed by [`XAutoClaim`](crate::XAutoClaim), or of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AutoClaimed<T> {
    /// The start of the next page; [`StreamId::MIN`] after the last page.
    pub cursor: StreamId,
    /// The claimed entries.
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

/// A summary of the pending entries of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct PendingSummary {
    /// The number of pending entries.
    pub count: u64,
    /// The lowest of their ids, `None` if nothing is pending.
    pub lowest: Option<StreamId>,
    /// The highest of their ids, `None` if nothing is pending.
    pub highest: Option<StreamId>,
    /// The consumers with pending entries, and how many each has.
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

/// A pending entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PendingEntry {
    /// Its id.
    pub id: StreamId,
    /// The consumer to which it was delivered last.
    pub consumer: Vec<u8>,
    /// The time since then.
    pub idle: Duration,
    /// The number of its deliveries.
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

/// Information about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The number of entries.
    pub length: u64,
    /// The number of groups.
    pub groups: u64,
    /// The id of the most recently added entry, even if it was removed.
    pub last_generated_id: StreamId,
    /// The highest id that was removed; `None` before Redis 7.0.
    pub max_deleted_entry_id: Option<StreamId>,
    /// The number of entries that were ever added; `None` before Redis 7.0.
    pub entries_added: Option<u64>,
    /// The first entry; `None` if the stream is empty.
    pub first_entry: Option<StreamEntry>,
    /// The last entry; `None` if the stream is empty.
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
    /// The number of consumers.
    pub consumers: u64,
    /// The number of pending entries.
    pub pending: u64,
    /// The id of the most recently delivered entry.
    pub last_delivered_id: StreamId,
    /// The number of entries it has read; `None` if the server cannot determine it (or returns a negative number),
    /// and before Redis 7.0.
    pub entries_read: Option<u64>,
    /// The number of entries it has not read; `None` if the server cannot determine it, or returns a negative number
    /// (as after `XGROUP SETID .. ENTRIESREAD` with too many), and before Redis 7.0. The server may count too many if
    /// entries were trimmed before the group had read them ([redis#13957]). No entries are left for certain if
    /// `last_delivered_id` equals [`StreamInfo::last_generated_id`].
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
    /// The number of its pending entries.
    pub pending: u64,
    /// The time since it last tried to read, claim or acknowledge.
    pub idle: Duration,
    /// The time since it last received an entry; `None` if it never did, and before Redis 7.2.
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
