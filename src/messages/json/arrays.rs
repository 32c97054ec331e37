//! Arrays in documents. Positions may be negative, then they count from the end.

use serde::Serialize;

use super::{add_path, as_json};
use crate::frame::Frame;
use crate::messages::at_least_one;

const NO_VALUE: &str = "needs at least one value";

fn add_values<V: Serialize>(frame: Frame, values: impl IntoIterator<Item = V>) -> Frame {
    at_least_one(frame, NO_VALUE, |frame| values.into_iter().fold(frame, |frame, value| as_json(frame, &value)))
}

fn start(name: &str, key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Frame {
    add_path(Frame::known(name).key(key), path)
}

command! {
    /// `JSON.ARRAPPEND`: appends values to the arrays at a path. The reply is the new length of each.
    JsonArrAppend => Vec<Option<u64>>
}

impl JsonArrAppend {
    /// Appends `values`, at least one, to the arrays at `path` of the document at `key`.
    pub fn new<V: Serialize>(
        key: impl AsRef<[u8]>,
        path: impl AsRef<str>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::of(add_values(start("JSON.ARRAPPEND", key, path), values))
    }
}

command! {
    /// `JSON.ARRINDEX`: the position of a value in the arrays at a path, -1 where an array does not have it. A read.
    JsonArrIndex => Vec<Option<i64>>
}

impl JsonArrIndex {
    /// Searches for `value`, which is no array and no object, in the arrays at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, value: &(impl Serialize + ?Sized)) -> Self {
        Self::of(as_json(start("JSON.ARRINDEX", key, path), value).read_only())
    }

    /// Searches from the position `first` to the one before `end`; an `end` of 0 is the end of the array.
    pub fn between(mut self, first: i64, end: i64) -> Self {
        self.frame = self.frame.arg(first).arg(end);
        self
    }
}

command! {
    /// `JSON.ARRINSERT`: inserts values into the arrays at a path. The reply is the new length of each.
    JsonArrInsert => Vec<Option<u64>>
}

impl JsonArrInsert {
    /// Inserts `values`, at least one, before the position `index` of the arrays at `path` of the document at `key`.
    pub fn new<V: Serialize>(
        key: impl AsRef<[u8]>,
        path: impl AsRef<str>,
        index: i64,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::of(add_values(start("JSON.ARRINSERT", key, path).arg(index), values))
    }
}

command! {
    /// `JSON.ARRLEN`: the length of the arrays at a path. A read.
    JsonArrLen => Vec<Option<u64>>
}

impl JsonArrLen {
    /// Reads the length of the arrays at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.ARRLEN", key, path).read_only())
    }
}

command! {
    /// `JSON.ARRPOP`: removes a value of the arrays at a path, the last one by default. The reply has the removed
    /// value of each, as JSON text, `None` for an empty array. [`Json`](crate::Json) decodes them.
    JsonArrPop<T = String> => Vec<Option<T>>
}

impl<T> JsonArrPop<T> {
    /// Removes the last value of the arrays at `path` of the document at `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>) -> Self {
        Self::of(start("JSON.ARRPOP", key, path))
    }

    /// Removes the value at this position instead.
    pub fn at(mut self, index: i64) -> Self {
        self.frame = self.frame.arg(index);
        self
    }
}

command! {
    /// `JSON.ARRTRIM`: removes the values outside of a range from the arrays at a path. The reply is the new length of
    /// each.
    JsonArrTrim => Vec<Option<u64>>
}

impl JsonArrTrim {
    /// Keeps the values from position `first` to `last`, both included, of the arrays at `path` of the document at
    /// `key`.
    pub fn new(key: impl AsRef<[u8]>, path: impl AsRef<str>, first: i64, last: i64) -> Self {
        Self::of(start("JSON.ARRTRIM", key, path).arg(first).arg(last))
    }
}
