//! Replies of vector sets.

use std::fmt;

use redis::{FromRedisValue, Value};

use crate::error::Result;
use crate::messages::{decode, shape};

/// One element of a search with its similarity and its attributes.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Similar<T> {
    /// The element.
    pub element: T,
    /// The similarity, from 0.0 to 1.0 for equal.
    pub score: f64,
    /// The attributes, JSON text.
    pub attributes: Option<String>,
}

/// Elements and attributes are the caller's data.
impl<T> fmt::Debug for Similar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Similar").field("score", &self.score).finish_non_exhaustive()
    }
}

/// RESP2 sends triples in one array, RESP3 a map from the element to score and attributes.
pub(super) fn similar<T: FromRedisValue>(value: Value) -> Result<Vec<Similar<T>>> {
    let one = |element, score, attributes| {
        Ok(Similar { element: decode(element)?, score: decode(score)?, attributes: decode(attributes)? })
    };
    match value {
        Value::Map(pairs) => pairs
            .into_iter()
            .map(|(element, details)| {
                let mut details = shape::items(details)?.into_iter();
                one(element, shape::next(&mut details)?, shape::next(&mut details)?)
            })
            .collect(),
        flat => {
            let mut items = shape::items(flat)?.into_iter();
            let mut similar = Vec::with_capacity(items.len() / 3);
            while let Some(element) = items.next() {
                similar.push(one(element, shape::next(&mut items)?, shape::next(&mut items)?)?);
            }
            Ok(similar)
        }
    }
}

/// A vector as the server stores it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct RawVector {
    /// `f32`, `int8` or `bin`.
    pub format: String,
    /// The normalized numbers: four bytes, one byte or one bit each.
    pub data: Vec<u8>,
    /// The length of the vector before it was normalized.
    pub norm: f64,
    /// The largest absolute number, by which those of `int8` are scaled.
    pub range: Option<f64>,
}

impl fmt::Debug for RawVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawVector")
            .field("format", &self.format)
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn raw(value: Value) -> Result<Option<RawVector>> {
    shape::optional(value, |value| {
        let mut items = shape::items(value)?.into_iter();
        Ok(RawVector {
            format: decode(shape::next(&mut items)?)?,
            data: shape::bytes(shape::next(&mut items)?)?,
            norm: decode(shape::next(&mut items)?)?,
            range: items.next().map(decode).transpose()?,
        })
    })
}

/// Properties of a vector set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VectorSetInfo {
    /// `f32`, `int8` or `bin`.
    pub quantization: String,
    /// The number of dimensions, after reduction.
    pub dimensions: u64,
    /// The number of dimensions before the reduction, if vectors are reduced.
    pub reduced_from: Option<u64>,
    /// The number of elements.
    pub elements: u64,
    /// The number of elements with attributes, where the server reports it.
    pub with_attributes: Option<u64>,
    /// The maximum number of links per element, where the server reports it.
    pub links: Option<u64>,
    /// The highest layer of the graph.
    pub max_level: u64,
}

pub(super) fn info(value: Value) -> Result<Option<VectorSetInfo>> {
    shape::optional(value, |value| {
        let mut pairs = shape::pairs(value)?;
        let mut number = |name: &str| shape::field(&mut pairs, name).and_then(shape::informational);
        let (dimensions, reduced_from) = (number("vector-dim"), number("projection-input-dim"));
        let (elements, max_level) = (number("size"), number("max-level"));
        let (with_attributes, links) = (number("attributes-count"), number("hnsw-m"));
        Ok(VectorSetInfo {
            quantization: decode(shape::field(&mut pairs, "quant-type").ok_or_else(shape::unexpected)?)?,
            dimensions: dimensions.ok_or_else(shape::unexpected)?,
            reduced_from: reduced_from.filter(|dimensions| *dimensions > 0),
            elements: elements.ok_or_else(shape::unexpected)?,
            with_attributes,
            links,
            max_level: max_level.unwrap_or(0),
        })
    })
}
