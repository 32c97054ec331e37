//! Full-text, numeric, geographic and vector search: the module RediSearch, part of Redis since version 8.0.
//!
//! # Inside the prefix
//!
//! Names of indexes, aliases and dictionaries get the key prefix, so services cannot address each other's. An index that
//! [`FtCreate`] makes covers keys under the prefix only: every `PREFIX` of it gets the key prefix, and there is always
//! one. A query selects among the documents of its index and can load fields of these only, so no query reaches
//! documents of another service. Ids of documents, `__key` and names in replies lose the prefix.
//!
//! Within expressions of [`FtAggregate`] `@__key` is the whole key with the prefix: load it with
//! [`load_key`](FtAggregate::load_key), which removes the prefix from the reply, instead of computing with it.
//!
//! In a cluster a command goes to the node that owns the slot of the index name, which asks the others.

use redis::{FromRedisValue, Value};

use super::arguments::IntoKeys;
use super::{decode, shape};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};

mod aggregate;
mod create;
mod hybrid;
mod query;
mod replies;
mod schema;
mod text;

pub use aggregate::{FtAggregate, FtCursorDel, FtCursorRead, FtProfileAggregate, Reducer};
pub use create::{FtAlter, FtCreate};
pub use hybrid::FtHybrid;
pub use query::{FtProfileSearch, FtSearch, FtSearchIds, FtSearchJson};
pub use replies::{Document, HybridPage, IndexInfo, Misspelled, Profiled, Rows, SearchCursor, SearchPage, Suggestion};
pub use schema::{DistanceMetric, Field, VectorIndex, VectorType};
pub use text::{
    FtDictAdd, FtDictDel, FtDictDump, FtExplain, FtSpellCheck, FtSugAdd, FtSugDel, FtSugGet, FtSugLen, FtSynDump,
    FtSynUpdate, FtTagVals,
};

const GLOB_NAME: &str = "the name of an index, an alias or a dictionary must not be empty or contain `*`, `?`, `[`, `]` or `\\`: choose another name";

/// The order of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// The lowest first.
    Asc,
    /// The highest first.
    Desc,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Asc => "ASC",
            Self::Desc => "DESC",
        }
    }
}

/// Checks the name of an index, an alias or a dictionary.
fn check_name(frame: Frame, name: &[u8]) -> Frame {
    let is_pattern = name.iter().any(|byte| b"*?[]\\".contains(byte));
    if name.is_empty() || is_pattern { frame.invalid(GLOB_NAME) } else { frame }
}

/// A command with the name of an index or an alias as its first argument.
fn of_index(command: &str, index: impl AsRef<[u8]>) -> Frame {
    check_name(Frame::known(command).key(index.as_ref()), index.as_ref())
}

/// A further name after the first one.
fn add_name(frame: Frame, name: impl AsRef<[u8]>) -> Frame {
    check_name(frame.unrouted(name.as_ref()), name.as_ref())
}

/// The count of values and the values.
fn add_counted<V: AsRef<str>>(frame: Frame, word: &str, values: impl IntoIterator<Item = V>) -> Frame {
    let values: Vec<V> = values.into_iter().collect();
    let frame = frame.arg(word).arg(values.len());
    let frame = values.iter().fold(frame, |frame, value| frame.arg(value.as_ref()));
    if values.is_empty() {
        frame.invalid("an option needs at least one value: remove the option or add one")
    } else {
        frame
    }
}

/// A field in a query, which begins with `@`.
fn property(field: &str) -> String {
    if field.starts_with('@') { field.to_owned() } else { format!("@{field}") }
}

command! {
    /// `FT._LIST`: the names of the indexes of this service. A read.
    FtList => Vec<String>
}

impl FtList {
    /// Lists the indexes.
    #[expect(clippy::new_without_default, reason = "a message has no default")]
    pub fn new() -> Self {
        Self::of(Frame::known("FT._LIST").read_only().reply_keys(ReplyKeys::Each))
    }
}

command! {
    /// `FT.INFO`: properties of an index. The server replies with an error if there is none. A read.
    FtInfo => IndexInfo, by replies::info
}

impl FtInfo {
    /// Describes `index`.
    pub fn new(index: impl AsRef<[u8]>) -> Self {
        Self::of(of_index("FT.INFO", index).read_only().reply_keys(ReplyKeys::Index))
    }
}

command! {
    /// `FT.DROPINDEX`: removes an index, and its documents if [`delete_documents`](Self::delete_documents) is called.
    FtDropIndex => ()
}

impl FtDropIndex {
    /// Removes `index` and keeps its documents.
    pub fn new(index: impl AsRef<[u8]>) -> Self {
        Self::of(of_index("FT.DROPINDEX", index))
    }

    /// Also deletes the keys that the index covers (`DD`).
    pub fn delete_documents(mut self) -> Self {
        self.frame = self.frame.arg("DD");
        self
    }
}

command! {
    /// `FT.ALIASADD`: adds an alias for an index. The server replies with an error if the alias exists.
    FtAliasAdd => ()
}

impl FtAliasAdd {
    /// Makes `alias` a name of `index`.
    pub fn new(alias: impl AsRef<[u8]>, index: impl AsRef<[u8]>) -> Self {
        Self::of(add_name(of_index("FT.ALIASADD", alias), index))
    }
}

command! {
    /// `FT.ALIASUPDATE`: adds an alias, or moves it to another index.
    FtAliasUpdate => ()
}

impl FtAliasUpdate {
    /// Makes `alias` a name of `index`.
    pub fn new(alias: impl AsRef<[u8]>, index: impl AsRef<[u8]>) -> Self {
        Self::of(add_name(of_index("FT.ALIASUPDATE", alias), index))
    }
}

command! {
    /// `FT.ALIASDEL`: removes an alias.
    FtAliasDel => ()
}

impl FtAliasDel {
    /// Removes `alias`.
    pub fn new(alias: impl AsRef<[u8]>) -> Self {
        Self::of(of_index("FT.ALIASDEL", alias))
    }
}

command! {
    /// `FT.ALIASLIST`: the aliases of an index. A read. Needs Redis 8.10.
    FtAliasList => Vec<String>
}

impl FtAliasList {
    /// Lists the aliases of `index`.
    pub fn new(index: impl AsRef<[u8]>) -> Self {
        Self::of(of_index("FT.ALIASLIST", index).read_only().reply_keys(ReplyKeys::Each))
    }
}

/// The value of a row or of the fields of a document.
fn row<T: FromRedisValue>(fields: Value) -> Result<T> {
    decode(Value::Map(shape::pairs(fields)?))
}

/// Keys of documents after an option.
fn add_documents<M>(frame: Frame, word: &str, keys: impl IntoKeys<M>) -> Frame {
    let keys = keys.add_keys(Frame::default());
    let frame = keys.args().fold(frame.arg(word).arg(keys.len()), Frame::unrouted);
    if keys.len() == 0 { frame.invalid("needs at least one key") } else { frame }
}
