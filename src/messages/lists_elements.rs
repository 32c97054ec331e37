//! Elements of lists: reading, writing, moving, taking.

use redis::{FromRedisValue, ToSingleRedisArg, Value};

use super::arguments::{IntoKeys, IntoValues};
use super::blocking::{ListEnd, Popped};
use super::{Chosen, choose, counted_keys, decode, shape, some_values};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};

const NO_VALUE: &str = "needs at least one value";

command! {
    /// `LINDEX`: the value at a position, or `None` if there is none. A read.
    LIndex<T> => Option<T>
}

impl<T> LIndex<T> {
    /// Reads position `index` of the list at `key`; 0 is the first, -1 the last.
    pub fn new(key: impl AsRef<[u8]>, index: i64) -> Self {
        Self::of(Frame::known("LINDEX").key(key).arg(index).read_only())
    }
}

command! {
    /// `LSET`: replaces the value at a position. The server replies with an error if there is none.
    LSet => ()
}

impl LSet {
    /// Replaces position `index` of the list at `key`; 0 is the first, -1 the last.
    pub fn new(key: impl AsRef<[u8]>, index: i64, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("LSET").key(key).arg(index).arg(value))
    }
}

command! {
    /// `LINSERT`: inserts a value before or after another one. The reply is the new length, or `None` if the other value
    /// was not found or the key does not exist.
    LInsert => Option<u64>, by inserted
}

impl LInsert {
    /// Inserts `value` before the first `pivot` of the list at `key`.
    pub fn before(key: impl AsRef<[u8]>, pivot: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("LINSERT").key(key).arg("BEFORE").arg(pivot).arg(value))
    }

    /// Inserts `value` after the first `pivot` of the list at `key`.
    pub fn after(key: impl AsRef<[u8]>, pivot: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("LINSERT").key(key).arg("AFTER").arg(pivot).arg(value))
    }
}

fn inserted(value: Value) -> Result<Option<u64>> {
    Ok(u64::try_from(decode::<i64>(value)?).ok().filter(|length| *length > 0))
}

command! {
    /// `LREM`: removes values. The reply is the number of removed values.
    LRem => u64
}

impl LRem {
    /// Removes each `value` of the list at `key`.
    pub fn new(key: impl AsRef<[u8]>, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("LREM").key(key).arg(0).arg(value))
    }

    /// Removes up to `count` of them, from the head on. 0 removes all.
    pub fn first(key: impl AsRef<[u8]>, count: u64, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("LREM").key(key).arg(count).arg(value))
    }

    /// Removes up to `count` of them, from the tail on. 0 removes all.
    pub fn last(key: impl AsRef<[u8]>, count: u64, value: impl ToSingleRedisArg) -> Self {
        Self::of(super::negative(Frame::known("LREM").key(key), count).arg(value))
    }
}

command! {
    /// `LTRIM`: removes all values outside of a range.
    LTrim => ()
}

impl LTrim {
    /// Keeps positions `start` to `stop` of the list at `key`, both included; 0 is the first, -1 the last.
    pub fn new(key: impl AsRef<[u8]>, start: i64, stop: i64) -> Self {
        Self::of(Frame::known("LTRIM").key(key).arg(start).arg(stop))
    }
}

command! {
    /// `LPUSHX`: like [`LPush`](super::lists::LPush), if the list exists. The reply is its length, 0 if it does not exist.
    LPushX => u64
}

impl LPushX {
    /// Adds `values`, at least one, at the head of the list at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, values: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("LPUSHX").key(key), values, NO_VALUE))
    }
}

command! {
    /// `RPUSHX`: like [`RPush`](super::lists::RPush), if the list exists. The reply is its length, 0 if it does not exist.
    RPushX => u64
}

impl RPushX {
    /// Adds `values`, at least one, at the tail of the list at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, values: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("RPUSHX").key(key), values, NO_VALUE))
    }
}

command! {
    /// `LPOS`: the position of a value, or `None` if it is not in the list. A read.
    LPos => Option<u64>
}

impl LPos {
    /// Searches the list at `key` for `value`.
    pub fn new(key: impl AsRef<[u8]>, value: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("LPOS").key(key).arg(value).read_only())
    }

    /// Returns the position of the `rank`th match: 2 is the second from the head, -1 the first from the tail. 0 is refused.
    pub fn rank(mut self, rank: i64) -> Self {
        self.frame = match rank {
            0 => self.frame.invalid("rank() is 0; 1 is the first match from the head, -1 the first from the tail"),
            rank => self.frame.arg(("RANK", rank)),
        };
        self
    }

    /// Compares up to this number of values. 0 is unlimited.
    pub fn max_len(self, values: u64) -> Self {
        self.opt(("MAXLEN", values))
    }

    /// Returns up to `matches` positions; 0 returns all.
    pub fn count(self, matches: u64) -> LPosMany {
        LPosMany::of(self.frame.arg(("COUNT", matches)))
    }
}

command! {
    /// `LPOS` with a count: the positions of a value. A read. Created by [`LPos::count`].
    LPosMany => Vec<u64>
}

command! {
    /// `LMOVE`: moves a value from one list to another. The reply is the value, or `None` if the source is empty. Needs
    /// Redis 6.2. It replaces RPOPLPUSH; [`BLMove`](super::blocking::BLMove) waits for a value.
    LMove<T> => Option<T>
}

impl<T> LMove<T> {
    /// Moves from the `from` end of the list at `source` to the `to` end of the list at `destination`, which may be the
    /// same list.
    pub fn new(source: impl AsRef<[u8]>, destination: impl AsRef<[u8]>, from: ListEnd, to: ListEnd) -> Self {
        Self::of(Frame::known("LMOVE").key(source).key(destination).arg(from.as_str()).arg(to.as_str()))
    }
}

command! {
    /// `LMOVEM`: moves several values from one list to another. The reply are the values, empty if none were moved. Needs
    /// Redis 8.10.
    LMoveM<T>, rest Chosen => Vec<T>, by maybe_many
}

impl<T> LMoveM<T> {
    /// Moves one value from the `from` end of the list at `source` to the `to` end of the list at `destination`.
    pub fn new(source: impl AsRef<[u8]>, destination: impl AsRef<[u8]>, from: ListEnd, to: ListEnd) -> Self {
        Self::of(Frame::known("LMOVEM").key(source).key(destination).arg(from.as_str()).arg(to.as_str()))
    }

    /// Moves up to `values` values, at least 1, one by one: at the same end their order is reversed.
    pub fn count(mut self, values: u64) -> Self {
        self.frame = choose(&mut self.rest.condition, "count()", self.frame, ("COUNT", values.max(1), "OBO"));
        self
    }

    /// Moves up to `values` values, at least 1, in their order.
    pub fn count_in_order(mut self, values: u64) -> Self {
        let words = ("COUNT", values.max(1), "BULK");
        self.frame = choose(&mut self.rest.condition, "count_in_order()", self.frame, words);
        self
    }

    /// Moves exactly `values` values in their order, or none if the source has less.
    pub fn exactly(mut self, values: u64) -> Self {
        let words = ("EXACTLY", values.max(1), "BULK");
        self.frame = choose(&mut self.rest.condition, "exactly()", self.frame, words);
        self
    }
}

fn maybe_many<T: FromRedisValue>(value: Value) -> Result<Vec<T>> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::Array(_) => decode(value),
        one => Ok(vec![decode(one)?]),
    }
}

command! {
    /// `LMPOP`: takes values of the first non-empty list, or `None` if all are empty. Needs Redis 7.0.
    /// [`BLMPop`](super::blocking::BLMPop) waits for values.
    ///
    /// ```
    /// use redis_actix::{Command, commands::lists::{LMPop, ListEnd}};
    ///
    /// let batch = LMPop::<String>::new(["urgent", "jobs"], ListEnd::Left).count(10);
    /// assert_eq!(batch.frame().args().count(), 7);
    /// ```
    LMPop<T> => Option<Popped<Vec<T>>>, by popped
}

impl<T> LMPop<T> {
    /// Takes one value from an end of the first non-empty list at `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>, end: ListEnd) -> Self {
        let frame = counted_keys(Frame::known("LMPOP").reply_keys(ReplyKeys::First), keys);
        Self::of(frame.arg(end.as_str()))
    }

    /// Takes up to `values` values, at least 1.
    pub fn count(self, values: u64) -> Self {
        self.opt(("COUNT", values.max(1)))
    }
}

pub(super) fn popped<T: FromRedisValue>(value: Value) -> Result<Option<Popped<Vec<T>>>> {
    shape::optional(value, |value| {
        let mut parts = shape::items(value)?.into_iter();
        Ok(Popped { key: shape::bytes(shape::next(&mut parts)?)?, value: decode(shape::next(&mut parts)?)? })
    })
}
