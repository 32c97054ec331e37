//! Streams: adding, trimming, deleting. Reading is in `streams_reads`, consumer groups are in `streams_groups`.

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

/// What a stream is cut down to.
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
            (Some(_), _) => frame.invalid("limit() works only with approximate trimming, as of max_len_approx()"),
        }
    }
}

/// What follows the key of XADD.
#[derive(Clone, Default)]
struct NewEntry {
    nomkstream: bool,
    once: Option<Once>,
    trim: Trim,
    id: NewId,
    fields: Fields,
}

/// Which message it is, and whose.
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
    /// `XADD`: adds an entry to a stream; the reply is its id.
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
    /// Adds an entry to the stream at `key`, which is made if it does not exist. The entry needs at least
    /// one field; the server gives it its id.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("XADD").key(key))
    }

    /// The same message for the stream at `key`.
    pub(crate) fn at(key: impl AsRef<[u8]>, message: Self) -> Self {
        Self { frame: Frame::known("XADD").key(key), ..message }
    }

    /// Adds nothing when there is no such stream; the reply is then `None`. Needs Redis 6.2.
    pub fn nomkstream(mut self) -> XAdd<Option<StreamId>> {
        self.rest.nomkstream = true;
        XAdd { frame: self.frame, rest: self.rest, reply: PhantomData }
    }
}

impl<T> XAdd<T> {
    /// Gives the entry that id; the server refuses one that is not above all before it.
    pub fn id(mut self, id: StreamId) -> Self {
        self.rest.id = NewId::Given(id);
        self
    }

    /// Gives the entry the next id within that millisecond. Needs Redis 7.0.
    pub fn id_within(mut self, ms: u64) -> Self {
        self.rest.id = NewId::NextOf(ms);
        self
    }

    pub(crate) fn has_own_id(&self) -> bool {
        !matches!(self.rest.id, NewId::Next)
    }

    /// Adds the trace that the message belongs to, as the field `traceparent`, where
    /// [`Delivery::traceparent`](crate::Delivery::traceparent) finds it.
    pub fn traceparent(self, trace: TraceParent) -> Self {
        self.field(super::fields_error::TRACE_FIELD, trace.to_string())
    }

    /// Adds one field with the whole value as JSON. A consumer reads it into a struct with a field of that name.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON.
    pub fn json<V: Serialize>(self, field: impl ToSingleRedisArg, value: V) -> Result<Self> {
        Ok(self.field(field, Json::new(value)?))
    }

    /// Adds nothing if the stream has an entry that this producer added with this id lately: the reply is then the
    /// id of that entry. Such a message may be sent again after a broken link, and is. Needs Redis 8.6;
    /// [`Producer`](crate::Producer) works with older servers as well.
    pub fn idempotency(mut self, producer: impl AsRef<[u8]>, id: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.idempotent();
        self.rest.once = Some(Once { producer: producer.as_ref().into(), id: id.as_ref().into() });
        self
    }

    /// Adds a field with its value. A name may come several times.
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

    /// Adds the fields of a struct, a map or an enum; [`to_fields`](crate::to_fields) says how they are
    /// written.
    ///
    /// # Errors
    /// When `value` cannot be written as fields.
    pub fn entry<V: Serialize + ?Sized>(mut self, value: &V) -> Result<Self> {
        self.rest.fields.entry(value)?;
        Ok(self)
    }

    fn trim(mut self, by: Keep, approx: bool) -> Self {
        self.rest.trim.to = Some(Threshold { by, approx });
        self
    }

    /// Trims the stream to exactly that many entries. Of several ways to trim the last one counts.
    pub fn max_len(self, length: u64) -> Self {
        self.trim(Keep::Newest(length), false)
    }

    /// Trims the stream to about that many entries, some more when that is cheaper: the better choice.
    pub fn max_len_approx(self, length: u64) -> Self {
        self.trim(Keep::Newest(length), true)
    }

    /// Removes all entries before `id`. Needs Redis 6.2.
    pub fn min_id(self, id: StreamId) -> Self {
        self.trim(Keep::From(id), false)
    }

    /// Removes most entries before `id`, as far as that is cheap. Needs Redis 6.2.
    pub fn min_id_approx(self, id: StreamId) -> Self {
        self.trim(Keep::From(id), true)
    }

    /// Removes at most that many entries at once, with approximate trimming; 0 is without limit, the
    /// server's default is 100 times the entries of one of its nodes. Needs Redis 6.2.
    pub fn limit(mut self, entries: u64) -> Self {
        self.rest.trim.limit = Some(entries);
        self
    }
}

command! {
    /// `XTRIM`: removes the oldest entries of a stream; the reply is how many were removed.
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

    /// Leaves exactly the newest `length` entries of the stream at `key`.
    pub fn max_len(key: impl AsRef<[u8]>, length: u64) -> Self {
        Self::new(key, Keep::Newest(length), false)
    }

    /// Leaves about the newest `length` entries, some more when that is cheaper.
    pub fn max_len_approx(key: impl AsRef<[u8]>, length: u64) -> Self {
        Self::new(key, Keep::Newest(length), true)
    }

    /// Removes all entries before `id`. Needs Redis 6.2.
    pub fn min_id(key: impl AsRef<[u8]>, id: StreamId) -> Self {
        Self::new(key, Keep::From(id), false)
    }

    /// Removes most entries before `id`, as far as that is cheap. Needs Redis 6.2.
    pub fn min_id_approx(key: impl AsRef<[u8]>, id: StreamId) -> Self {
        Self::new(key, Keep::From(id), true)
    }

    /// Removes at most that many entries at once, with approximate trimming; 0 is without limit. Needs
    /// Redis 6.2.
    pub fn limit(mut self, entries: u64) -> Self {
        self.rest.limit = Some(entries);
        self
    }
}

command! {
    /// `XDEL`: removes entries from a stream; the reply is how many of them were there. Entries that are
    /// pending in a group stay pending there.
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
