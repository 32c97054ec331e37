//! Positions on the earth. A geospatial index is a sorted set: remove members with `ZRem`.

use redis::{FromRedisValue, ToSingleRedisArg, Value};

use super::arguments::IntoValues;
use super::{Chosen, Rest, at_least_one, choose, decode, shape, some_values};
use crate::error::Result;
use crate::frame::Frame;

const NO_MEMBER: &str = "needs at least one member";

/// A position in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeoPoint {
    /// East of Greenwich, from -180 to 180.
    pub longitude: f64,
    /// North of the equator, from -85.05112878 to 85.05112878.
    pub latitude: f64,
}

impl GeoPoint {
    /// Creates a position. The server refuses one outside of the limits.
    #[must_use]
    pub fn new(longitude: f64, latitude: f64) -> Self {
        Self { longitude, latitude }
    }

    fn add_to(self, frame: Frame) -> Frame {
        if self.longitude.is_finite() && self.latitude.is_finite() {
            frame.arg(self.longitude).arg(self.latitude)
        } else {
            frame.invalid("a longitude or latitude is not finite; positions are in degrees")
        }
    }
}

/// A unit of length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GeoUnit {
    /// Metres.
    #[default]
    Metres,
    /// Kilometres.
    Kilometres,
    /// Miles.
    Miles,
    /// Feet.
    Feet,
}

impl GeoUnit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Metres => "m",
            Self::Kilometres => "km",
            Self::Miles => "mi",
            Self::Feet => "ft",
        }
    }
}

command! {
    /// `GEOADD`: adds members with their positions, or moves them. The reply is the number of new members.
    ///
    /// ```
    /// use redis_actix::{Command, commands::geo::{GeoAdd, GeoPoint}};
    ///
    /// let frame = GeoAdd::new("shops", [(GeoPoint::new(13.36, 38.11), "palermo")]).frame();
    /// assert_eq!(frame.args().last(), Some(&b"palermo"[..]));
    /// ```
    GeoAdd, rest Placed => u64
}

/// The members of GEOADD, behind its options.
#[derive(Clone, Default)]
struct Placed {
    chosen: Chosen,
    members: Frame,
}

impl Rest for Placed {
    fn finish(self, head: Frame) -> Frame {
        head.concat(self.members)
    }
}

impl GeoAdd {
    /// Adds `members`, at least one, to the index at `key`. A missing key counts as empty.
    pub fn new<M: ToSingleRedisArg>(key: impl AsRef<[u8]>, members: impl IntoIterator<Item = (GeoPoint, M)>) -> Self {
        let mut add = Self::of(Frame::known("GEOADD").key(key));
        add.rest.members = at_least_one(Frame::default(), NO_MEMBER, |frame| {
            members.into_iter().fold(frame, |frame, (point, member)| point.add_to(frame).arg(member))
        });
        add
    }

    /// Only adds new members, without moving existing ones.
    pub fn if_absent(mut self) -> Self {
        self.frame = choose(&mut self.rest.chosen.condition, "if_absent()", self.frame, "NX");
        self
    }

    /// Only moves existing members, without adding new ones.
    pub fn if_present(mut self) -> Self {
        self.frame = choose(&mut self.rest.chosen.condition, "if_present()", self.frame, "XX");
        self
    }

    /// Counts moved members as well as new ones.
    pub fn changed(self) -> Self {
        self.opt("CH")
    }
}

command! {
    /// `GEODIST`: the distance between two members, or `None` if one does not exist. A read.
    GeoDist => Option<f64>
}

impl GeoDist {
    /// Measures from `from` to `to`, two members of the index at `key`, in metres.
    pub fn new(key: impl AsRef<[u8]>, from: impl ToSingleRedisArg, to: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("GEODIST").key(key).arg(from).arg(to).read_only())
    }

    /// Sets the unit of the reply.
    pub fn unit(self, unit: GeoUnit) -> Self {
        self.opt(unit.as_str())
    }
}

command! {
    /// `GEOHASH`: the geohash texts of members in order, `None` for each that does not exist. A read.
    GeoHash => Vec<Option<String>>
}

impl GeoHash {
    /// Reads `members` of the index at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("GEOHASH").key(key), members, NO_MEMBER).read_only())
    }
}

command! {
    /// `GEOPOS`: the positions of members in order, `None` for each that does not exist. A read.
    GeoPos => Vec<Option<GeoPoint>>, by points
}

impl GeoPos {
    /// Reads `members` of the index at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("GEOPOS").key(key), members, NO_MEMBER).read_only())
    }
}

fn points(value: Value) -> Result<Vec<Option<GeoPoint>>> {
    shape::items(value)?.into_iter().map(|one| shape::optional(one, point)).collect()
}

fn point(value: Value) -> Result<GeoPoint> {
    let mut parts = shape::items(value)?.into_iter();
    Ok(GeoPoint { longitude: decode(shape::next(&mut parts)?)?, latitude: decode(shape::next(&mut parts)?)? })
}

/// The centre of a search.
#[derive(Debug, Clone, PartialEq)]
pub enum GeoFrom {
    /// The position of a member of the index. The server replies with an error if it does not exist.
    Member(Vec<u8>),
    /// A position.
    Point(GeoPoint),
}

impl GeoFrom {
    /// The position of a member of the index.
    #[must_use]
    pub fn member(member: impl AsRef<[u8]>) -> Self {
        Self::Member(member.as_ref().to_vec())
    }
}

impl From<GeoPoint> for GeoFrom {
    fn from(point: GeoPoint) -> Self {
        Self::Point(point)
    }
}

/// The area of a search around its centre.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum GeoBy {
    /// A circle of this radius.
    Radius(f64, GeoUnit),
    /// A rectangle of this width and height.
    Box(f64, f64, GeoUnit),
}

fn area(frame: Frame, from: GeoFrom, by: GeoBy) -> Frame {
    let frame = match from {
        GeoFrom::Member(member) => frame.arg("FROMMEMBER").arg(member),
        GeoFrom::Point(point) => point.add_to(frame.arg("FROMLONLAT")),
    };
    let is_length = |length: f64| length.is_finite() && length >= 0.0;
    match by {
        GeoBy::Radius(radius, unit) if is_length(radius) => frame.arg(("BYRADIUS", radius, unit.as_str())),
        GeoBy::Box(width, height, unit) if is_length(width) && is_length(height) => {
            frame.arg(("BYBOX", width, height, unit.as_str()))
        }
        _ => frame.invalid("the size of the area is negative or not finite"),
    }
}

/// A member that a [`GeoSearch`] found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GeoFound<T> {
    /// The member.
    pub member: T,
    /// The distance to the centre in the unit of the area, if [`GeoSearch::with_dist`] was set.
    pub distance: Option<f64>,
    /// The raw geohash, if [`GeoSearch::with_hash`] was set.
    pub hash: Option<u64>,
    /// The position, if [`GeoSearch::with_coord`] was set.
    pub point: Option<GeoPoint>,
}

fn found<T: FromRedisValue>(value: Value) -> Result<Vec<GeoFound<T>>> {
    shape::items(value)?.into_iter().map(one_found).collect()
}

fn one_found<T: FromRedisValue>(value: Value) -> Result<GeoFound<T>> {
    let mut parts = match value {
        Value::Array(parts) => parts,
        member => vec![member],
    }
    .into_iter();
    let mut found = GeoFound { member: decode(shape::next(&mut parts)?)?, distance: None, hash: None, point: None };
    // The three kinds of facts have different shapes, so the order of the options does not matter.
    for part in parts {
        match part {
            Value::Int(_) => found.hash = Some(shape::count(part)?),
            Value::Array(_) => found.point = Some(point(part)?),
            other => found.distance = Some(decode(other)?),
        }
    }
    Ok(found)
}

/// The options of both searches.
macro_rules! search_options {
    ($name:ident $(<$t:ident>)?) => {
        impl $(<$t>)? $name $(<$t>)? {
            /// Orders by distance, nearest first.
            pub fn asc(mut self) -> Self {
                self.frame = choose(&mut self.rest.condition, "asc()", self.frame, "ASC");
                self
            }

            /// Orders by distance, farthest first.
            pub fn desc(mut self) -> Self {
                self.frame = choose(&mut self.rest.condition, "desc()", self.frame, "DESC");
                self
            }

            /// Finds the `members` nearest members, at least 1.
            pub fn count(mut self, members: u64) -> Self {
                self.frame = choose(&mut self.rest.expiry, "count()", self.frame, ("COUNT", members.max(1)));
                self
            }

            /// Finds any `members` members in the area, at least 1, which is faster than the nearest ones.
            pub fn count_any(mut self, members: u64) -> Self {
                let words = ("COUNT", members.max(1), "ANY");
                self.frame = choose(&mut self.rest.expiry, "count_any()", self.frame, words);
                self
            }
        }
    };
}

command! {
    /// `GEOSEARCH`: the members in an area around a centre. A read. Needs Redis 6.2.
    ///
    /// ```
    /// use redis_actix::{Command, commands::geo::{GeoBy, GeoPoint, GeoSearch, GeoUnit}};
    ///
    /// let here = GeoPoint::new(13.36, 38.11);
    /// let nearby = GeoSearch::<String>::new("shops", here, GeoBy::Radius(5.0, GeoUnit::Kilometres)).asc().with_dist();
    /// assert_eq!(nearby.frame().args().count(), 10);
    /// ```
    GeoSearch<T>, rest Chosen => Vec<GeoFound<T>>, by found
}

impl<T> GeoSearch<T> {
    /// Searches the index at `key`.
    pub fn new(key: impl AsRef<[u8]>, from: impl Into<GeoFrom>, by: GeoBy) -> Self {
        Self::of(area(Frame::known("GEOSEARCH").key(key), from.into(), by).read_only())
    }

    /// Also returns the distance to the centre.
    pub fn with_dist(self) -> Self {
        self.opt("WITHDIST")
    }

    /// Also returns the position.
    pub fn with_coord(self) -> Self {
        self.opt("WITHCOORD")
    }

    /// Also returns the raw geohash.
    pub fn with_hash(self) -> Self {
        self.opt("WITHHASH")
    }
}

search_options!(GeoSearch<T>);

command! {
    /// `GEOSEARCHSTORE`: writes the members in an area into another index. The reply is their number. Needs Redis 6.2.
    GeoSearchStore, rest Chosen => u64
}

impl GeoSearchStore {
    /// Searches the index at `source` and overwrites `destination`. In a cluster both must be in one slot.
    pub fn new(destination: impl AsRef<[u8]>, source: impl AsRef<[u8]>, from: impl Into<GeoFrom>, by: GeoBy) -> Self {
        Self::of(area(Frame::known("GEOSEARCHSTORE").key(destination).key(source), from.into(), by))
    }

    /// Writes distances as scores, in the unit of the area, instead of positions.
    pub fn store_dist(self) -> Self {
        self.opt("STOREDIST")
    }
}

search_options!(GeoSearchStore);
