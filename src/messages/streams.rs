//! Streams: adding, trimming, deleting. See `streams_reads` for reading and `streams_groups` for consumer groups.

use std::borrow::Borrow;
use std::marker::PhantomData;

use redis::ToSingleRedisArg;
use serde::Serialize;

use super::stream_id::StreamId;
use super::{Rest, at_least_one, fields::Fields, values::Json};
use crate::error::Result;
use crate::frame::Frame;
use crate::streams::trace::TraceParent;

pub(super) const NO_ID: &str = "needs at least one id";

/// The threshold to which a stream is trimmed.
#[derive(Clone, Default)]
struct Trim {
    to: Option<Threshold>,
    limit: Option<u64>,
}

#[derive(Clone, Copy)]
struct Threshold {
    by: Keep,
    approx: bool,
}

#[derive(Clone, Copy)]
enum Keep {
    Newest(u64),
    From(StreamId),
}

impl Trim {
    fn to(by: Keep, approx: bool) -> Self {
        Self { to: Some(Threshold { by, approx }), limit: None }
    }

    fn write(self, frame: Frame) -> Frame {
        let frame = match self.to {
            None => frame,
            Some(Threshold { by, approx }) => {
                let frame = frame.arg(if matches!(by, Keep::Newest(_)) { "MAXLEN" } else { "MINID" });
                let frame = if approx { frame.arg("~") } else { frame };
                match by {
                    Keep::Newest(length) => frame.arg(length),
                    Keep::From(id) => frame.arg(id),
                }
            }
        };
        match (self.limit, self.to) {
            (None, _) => frame,
            (Some(limit), Some(Threshold { approx: true, .. })) => frame.arg("LIMIT").arg(limit),
            (Some(_), _) => frame.invalid("limit() requires approximate trimming, such as max_len_approx()"),
        }
    }
}

/// The arguments after the key of XADD.
#[derive(Clone, Default)]
struct NewEntry {
    nomkstream: bool,
    once: Option<Once>,
    trim: Trim,
    id: NewId,
    fields: Fields,
}

/// The idempotent id of a message, and its producer.
#[derive(Clone)]
struct Once {
    producer: Box<[u8]>,
    id: Box<[u8]>,
}

#[derive(Clone, Copy, Default)]
enum NewId {
    #[default]
    Next,
    NextOf(u64),
    Given(StreamId),
}

impl Rest for NewEntry {
    fn finish(self, head: Frame) -> Frame {
        let head = if self.nomkstream { head.arg("NOMKSTREAM") } else { head };
        let head = match self.once {
            Some(Once { producer, id }) => head.arg("IDMP").arg(&producer[..]).arg(&id[..]),
            None => head,
        };
        let head = self.trim.write(head);
        let head = match self.id {
            NewId::Next => head.arg("*"),
            NewId::NextOf(ms) => head.arg(format!("{ms}-*")),
            NewId::Given(id) => head.arg(id),
        };
        self.fields.finish(head, "needs at least one field")
    }
}

command! {
    /// `XADD`: adds an entry to a stream. The reply is its id.
    ///
    /// ```
    /// use redis_actix::{Command, XAdd};
    ///
    /// #[derive(serde::Serialize)]
    /// struct Order {
    ///     customer: &'static str,
    ///     total: f64,
    /// }
    ///
    /// let order = Order { customer: "ada", total: 9.5 };
    /// let frame = XAdd::new("orders").entry(&order)?.max_len_approx(100_000).frame();
    /// let words: Vec<&[u8]> = frame.args().skip(2).collect();
    /// assert_eq!(words, [&b"MAXLEN"[..], b"~", b"100000", b"*", b"customer", b"ada", b"total", b"9.5"]);
    /// # Ok::<(), redis_actix::Error>(())
    /// ```
    XAdd<T = StreamId>, rest NewEntry => T
}

impl XAdd {
    /// Adds an entry to the stream at `key`, which is created if it does not exist. The entry needs at least one
    /// field. The server assigns its id.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XADD").key(key))
    }

    /// The same message for the stream at `key`.
    pub(crate) fn at(key: impl AsRef<[u8]>, message: Self) -> Self {
        Self { frame: Frame::known("XADD").key(key), ..message }
    }

    /// Adds nothing if the stream does not exist; the reply is then `None`. Needs Redis 6.2.
    pub fn nomkstream(mut self) -> XAdd<Option<StreamId>> {
        self.rest.nomkstream = true;
        XAdd { frame: self.frame, rest: self.rest, reply: PhantomData }
    }
}

impl<T> XAdd<T> {
    /// Sets the id of the entry. The server refuses one that is not higher than all earlier ids.
    pub fn id(mut self, id: StreamId) -> Self {
        self.rest.id = NewId::Given(id);
        self
    }

    /// Assigns the next id within this millisecond. Needs Redis 7.0.
    pub fn id_within(mut self, ms: u64) -> Self {
        self.rest.id = NewId::NextOf(ms);
        self
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.rest.once.is_some()
    }

    pub(crate) fn has_own_id(&self) -> bool {
        !matches!(self.rest.id, NewId::Next)
    }

    /// Adds the trace of the message as the field `traceparent`, which
    /// [`Delivery::traceparent`](crate::Delivery::traceparent) reads.
    pub fn traceparent(self, trace: TraceParent) -> Self {
        self.field(super::fields_error::TRACE_FIELD, trace.to_string())
    }

    /// Adds one field with the whole value as JSON. A consumer decodes it into a struct with a field of that name.
    ///
    /// # Errors
    /// If `value` cannot be serialized as JSON.
    pub fn json<V: Serialize>(self, field: impl ToSingleRedisArg, value: V) -> Result<Self> {
        Ok(self.field(field, Json::new(value)?))
    }

    /// Adds nothing if this producer has recently added an entry with this id to the stream; the reply is then the id
    /// of that entry. So the message is retried after a broken link. Needs Redis 8.6; [`Producer`](crate::Producer)
    /// supports older servers as well.
    pub fn idempotency(mut self, producer: impl AsRef<[u8]>, id: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.idempotent();
        self.rest.once = Some(Once { producer: producer.as_ref().into(), id: id.as_ref().into() });
        self
    }

    /// Adds a field with its value. A name may occur several times.
    pub fn field(mut self, field: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Self {
        self.rest.fields.add(field, value);
        self
    }

    /// Adds fields with their values.
    pub fn fields<F: ToSingleRedisArg, V: ToSingleRedisArg>(
        mut self,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Self {
        for (field, value) in fields {
            self.rest.fields.add(field, value);
        }
        self
    }

    /// Adds the fields of a struct, a map or an enum; [`to_fields`](crate::to_fields) documents the format.
    ///
    /// # Errors
    /// If `value` cannot be serialized as fields.
    pub fn entry<V: Serialize + ?Sized>(mut self, value: &V) -> Result<Self> {
        self.rest.fields.entry(value)?;
        Ok(self)
    }

    fn trim(mut self, by: Keep, approx: bool) -> Self {
        self.rest.trim.to = Some(Threshold { by, approx });
        self
    }

    /// Trims the stream to exactly `length` entries. If several trim options are given the last one applies.
    pub fn max_len(self, length: u64) -> Self {
        self.trim(Keep::Newest(length), false)
    }

    /// Trims the stream to about `length` entries, possibly more if that is cheaper. Prefer this to `max_len`.
    pub fn max_len_approx(self, length: u64) -> Self {
        self.trim(Keep::Newest(length), true)
    }

    /// Removes all entries before `id`. Needs Redis 6.2.
    pub fn min_id(self, id: StreamId) -> Self {
        self.trim(Keep::From(id), false)
    }

    /// Removes entries before `id` as far as that is cheap. Needs Redis 6.2.
    pub fn min_id_approx(self, id: StreamId) -> Self {
        self.trim(Keep::From(id), true)
    }

    /// Limits the number of entries that one approximate trim removes; 0 is unlimited. The server's default is 100
    /// times the entries of one of its nodes. Needs Redis 6.2.
    pub fn limit(mut self, entries: u64) -> Self {
        self.rest.trim.limit = Some(entries);
        self
    }
}

command! {
    /// `XTRIM`: removes the oldest entries of a stream. The reply is the number of removed entries.
    XTrim, rest Trim => u64
}

impl Rest for Trim {
    fn finish(self, head: Frame) -> Frame {
        self.write(head)
    }
}

impl XTrim {
    fn new(key: impl AsRef<[u8]>, by: Keep, approx: bool) -> Self {
        let mut trim = Self::of(Frame::known("XTRIM").key(key));
        trim.rest = Trim::to(by, approx);
        trim
    }

    /// Keeps exactly the newest `length` entries of the stream at `key`.
    pub fn max_len(key: impl AsRef<[u8]>, length: u64) -> Self {
        Self::new(key, Keep::Newest(length), false)
    }

    /// Keeps about the newest `length` entries, possibly more if that is cheaper.
    pub fn max_len_approx(key: impl AsRef<[u8]>, length: u64) -> Self {
        Self::new(key, Keep::Newest(length), true)
    }

    /// Removes all entries before `id`. Needs Redis 6.2.
    pub fn min_id(key: impl AsRef<[u8]>, id: StreamId) -> Self {
        Self::new(key, Keep::From(id), false)
    }

    /// Removes entries before `id` as far as that is cheap. Needs Redis 6.2.
    pub fn min_id_approx(key: impl AsRef<[u8]>, id: StreamId) -> Self {
        Self::new(key, Keep::From(id), true)
    }

    /// Limits the number of entries that one approximate trim removes; 0 is unlimited. Needs Redis 6.2.
    pub fn limit(mut self, entries: u64) -> Self {
        self.rest.limit = Some(entries);
        self
    }
}

command! {
    /// `XDEL`: removes entries from a stream. The reply is the number of entries that existed. Entries that are
    /// pending in a group stay pending.
    XDel => u64
}

impl XDel {
    /// Removes the entries with these ids, at least one, from the stream at `key`.
    pub fn new<I: Borrow<StreamId>>(key: impl AsRef<[u8]>, ids: impl IntoIterator<Item = I>) -> Self {
        Self::of(some_ids(Frame::known("XDEL").key(key), ids))
    }
}

pub(super) fn some_ids<I: Borrow<StreamId>>(frame: Frame, ids: impl IntoIterator<Item = I>) -> Frame {
    at_least_one(frame, NO_ID, |frame| ids.into_iter().fold(frame, |frame, id| frame.arg(*id.borrow())))
}
