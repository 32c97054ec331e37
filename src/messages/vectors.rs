//! Vector sets: elements with vectors and attributes, found by similarity. Part of Redis since version 8.0.

use std::ops::{Bound, RangeBounds};

use redis::{FromRedisValue, ToSingleRedisArg, Value};
use serde::Serialize;

use super::json::as_json;
use super::sorted_sets::lex_bound;
use super::{Rest, decode};
use crate::error::Result;
use crate::frame::Frame;

mod replies;

pub use replies::{RawVector, Similar, VectorSetInfo};

const NO_NUMBER: &str = "needs a vector of at least one number";
const NOT_FINITE: &str = "the vector contains NaN or an infinity";

/// Adds `FP32` and the vector as bytes.
fn add_vector(frame: Frame, vector: &[f32]) -> Frame {
    let frame = frame.arg("FP32").arg(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    match vector {
        [] => frame.invalid(NO_NUMBER),
        numbers if numbers.iter().all(|number| number.is_finite()) => frame,
        _ => frame.invalid(NOT_FINITE),
    }
}

/// How a vector set stores its vectors. The first element decides for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Quantization {
    /// One byte per number (`Q8`). The default.
    #[default]
    Int8,
    /// One bit per number (`BIN`): fastest, with the least recall.
    Binary,
    /// Four bytes per number (`NOQUANT`), without loss.
    None,
}

impl Quantization {
    fn word(self) -> &'static str {
        match self {
            Self::Int8 => "Q8",
            Self::Binary => "BIN",
            Self::None => "NOQUANT",
        }
    }
}

/// What follows after REDUCE.
#[derive(Clone, Default)]
struct Added {
    tail: Frame,
    quantization: Option<Quantization>,
}

impl Rest for Added {
    fn finish(self, head: Frame) -> Frame {
        let frame = head.concat(self.tail);
        match self.quantization {
            Some(quantization) => frame.arg(quantization.word()),
            None => frame,
        }
    }
}

command! {
    /// `VADD`: adds an element with its vector, or replaces the vector of an existing element. The reply is whether
    /// the element is new. Needs Redis 8.0.
    ///
    /// ```
    /// use redis_actix::Command;
    /// use redis_actix::commands::vectors::{VAdd, VSim};
    ///
    /// let add = VAdd::new("movies", "alien", &[0.9, 0.1]).attributes(&serde_json::json!({"year": 1979}));
    /// let similar = VSim::<String>::to_vector("movies", &[1.0, 0.0]).count(3).filter(".year < 1980").with_scores();
    /// assert_eq!(add.frame().args().nth(2), Some(&b"FP32"[..]));
    /// assert_eq!(similar.frame().args().last(), Some(&b"WITHSCORES"[..]));
    /// ```
    VAdd, rest Added => bool
}

impl VAdd {
    /// Adds `element` with `vector` to the vector set at `key`. A missing key counts as empty. The first element sets
    /// the dimension of all.
    pub fn new(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg, vector: &[f32]) -> Self {
        let mut add = Self::of(Frame::known("VADD").key(key));
        add.rest.tail = add_vector(Frame::default(), vector).arg(element);
        add
    }

    /// Like [`new`](Self::new), with the numbers sent as text (`VALUES`), for debugging with `MONITOR`.
    pub fn values(
        key: impl AsRef<[u8]>,
        element: impl ToSingleRedisArg,
        vector: impl IntoIterator<Item = impl Into<f64>>,
    ) -> Self {
        let numbers: Vec<f64> = vector.into_iter().map(Into::into).collect();
        let mut add = Self::of(Frame::known("VADD").key(key));
        let mut tail = Frame::default().arg("VALUES").arg(numbers.len());
        if numbers.is_empty() {
            tail = tail.invalid(NO_NUMBER);
        } else if numbers.iter().any(|number| !number.is_finite()) {
            tail = tail.invalid(NOT_FINITE);
        }
        add.rest.tail = numbers.into_iter().fold(tail, Frame::arg).arg(element);
        add
    }

    /// Reduces the vector to `dimensions` by random projection. All elements of a set use the same number.
    pub fn reduce(mut self, dimensions: u32) -> Self {
        self.frame = self.frame.arg("REDUCE").arg(dimensions);
        self
    }

    fn with(mut self, word: &str, value: impl ToSingleRedisArg) -> Self {
        self.rest.tail = self.rest.tail.arg(word).arg(value);
        self
    }

    /// Searches for the neighbours in a thread, so that other commands run meanwhile (`CAS`).
    pub fn cas(mut self) -> Self {
        self.rest.tail = self.rest.tail.arg("CAS");
        self
    }

    /// How vectors are stored. It must equal that of the set. The default is [`Quantization::Int8`].
    pub fn quantization(mut self, quantization: Quantization) -> Self {
        self.rest.quantization = Some(quantization);
        self
    }

    /// The number of candidates for neighbours (`EF`), 200 by default.
    pub fn exploration(self, candidates: u32) -> Self {
        self.with("EF", candidates)
    }

    /// Sets attributes, an object, for filters in [`VSim::filter`].
    pub fn attributes(mut self, attributes: &impl Serialize) -> Self {
        self.rest.tail = as_json(self.rest.tail.arg("SETATTR"), attributes);
        self
    }

    /// The maximum number of links per element (`M`), 16 by default.
    pub fn links(self, links: u32) -> Self {
        self.with("M", links)
    }
}

command! {
    /// `VSIM`: the elements that are most similar, the most similar first; none if the key does not exist. A read.
    /// [`with_scores`](Self::with_scores) and [`with_attributes`](Self::with_attributes) change the type of the reply.
    /// Needs Redis 8.0.
    VSim<T = String> => Vec<T>
}

impl<T> VSim<T> {
    /// Elements of the vector set at `key` that are similar to a vector.
    pub fn to_vector(key: impl AsRef<[u8]>, vector: &[f32]) -> Self {
        Self::of(add_vector(Frame::known("VSIM").key(key).read_only(), vector))
    }

    /// Elements of the vector set at `key` that are similar to one of its elements, which is included. The server
    /// replies with an error if there is no such element.
    pub fn to_element(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("VSIM").key(key).arg("ELE").arg(element).read_only())
    }

    fn with(mut self, word: &str, value: impl ToSingleRedisArg) -> Self {
        self.frame = self.frame.arg(word).arg(value);
        self
    }

    /// The maximum number of elements, 10 by default.
    pub fn count(self, count: u64) -> Self {
        self.with("COUNT", count)
    }

    /// Only elements whose distance is at most `distance`, from 0.0 to 1.0 (`EPSILON`). Needs Redis 8.2.
    pub fn max_distance(self, distance: f64) -> Self {
        let this = self.with("EPSILON", distance);
        if (0.0..=1.0).contains(&distance) {
            return this;
        }
        Self { frame: this.frame.invalid("max_distance() must be between 0.0 and 1.0"), ..this }
    }

    /// The number of candidates (`EF`): more find more of the true neighbours and take longer.
    pub fn exploration(self, candidates: u32) -> Self {
        self.with("EF", candidates)
    }

    /// Only elements whose attributes fulfil `expression`, such as `.year >= 1980 and .genre in ["drama"]`.
    pub fn filter(self, expression: impl AsRef<str>) -> Self {
        self.with("FILTER", expression.as_ref())
    }

    /// The maximum number of elements that are compared with the filter (`FILTER-EF`), by default a multiple of the
    /// count; at least 1.
    pub fn filter_effort(self, elements: u64) -> Self {
        self.with("FILTER-EF", elements.max(1))
    }

    /// Compares every element, for the exact result (`TRUTH`). Slow.
    pub fn exact(mut self) -> Self {
        self.frame = self.frame.arg("TRUTH");
        self
    }

    /// Runs on the server's main thread (`NOTHREAD`).
    pub fn on_main_thread(mut self) -> Self {
        self.frame = self.frame.arg("NOTHREAD");
        self
    }

    /// Reads each element with its similarity, from 0.0 to 1.0 for equal.
    pub fn with_scores(self) -> VSim<(T, f64)> {
        VSim::of(self.frame.arg("WITHSCORES"))
    }

    /// Reads each element with its similarity and its attributes. Needs Redis 8.2.
    pub fn with_attributes(self) -> VSimAttributes<T> {
        VSimAttributes::of(self.frame.arg("WITHSCORES").arg("WITHATTRIBS"))
    }
}

command! {
    /// `VSIM` with scores and attributes; see [`VSim::with_attributes`].
    VSimAttributes<T = String> => Vec<Similar<T>>, by replies::similar::<T>
}

command! {
    /// `VEMB`: the vector of an element, approximated if it is quantized, or `None` if there is no such element. A
    /// read. Needs Redis 8.0.
    VEmb => Option<Vec<f32>>
}

impl VEmb {
    /// Reads the vector of `element` in the vector set at `key`.
    pub fn new(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("VEMB").key(key).arg(element).read_only())
    }

    /// Reads the vector as the server stores it.
    pub fn raw(self) -> VEmbRaw {
        VEmbRaw::of(self.frame.arg("RAW"))
    }
}

command! {
    /// `VEMB` with `RAW`: the vector as the server stores it; see [`VEmb::raw`].
    VEmbRaw => Option<RawVector>, by replies::raw
}

command! {
    /// `VLINKS`: the neighbours of an element in each layer of the graph, the topmost layer first, or `None` if there
    /// is no such element. A read. Needs Redis 8.0.
    VLinks<T = String> => Option<Vec<Vec<T>>>
}

impl<T> VLinks<T> {
    /// Reads the neighbours of `element` in the vector set at `key`.
    pub fn new(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("VLINKS").key(key).arg(element).read_only())
    }

    /// Reads each neighbour with its similarity.
    pub fn with_scores(self) -> VLinks<(T, f64)> {
        VLinks::of(self.frame.arg("WITHSCORES"))
    }
}

command! {
    /// `VGETATTR`: the attributes of an element, JSON text, or `None` if it has none or does not exist. A read. Needs
    /// Redis 8.0. [`Json`](crate::Json) decodes them: `VGetAttr::<Json<Movie>>::new("movies", "alien")`.
    VGetAttr<T = String> => Option<T>
}

impl<T> VGetAttr<T> {
    /// Reads the attributes of `element` in the vector set at `key`.
    pub fn new(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("VGETATTR").key(key).arg(element).read_only())
    }
}

command! {
    /// `VSETATTR`: sets or removes the attributes of an element. The reply is whether it exists. Needs Redis 8.0.
    VSetAttr => bool
}

impl VSetAttr {
    /// Sets the attributes of `element` in the vector set at `key`, an object.
    pub fn new(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg, attributes: &impl Serialize) -> Self {
        Self::of(as_json(Frame::known("VSETATTR").key(key).arg(element), attributes))
    }

    /// Removes the attributes of `element`.
    pub fn remove(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("VSETATTR").key(key).arg(element).arg(""))
    }
}

command! {
    /// `VCARD`: the number of elements, 0 if the key does not exist. A read. Needs Redis 8.0.
    VCard => u64
}

impl VCard {
    /// Counts the elements of the vector set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("VCARD").key(key).read_only())
    }
}

command! {
    /// `VDIM`: the number of dimensions, after reduction. The server replies with an error if the key does not exist.
    /// A read. Needs Redis 8.0.
    VDim => u64
}

impl VDim {
    /// Reads the dimension of the vector set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("VDIM").key(key).read_only())
    }
}

command! {
    /// `VINFO`: properties of a vector set, or `None` if the key does not exist. A read. Needs Redis 8.0.
    VInfo => Option<VectorSetInfo>, by replies::info
}

impl VInfo {
    /// Describes the vector set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("VINFO").key(key).read_only())
    }
}

command! {
    /// `VRANDMEMBER`: random elements. A read. Needs Redis 8.0.
    VRandMember<T = String> => Vec<T>, by one_or_many::<T>
}

impl<T> VRandMember<T> {
    /// Reads one random element of the vector set at `key`; none if the key does not exist.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("VRANDMEMBER").key(key).read_only())
    }

    /// Reads up to `count` distinct elements.
    pub fn distinct(mut self, count: u32) -> Self {
        self.frame = self.frame.arg(count);
        self
    }

    /// Reads exactly `count` elements, which may repeat.
    pub fn repeating(mut self, count: u32) -> Self {
        self.frame = self.frame.arg(-i64::from(count));
        self
    }
}

fn one_or_many<T: FromRedisValue>(value: Value) -> Result<Vec<T>> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::Array(_) | Value::Set(_) => decode(value),
        one => Ok(vec![decode(one)?]),
    }
}

command! {
    /// `VREM`: removes an element. The reply is whether it existed. Needs Redis 8.0.
    VRem => bool
}

impl VRem {
    /// Removes `element` from the vector set at `key`.
    pub fn new(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("VREM").key(key).arg(element))
    }
}

command! {
    /// `VISMEMBER`: whether an element exists. A read. Needs Redis 8.0.
    VIsMember => bool
}

impl VIsMember {
    /// Whether the vector set at `key` has `element`.
    pub fn new(key: impl AsRef<[u8]>, element: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("VISMEMBER").key(key).arg(element).read_only())
    }
}

command! {
    /// `VRANGE`: elements in a range of names, compared as bytes. A read. Needs Redis 8.4.
    VRange<T = String> => Vec<T>
}

impl<T> VRange<T> {
    /// Reads the elements of the vector set at `key` from one name to another: `"a".."c"`, `"b"..`.
    pub fn new<M: AsRef<[u8]>>(key: impl AsRef<[u8]>, elements: impl RangeBounds<M>) -> Self {
        let (from, to): (Bound<&M>, Bound<&M>) = (elements.start_bound(), elements.end_bound());
        let frame = Frame::known("VRANGE").key(key);
        Self::of(frame.arg(lex_bound(from, b"-")).arg(lex_bound(to, b"+")).read_only())
    }

    /// The maximum number of elements, without limit by default.
    pub fn count(mut self, count: u32) -> Self {
        self.frame = self.frame.arg(count);
        self
    }
}
