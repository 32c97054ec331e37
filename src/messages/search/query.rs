//! Finds documents.

use std::collections::HashMap;
use std::time::Duration;

use redis::{FromRedisValue, ToSingleRedisArg, Value};

use super::replies::{self, Document, Profiled, SearchPage};
use super::{Order, add_counted, add_documents, of_index};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};
use crate::messages::arguments::IntoKeys;
use crate::messages::{Rest, millis};

/// The elements of a document in RESP2: id, score and fields.
const WITH_FIELDS: ReplyKeys = ReplyKeys::Documents { width: 3 };
/// Id and score.
const WITHOUT_FIELDS: ReplyKeys = ReplyKeys::Documents { width: 2 };

/// What follows the name of the index.
#[derive(Clone, Default)]
struct Query {
    query: String,
    options: Frame,
    returned: Vec<String>,
    parameters: Vec<(String, Vec<u8>)>,
    dialect: Option<u8>,
}

impl Query {
    /// The query and its options.
    fn add(self, frame: Frame) -> Frame {
        let mut frame = frame.arg(self.query).arg("WITHSCORES").concat(self.options);
        if !self.returned.is_empty() {
            frame = add_counted(frame, "RETURN", self.returned);
        }
        add_tail(frame, self.parameters, self.dialect)
    }
}

/// `PARAMS`.
pub(super) fn add_parameters(frame: Frame, parameters: Vec<(String, Vec<u8>)>) -> Frame {
    if parameters.is_empty() {
        return frame;
    }
    let frame = frame.arg("PARAMS").arg(2 * parameters.len());
    parameters.into_iter().fold(frame, |frame, (name, value)| frame.arg(name).arg(value))
}

/// `PARAMS` and `DIALECT`. Parameters need at least the dialect 2.
pub(super) fn add_tail(frame: Frame, parameters: Vec<(String, Vec<u8>)>, dialect: Option<u8>) -> Frame {
    let dialect = dialect.or((!parameters.is_empty()).then_some(2));
    let frame = add_parameters(frame, parameters);
    match dialect {
        Some(dialect) => frame.arg("DIALECT").arg(dialect),
        None => frame,
    }
}

/// The bytes of a parameter.
pub(super) fn parameter(value: impl ToSingleRedisArg) -> Vec<u8> {
    let frame = Frame::default().arg(value);
    let bytes = frame.args().next().map(<[u8]>::to_vec);
    bytes.unwrap_or_default()
}

impl Rest for Query {
    fn finish(self, head: Frame) -> Frame {
        self.add(head)
    }
}

command! {
    /// `FT.SEARCH`: a page of the documents of an index that match a query, with their fields; see [`FtCreate`] for an
    /// example. A read. The server replies with an error if there is no such index.
    ///
    /// The fields of a document are decoded as those of a hash: [`Struct`](crate::Struct) for your own type, or a
    /// `HashMap<String, String>`. Use [`json`](Self::json) for JSON documents.
    ///
    /// Text of users in a query can change its meaning: pass it with [`param`](Self::param) and name it `$word`.
    ///
    /// [`FtCreate`]: super::FtCreate
    FtSearch<T = HashMap<String, String>>, rest Query => SearchPage<Document<T>>, by replies::documents::<T>
}

command! {
    /// `FT.SEARCH` of JSON documents; see [`FtSearch::json`]. [`Json`](crate::Json) decodes the text.
    FtSearchJson<T = String>, rest Query => SearchPage<Document<T>>, by replies::json_documents::<T>
}

command! {
    /// `FT.SEARCH` with `NOCONTENT`: the ids of documents; see [`FtSearch::ids`].
    FtSearchIds, rest Query => SearchPage<(String, f64)>, by replies::ids
}

impl<T> FtSearch<T> {
    /// Searches `index` for the documents that match `query`; `*` matches all. The first ten are read by default.
    pub fn new(index: impl AsRef<[u8]>, query: impl Into<String>) -> Self {
        let mut search = Self::of(of_index("FT.SEARCH", index).read_only().reply_keys(WITH_FIELDS));
        search.rest.query = query.into();
        search
    }

    /// Reads whole JSON documents. Call it last.
    pub fn json<J>(mut self) -> FtSearchJson<J> {
        self.rest.returned = vec!["$".to_owned()];
        let mut search = FtSearchJson::of(self.frame);
        search.rest = self.rest;
        search
    }

    /// Reads only ids and scores. Call it last.
    pub fn ids(mut self) -> FtSearchIds {
        self.rest.options = self.rest.options.arg("NOCONTENT");
        let mut search = FtSearchIds::of(self.frame.reply_keys(WITHOUT_FIELDS));
        search.rest = self.rest;
        search
    }

    /// Also reads how the server ran the query (`FT.PROFILE`). Call it last.
    pub fn profile(self) -> FtProfileSearch<T> {
        let index = self.frame.args().nth(1).map(<[u8]>::to_vec).unwrap_or_default();
        let frame = of_index("FT.PROFILE", index).arg("SEARCH").arg("QUERY").read_only().reply_keys(WITH_FIELDS);
        let mut profile = FtProfileSearch::of(frame);
        profile.rest = self.rest;
        profile
    }

    fn with(mut self, add: impl FnOnce(Frame) -> Frame) -> Self {
        self.rest.options = add(self.rest.options);
        self
    }

    /// A value for `$name` in the query: text, a number or the bytes of a vector. Needs dialect 2, which is selected.
    pub fn param(mut self, name: &str, value: impl ToSingleRedisArg) -> Self {
        self.rest.parameters.push((name.to_owned(), parameter(value)));
        self
    }

    /// A vector for `$name` in the query: `*=>[KNN 10 @embedding $name]`.
    pub fn vector(self, name: &str, vector: &[f32]) -> Self {
        self.param(name, vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Reads only these fields, at least one.
    pub fn fields<V: Into<String>>(mut self, names: impl IntoIterator<Item = V>) -> Self {
        self.rest.returned = names.into_iter().map(Into::into).collect();
        if self.rest.returned.is_empty() {
            self.rest.options = self.rest.options.invalid("fields() needs at least one field; use ids() to read none");
        }
        self
    }

    /// Skips `offset` documents, then reads up to `count`; 0 to count them only.
    pub fn limit(self, offset: u64, count: u64) -> Self {
        self.with(|frame| frame.arg("LIMIT").arg(offset).arg(count))
    }

    /// Sorts by a field instead of by score.
    pub fn sort_by(self, field: &str, order: Order) -> Self {
        self.with(|frame| frame.arg("SORTBY").arg(field).arg(order.word()))
    }

    /// Only these documents, at least one.
    pub fn in_keys<M>(self, keys: impl IntoKeys<M>) -> Self {
        self.with(|frame| add_documents(frame, "INKEYS", keys))
    }

    /// Searches words in these text fields, at least one.
    pub fn in_fields<V: AsRef<str>>(self, fields: impl IntoIterator<Item = V>) -> Self {
        self.with(|frame| add_counted(frame, "INFIELDS", fields))
    }

    /// Finds words only in their exact form.
    pub fn verbatim(self) -> Self {
        self.with(|frame| frame.arg("VERBATIM"))
    }

    /// Searches stop words as well.
    pub fn no_stopwords(self) -> Self {
        self.with(|frame| frame.arg("NOSTOPWORDS"))
    }

    /// Puts found words of these fields between two texts, such as `<b>` and `</b>`.
    pub fn highlight<V: AsRef<str>>(self, fields: impl IntoIterator<Item = V>, open: &str, close: &str) -> Self {
        self.with(|frame| add_counted(frame.arg("HIGHLIGHT"), "FIELDS", fields).arg("TAGS").arg(open).arg(close))
    }

    /// Reads `fragments` parts of `words` words each around found words instead of the whole text of these fields.
    pub fn summarize<V: AsRef<str>>(
        self,
        fields: impl IntoIterator<Item = V>,
        fragments: u32,
        words: u32,
        separator: &str,
    ) -> Self {
        self.with(|frame| {
            let frame = add_counted(frame.arg("SUMMARIZE"), "FIELDS", fields).arg("FRAGS").arg(fragments);
            frame.arg("LEN").arg(words).arg("SEPARATOR").arg(separator)
        })
    }

    /// The number of other words that may be between the words of the query.
    pub fn slop(self, words: u32) -> Self {
        self.with(|frame| frame.arg("SLOP").arg(words))
    }

    /// The words must be in the order of the query.
    pub fn in_order(self) -> Self {
        self.with(|frame| frame.arg("INORDER"))
    }

    /// The language of the query.
    pub fn language(self, language: &str) -> Self {
        self.with(|frame| frame.arg("LANGUAGE").arg(language))
    }

    /// The function that computes scores, such as `BM25STD`.
    pub fn scorer(self, scorer: &str) -> Self {
        self.with(|frame| frame.arg("SCORER").arg(scorer))
    }

    /// The server's limit for the run time of the query, at least a millisecond.
    pub fn time_limit(self, longest: Duration) -> Self {
        self.with(|frame| frame.arg("TIMEOUT").arg(millis(longest)))
    }

    /// The version of the query language, 1 to 4.
    pub fn dialect(mut self, version: u8) -> Self {
        self.rest.dialect = Some(version);
        self
    }
}

command! {
    /// `FT.PROFILE` of a search; see [`FtSearch::profile`]. A read.
    FtProfileSearch<T = HashMap<String, String>>, rest Query => Profiled<SearchPage<Document<T>>>, by profiled::<T>
}

fn profiled<T: FromRedisValue>(value: Value) -> Result<Profiled<SearchPage<Document<T>>>> {
    replies::profiled(value, replies::documents::<T>)
}
