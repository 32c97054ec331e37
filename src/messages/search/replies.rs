//! Replies of search, equal for RESP2 and RESP3.

use std::fmt;

use redis::{FromRedisValue, Value};

use super::row;
use crate::error::Result;
use crate::messages::{decode, shape};

/// A page of found documents.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchPage<D> {
    /// The number of documents that match, on all pages.
    pub total: u64,
    /// The documents of this page.
    pub documents: Vec<D>,
}

/// A found document.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Document<T> {
    /// The key, without the prefix. Bytes that are no text are shown as replacement characters.
    pub id: String,
    /// The score of the query.
    pub score: f64,
    /// The fields, `None` if the document was deleted meanwhile.
    pub fields: Option<T>,
}

/// Fields are the caller's data.
impl<T> fmt::Debug for Document<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("id", &self.id).field("score", &self.score).finish_non_exhaustive()
    }
}

fn name(value: Value) -> Result<String> {
    Ok(String::from_utf8_lossy(&shape::bytes(value)?).into_owned())
}

/// The total and id, score and fields of each document.
fn page<D>(value: Value, width: usize, one: impl Fn(String, f64, Value) -> Result<D>) -> Result<SearchPage<D>> {
    if let Value::Map(mut fields) = value {
        let total = shape::number(&mut fields, "total_results").ok_or_else(shape::unexpected)?;
        let results = shape::items(shape::field(&mut fields, "results").ok_or_else(shape::unexpected)?)?;
        let document = |result| {
            let mut result = shape::pairs(result)?;
            let id = name(shape::field(&mut result, "id").ok_or_else(shape::unexpected)?)?;
            let score = decode(shape::field(&mut result, "score").ok_or_else(shape::unexpected)?)?;
            one(id, score, shape::field(&mut result, "extra_attributes").unwrap_or_default())
        };
        return Ok(SearchPage { total, documents: results.into_iter().map(document).collect::<Result<_>>()? });
    }
    let mut items = shape::items(value)?.into_iter();
    let total = shape::count(shape::next(&mut items)?)?;
    let mut documents = Vec::with_capacity(items.len() / width);
    while let Some(id) = items.next() {
        let score = decode(shape::next(&mut items)?)?;
        let fields = if width > 2 { shape::next(&mut items)? } else { Value::Nil };
        documents.push(one(name(id)?, score, fields)?);
    }
    Ok(SearchPage { total, documents })
}

pub(super) fn documents<T: FromRedisValue>(value: Value) -> Result<SearchPage<Document<T>>> {
    page(value, 3, |id, score, fields| Ok(Document { id, score, fields: shape::optional(fields, row)? }))
}

pub(super) fn json_documents<T: FromRedisValue>(value: Value) -> Result<SearchPage<Document<T>>> {
    page(value, 3, |id, score, fields| {
        let mut fields = shape::optional(fields, shape::pairs)?.unwrap_or_default();
        Ok(Document { id, score, fields: shape::field(&mut fields, "$").map(decode).transpose()? })
    })
}

pub(super) fn ids(value: Value) -> Result<SearchPage<(String, f64)>> {
    page(value, 2, |id, score, _| Ok((id, score)))
}

/// A cursor of an aggregation, for [`FtCursorRead`](super::FtCursorRead). A program cannot make one: the server knows
/// cursors by number alone, whatever the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchCursor(pub(super) u64);

/// Rows of an aggregation.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The position of the next rows, `None` after the last ones or without a cursor.
    pub cursor: Option<SearchCursor>,
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("rows", &self.rows.len()).field("cursor", &self.cursor).finish()
    }
}

/// `[total, row, ..]` or a map, and with a cursor an array of that and a number.
pub(super) fn rows<T: FromRedisValue>(value: Value) -> Result<Rows<T>> {
    let (page, cursor) = match value {
        Value::Array(mut items) if matches!(items.first(), Some(Value::Array(_) | Value::Map(_))) => {
            let cursor = items.get_mut(1).map(std::mem::take).map(shape::count).transpose()?;
            (items.into_iter().next().unwrap_or_default(), cursor.filter(|id| *id > 0).map(SearchCursor))
        }
        page => (page, None),
    };
    Ok(Rows { rows: rows_of(page)?, cursor })
}

fn rows_of<T: FromRedisValue>(page: Value) -> Result<Vec<T>> {
    if let Value::Map(mut fields) = page {
        let results = shape::items(shape::field(&mut fields, "results").ok_or_else(shape::unexpected)?)?;
        let one = |result| {
            let mut result = shape::pairs(result)?;
            row(shape::field(&mut result, "extra_attributes").unwrap_or_else(|| Value::Map(result)))
        };
        return results.into_iter().map(one).collect();
    }
    shape::items(page)?.into_iter().skip(1).map(row).collect()
}

/// A reply with the profile of the query.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Profiled<R> {
    /// The reply.
    pub reply: R,
    /// How the server ran the query. Its form differs between versions of the server and of the protocol.
    pub profile: Value,
}

impl<R: fmt::Debug> fmt::Debug for Profiled<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiled").field("reply", &self.reply).finish_non_exhaustive()
    }
}

/// RESP2 and newer servers send the reply and the profile, RESP3 one map of both.
pub(super) fn profiled<R>(value: Value, decode: impl Fn(Value) -> Result<R>) -> Result<Profiled<R>> {
    match value {
        Value::Map(mut fields) => {
            let profile = shape::field(&mut fields, "profile").or_else(|| shape::field(&mut fields, "Profile"));
            let inner = shape::field(&mut fields, "Results");
            let reply = decode(inner.unwrap_or(Value::Map(fields)))?;
            Ok(Profiled { reply, profile: profile.unwrap_or_default() })
        }
        both => {
            let mut items = shape::items(both)?.into_iter();
            let reply = decode(shape::next(&mut items)?)?;
            Ok(Profiled { reply, profile: shape::next(&mut items)? })
        }
    }
}

/// A page of a hybrid search.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct HybridPage<T> {
    /// The number of documents that were found.
    pub total: u64,
    /// The documents, with the fields that were loaded.
    pub rows: Vec<T>,
    /// Warnings of the server, such as a time limit.
    pub warnings: Vec<String>,
}

impl<T> fmt::Debug for HybridPage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridPage").field("total", &self.total).field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

pub(super) fn hybrid<T: FromRedisValue>(value: Value) -> Result<HybridPage<T>> {
    let mut fields = shape::pairs(value)?;
    let total = shape::number(&mut fields, "total_results").ok_or_else(shape::unexpected)?;
    let results = shape::items(shape::field(&mut fields, "results").ok_or_else(shape::unexpected)?)?;
    let warnings = shape::field(&mut fields, "warnings").or_else(|| shape::field(&mut fields, "warning"));
    let warnings = warnings.map(decode).transpose()?.unwrap_or_default();
    Ok(HybridPage { total, rows: results.into_iter().map(row).collect::<Result<_>>()?, warnings })
}

/// Properties of an index.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct IndexInfo {
    /// The name, without the prefix. For an alias it is the name of its index.
    pub name: String,
    /// The prefixes of keys, without the key prefix: an empty one stands for all keys of this service.
    pub prefixes: Vec<String>,
    /// The name of each field in queries, and its type.
    pub fields: Vec<(String, String)>,
    /// The number of documents.
    pub documents: u64,
    /// The number of distinct words.
    pub terms: u64,
    /// The number of documents that could not be indexed.
    pub failures: u64,
    /// Whether existing documents are still being indexed.
    pub is_indexing: bool,
}

pub(super) fn info(value: Value) -> Result<IndexInfo> {
    let mut fields = shape::pairs(value)?;
    let mut take = |name: &str| shape::field(&mut fields, name).ok_or_else(shape::unexpected);
    let index = name(take("index_name")?)?;
    let mut definition = shape::pairs(take("index_definition")?)?;
    let prefixes = shape::items(shape::field(&mut definition, "prefixes").ok_or_else(shape::unexpected)?)?;
    let attribute = |attribute| {
        let mut attribute = shape::pairs(attribute)?;
        let mut take = |field: &str| name(shape::field(&mut attribute, field).ok_or_else(shape::unexpected)?);
        Ok((take("attribute")?, take("type")?))
    };
    let attributes = shape::items(take("attributes")?)?.into_iter().map(attribute).collect::<Result<_>>()?;
    let mut number = |name| shape::number(&mut fields, name).unwrap_or_default();
    Ok(IndexInfo {
        name: index,
        prefixes: prefixes.into_iter().map(name).collect::<Result<_>>()?,
        fields: attributes,
        documents: number("num_docs"),
        terms: number("num_terms"),
        failures: number("hash_indexing_failures"),
        is_indexing: number("indexing") > 0,
    })
}

/// A word that is in no document, and similar words that are.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Misspelled {
    /// The word of the query.
    pub term: String,
    /// Similar words with their scores, the best first.
    pub suggestions: Vec<(String, f64)>,
}

pub(super) fn misspelled(value: Value) -> Result<Vec<Misspelled>> {
    if let Value::Map(mut fields) = value {
        let results = shape::pairs(shape::field(&mut fields, "results").ok_or_else(shape::unexpected)?)?;
        let one = |(term, list): (Value, Value)| {
            let maps = shape::items(list)?.into_iter().map(decode::<Vec<(String, f64)>>).collect::<Result<Vec<_>>>()?;
            Ok(Misspelled { term: name(term)?, suggestions: maps.into_iter().flatten().collect() })
        };
        return results.into_iter().map(one).collect();
    }
    let one = |term| {
        let mut items = shape::items(term)?.into_iter().skip(1);
        let term = name(shape::next(&mut items)?)?;
        let scored: Vec<(f64, String)> = decode(shape::next(&mut items)?)?;
        Ok(Misspelled { term, suggestions: scored.into_iter().map(|(score, word)| (word, score)).collect() })
    };
    shape::items(value)?.into_iter().map(one).collect()
}

/// A completion.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Suggestion {
    /// The text.
    pub text: String,
    /// The score: the weight in relation to the length.
    pub score: f64,
    /// The payload.
    pub payload: Option<Vec<u8>>,
}

pub(super) fn suggestions(value: Value) -> Result<Vec<Suggestion>> {
    let mut items = shape::optional(value, shape::items)?.unwrap_or_default().into_iter();
    let mut suggestions = Vec::with_capacity(items.len() / 3);
    while let Some(text) = items.next() {
        let score = decode(shape::next(&mut items)?)?;
        let payload = shape::optional(shape::next(&mut items)?, shape::bytes)?;
        suggestions.push(Suggestion { text: name(text)?, score, payload });
    }
    Ok(suggestions)
}
