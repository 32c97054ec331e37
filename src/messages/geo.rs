//! Positions on the earth.

use redis::ToSingleRedisArg;

use crate::frame::Frame;

command! {
    /// `GEODIST`: the distance between two members in metres, or `None` if one does not exist. A read.
    GeoDist => Option<f64>
}

impl GeoDist {
    /// Measures from `from` to `to`, two members of the geospatial index at `key`.
    pub fn new(key: impl AsRef<[u8]>, from: impl ToSingleRedisArg, to: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("GEODIST").key(key).arg(from).arg(to).read_only())
    }
}
