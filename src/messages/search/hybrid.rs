//! Text and vectors in one query.

use std::collections::HashMap;
use std::time::Duration;

use redis::ToSingleRedisArg;

use super::query::{add_parameters, parameter};
use super::replies::{self, HybridPage};
use super::{add_counted, of_index, property};
use crate::frame::{Frame, ReplyKeys};
use crate::messages::{Rest, millis};

const VECTOR: &str = "vector";

/// How the scores of both parts are combined.
#[derive(Clone, Copy)]
enum Combine {
    RankFusion { constant: f64, window: u32 },
    Linear { alpha: f64, beta: f64 },
}

/// What follows the name of the index.
#[derive(Clone, Default)]
struct Parts {
    query: String,
    scorer: Option<String>,
    field: String,
    neighbours: Option<u32>,
    radius: Option<f64>,
    filter: Option<String>,
    combine: Option<Combine>,
    options: Frame,
    parameters: Vec<(String, Vec<u8>)>,
}

impl Rest for Parts {
    fn finish(self, head: Frame) -> Frame {
        let mut frame = head.arg("SEARCH").arg(self.query);
        if let Some(scorer) = self.scorer {
            frame = frame.arg("SCORER").arg(scorer);
        }
        frame = frame.arg("VSIM").arg(property(&self.field)).arg(format!("${VECTOR}"));
        frame = match (self.neighbours, self.radius) {
            (Some(count), None) => frame.arg("KNN").arg(2).arg("K").arg(count),
            (None, Some(radius)) => frame.arg("RANGE").arg(2).arg("RADIUS").arg(radius),
            (None, None) => frame,
            (Some(_), Some(_)) => frame.invalid("nearest() and within() exclude each other: remove one of the two"),
        };
        if let Some(filter) = self.filter {
            frame = frame.arg("FILTER").arg(filter);
        }
        frame = match self.combine {
            Some(Combine::RankFusion { constant, window }) => {
                frame.arg("COMBINE").arg("RRF").arg(4).arg("CONSTANT").arg(constant).arg("WINDOW").arg(window)
            }
            Some(Combine::Linear { alpha, beta }) => {
                frame.arg("COMBINE").arg("LINEAR").arg(4).arg("ALPHA").arg(alpha).arg("BETA").arg(beta)
            }
            None => frame,
        };
        add_parameters(frame.concat(self.options), self.parameters)
    }
}

command! {
    /// `FT.HYBRID`: documents that match a text query or are near to a vector, by a combined score. A read. Needs Redis
    /// 8.4.
    ///
    /// Each row has the fields `__key`, without the prefix, and `__score`, and those of [`load`](Self::load).
    FtHybrid<T = HashMap<String, String>>, rest Parts => HybridPage<T>, by replies::hybrid::<T>
}

impl<T> FtHybrid<T> {
    /// Searches `index` for `query` and for documents whose vector field `field` is near to `vector`.
    pub fn new(index: impl AsRef<[u8]>, query: impl Into<String>, field: impl Into<String>, vector: &[f32]) -> Self {
        let mut hybrid = Self::of(of_index("FT.HYBRID", index).read_only().reply_keys(ReplyKeys::Rows));
        (hybrid.rest.query, hybrid.rest.field) = (query.into(), field.into());
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        hybrid.rest.parameters.push((VECTOR.to_owned(), bytes));
        if vector.is_empty() || vector.iter().any(|number| !number.is_finite()) {
            hybrid.frame = hybrid.frame.invalid("needs a vector of at least one number, all finite");
        }
        hybrid
    }

    /// The number of documents that are near to the vector, 10 by default.
    pub fn nearest(mut self, count: u32) -> Self {
        self.rest.neighbours = Some(count);
        self
    }

    /// Documents within this distance of the vector instead.
    pub fn within(mut self, radius: f64) -> Self {
        self.rest.radius = Some(radius);
        self
    }

    /// Only documents that match this query are near to the vector.
    pub fn vector_filter(mut self, query: impl Into<String>) -> Self {
        self.rest.filter = Some(query.into());
        self
    }

    /// The function that computes the scores of the text query.
    pub fn scorer(mut self, scorer: impl Into<String>) -> Self {
        self.rest.scorer = Some(scorer.into());
        self
    }

    /// Combines by ranks (`RRF`), the default. The last call of this and [`linear`](Self::linear) decides.
    pub fn rank_fusion(mut self, constant: f64, window: u32) -> Self {
        self.rest.combine = Some(Combine::RankFusion { constant, window });
        self
    }

    /// Combines by scores: `alpha` times that of the text plus `beta` times that of the vector.
    pub fn linear(mut self, alpha: f64, beta: f64) -> Self {
        self.rest.combine = Some(Combine::Linear { alpha, beta });
        self
    }

    fn with(mut self, add: impl FnOnce(Frame) -> Frame) -> Self {
        self.rest.options = add(self.rest.options);
        self
    }

    /// Skips `offset` documents, then reads up to `count`.
    pub fn limit(self, offset: u64, count: u64) -> Self {
        self.with(|frame| frame.arg("LIMIT").arg(offset).arg(count))
    }

    /// Reads these fields, at least one. Name `__key` to read the key as well.
    pub fn load<V: AsRef<str>>(self, fields: impl IntoIterator<Item = V>) -> Self {
        let fields: Vec<String> = fields.into_iter().map(|field| property(field.as_ref())).collect();
        self.with(|frame| add_counted(frame, "LOAD", fields))
    }

    /// The server's limit for the run time, at least a millisecond.
    pub fn time_limit(self, longest: Duration) -> Self {
        self.with(|frame| frame.arg("TIMEOUT").arg(millis(longest)))
    }

    /// A value for `$name` in the queries; `$vector` is the vector.
    pub fn param(mut self, name: &str, value: impl ToSingleRedisArg) -> Self {
        self.rest.parameters.push((name.to_owned(), parameter(value)));
        if name == VECTOR {
            self.frame = self.frame.invalid("the parameter `vector` is the vector: choose another name");
        }
        self
    }
}
