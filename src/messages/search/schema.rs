//! The fields of an index.

use crate::frame::Frame;

/// The distance between two vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DistanceMetric {
    /// The Euclidean distance.
    L2,
    /// The inner product.
    InnerProduct,
    /// One minus the cosine of the angle.
    Cosine,
}

impl DistanceMetric {
    fn word(self) -> &'static str {
        match self {
            Self::L2 => "L2",
            Self::InnerProduct => "IP",
            Self::Cosine => "COSINE",
        }
    }
}

/// The type of the numbers of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum VectorType {
    /// Single precision. The default.
    #[default]
    Float32,
    /// Double precision.
    Float64,
    /// Half precision.
    Float16,
    /// The upper half of single precision.
    BFloat16,
}

impl VectorType {
    fn word(self) -> &'static str {
        match self {
            Self::Float32 => "FLOAT32",
            Self::Float64 => "FLOAT64",
            Self::Float16 => "FLOAT16",
            Self::BFloat16 => "BFLOAT16",
        }
    }
}

/// How vectors are indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VectorIndex {
    algorithm: &'static str,
    dimensions: u32,
    metric: DistanceMetric,
    of: VectorType,
    links: Option<u32>,
    build_exploration: Option<u32>,
}

impl VectorIndex {
    /// Compares with every vector: exact, and fit for some ten thousand vectors.
    #[must_use]
    pub fn flat(dimensions: u32, metric: DistanceMetric) -> Self {
        Self { algorithm: "FLAT", dimensions, metric, of: VectorType::default(), links: None, build_exploration: None }
    }

    /// Searches a graph: approximate, and fit for many vectors.
    #[must_use]
    pub fn hnsw(dimensions: u32, metric: DistanceMetric) -> Self {
        Self { algorithm: "HNSW", ..Self::flat(dimensions, metric) }
    }

    /// The type of the numbers.
    #[must_use]
    pub fn of(mut self, of: VectorType) -> Self {
        self.of = of;
        self
    }

    /// The number of links per vector (`M`), 16 by default. For [`hnsw`](Self::hnsw).
    #[must_use]
    pub fn links(mut self, links: u32) -> Self {
        self.links = Some(links);
        self
    }

    /// The number of candidates for links (`EF_CONSTRUCTION`), 200 by default. For [`hnsw`](Self::hnsw).
    #[must_use]
    pub fn build_exploration(mut self, candidates: u32) -> Self {
        self.build_exploration = Some(candidates);
        self
    }

    fn finish(self, frame: Frame) -> Frame {
        let graph = [("M", self.links), ("EF_CONSTRUCTION", self.build_exploration)];
        let graph: Vec<_> = graph.into_iter().filter_map(|(word, number)| Some((word, number?))).collect();
        let frame = frame.arg("VECTOR").arg(self.algorithm).arg(6 + 2 * graph.len());
        let frame = frame.arg("TYPE").arg(self.of.word()).arg("DIM").arg(self.dimensions);
        let frame = frame.arg("DISTANCE_METRIC").arg(self.metric.word());
        let frame = if self.algorithm == "FLAT" && !graph.is_empty() {
            frame.invalid("links() and build_exploration() are for VectorIndex::hnsw")
        } else {
            frame
        };
        graph.into_iter().fold(frame, |frame, (word, number)| frame.arg(word).arg(number))
    }
}

/// One field of an index: a field of hashes, or a JSONPath such as `$.title`.
///
/// ```
/// use redis_actix::commands::search::Field;
///
/// let title = Field::text("$.title").alias("title").weight(2.0).sortable();
/// let tags = Field::tag("$.tags[*]").alias("tag");
/// ```
#[derive(Debug, Clone)]
#[must_use = "a field does nothing until it is part of an index"]
pub struct Field {
    name: String,
    alias: Option<String>,
    kind: Kind,
    options: Frame,
    sortable: Option<bool>,
    no_index: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Tag,
    Numeric,
    Geo,
    GeoShape(bool),
    Vector(VectorIndex),
}

impl Field {
    fn of(name: impl Into<String>, kind: Kind) -> Self {
        let options = Frame::default();
        Self { name: name.into(), alias: None, kind, options, sortable: None, no_index: false }
    }

    /// Text, which is searched by words.
    pub fn text(name: impl Into<String>) -> Self {
        Self::of(name, Kind::Text)
    }

    /// Labels, which are compared as a whole: `@tag:{new}`.
    pub fn tag(name: impl Into<String>) -> Self {
        Self::of(name, Kind::Tag)
    }

    /// Numbers: `@price:[10 20]`.
    pub fn numeric(name: impl Into<String>) -> Self {
        Self::of(name, Kind::Numeric)
    }

    /// Positions, `longitude,latitude`: `@at:[13.4 52.5 10 km]`.
    pub fn geo(name: impl Into<String>) -> Self {
        Self::of(name, Kind::Geo)
    }

    /// Shapes on the earth, in the format WKT.
    pub fn geo_shape(name: impl Into<String>) -> Self {
        Self::of(name, Kind::GeoShape(true))
    }

    /// Shapes on a plane, in the format WKT.
    pub fn flat_shape(name: impl Into<String>) -> Self {
        Self::of(name, Kind::GeoShape(false))
    }

    /// Vectors.
    pub fn vector(name: impl Into<String>, index: VectorIndex) -> Self {
        Self::of(name, Kind::Vector(index))
    }

    fn with(mut self, add: impl FnOnce(Frame) -> Frame, fits: bool) -> Self {
        self.options = add(self.options);
        if !fits {
            self.options = self.options.invalid("an option does not fit the type of its field");
        }
        self
    }

    /// The name in queries and results.
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.alias = Some(name.into());
        self
    }

    /// Sorts results by this field quickly.
    pub fn sortable(mut self) -> Self {
        self.sortable = Some(false);
        self
    }

    /// Like [`sortable`](Self::sortable), by the exact text (`UNF`).
    pub fn sortable_exact(mut self) -> Self {
        self.sortable = Some(true);
        self
    }

    /// Is not searched, only sorted by (`NOINDEX`).
    pub fn no_index(mut self) -> Self {
        self.no_index = true;
        self
    }

    /// The importance in scores, 1.0 by default. For text.
    pub fn weight(self, weight: f64) -> Self {
        let fits = self.kind == Kind::Text && weight.is_finite();
        self.with(|frame| frame.arg("WEIGHT").arg(weight), fits)
    }

    /// Finds words only in their exact form. For text.
    pub fn no_stem(self) -> Self {
        let fits = self.kind == Kind::Text;
        self.with(|frame| frame.arg("NOSTEM"), fits)
    }

    /// Finds words that sound alike; the language is `en`, `fr`, `pt` or `es`. For text.
    pub fn phonetic(self, language: &str) -> Self {
        let fits = self.kind == Kind::Text;
        self.with(|frame| frame.arg("PHONETIC").arg(format!("dm:{language}")), fits)
    }

    /// The character between labels, `,` by default. For tags of hashes.
    pub fn separator(self, separator: char) -> Self {
        let fits = self.kind == Kind::Tag;
        self.with(|frame| frame.arg("SEPARATOR").arg(separator.to_string()), fits)
    }

    /// Distinguishes upper and lower case. For tags.
    pub fn case_sensitive(self) -> Self {
        let fits = self.kind == Kind::Tag;
        self.with(|frame| frame.arg("CASESENSITIVE"), fits)
    }

    /// Makes queries by suffix and part fast: `*word*`. For text and tags.
    pub fn suffix_trie(self) -> Self {
        let fits = matches!(self.kind, Kind::Text | Kind::Tag);
        self.with(|frame| frame.arg("WITHSUFFIXTRIE"), fits)
    }

    /// Finds documents with an empty text. For text and tags. Needs RediSearch 2.10.
    pub fn index_empty(self) -> Self {
        let fits = matches!(self.kind, Kind::Text | Kind::Tag);
        self.with(|frame| frame.arg("INDEXEMPTY"), fits)
    }

    /// Finds documents without the field: `ismissing(@name)`. Needs RediSearch 2.10.
    pub fn index_missing(self) -> Self {
        self.with(|frame| frame.arg("INDEXMISSING"), true)
    }

    pub(super) fn finish(self, frame: Frame) -> Frame {
        let frame = frame.arg(self.name);
        let frame = match self.alias {
            Some(alias) => frame.arg("AS").arg(alias),
            None => frame,
        };
        let frame = match self.kind {
            Kind::Text => frame.arg("TEXT"),
            Kind::Tag => frame.arg("TAG"),
            Kind::Numeric => frame.arg("NUMERIC"),
            Kind::Geo => frame.arg("GEO"),
            Kind::GeoShape(spherical) => frame.arg("GEOSHAPE").arg(if spherical { "SPHERICAL" } else { "FLAT" }),
            Kind::Vector(index) => index.finish(frame),
        };
        let mut frame = frame.concat(self.options);
        if let Some(exact) = self.sortable {
            frame = frame.arg("SORTABLE");
            frame = if exact { frame.arg("UNF") } else { frame };
        }
        if self.no_index { frame.arg("NOINDEX") } else { frame }
    }
}
