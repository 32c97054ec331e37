//! Sorted sets: ranks, counts, taking and removing members.

use std::ops::RangeBounds;

use redis::{FromRedisValue, ToSingleRedisArg, Value};

use super::arguments::{IntoKeys, IntoValues};
use super::blocking::{Popped, ScoreEnd};
use super::sorted_sets::{By, Span, lex_bound, score_bound, score_range};
use super::{counted_keys, decode, shape, some_values};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};

command! {
    /// `ZCOUNT`: the number of members with scores in a range. A read.
    ZCount => u64
}

impl ZCount {
    /// Counts in the sorted set at `key`: `1.0..=5.0`, `10.0..`, `..`.
    pub fn new(key: impl AsRef<[u8]>, scores: impl RangeBounds<f64>) -> Self {
        Self::of(score_range(Frame::known("ZCOUNT").key(key), &scores).read_only())
    }
}

command! {
    /// `ZLEXCOUNT`: the number of members in a range of texts, if all scores are equal. A read.
    ZLexCount => u64
}

impl ZLexCount {
    /// Counts in the sorted set at `key`: `"a".."c"`, `"b"..`.
    pub fn new<M: AsRef<[u8]>>(key: impl AsRef<[u8]>, members: impl RangeBounds<M>) -> Self {
        let (from, to) = (lex_bound(members.start_bound(), b"-"), lex_bound(members.end_bound(), b"+"));
        Self::of(Frame::known("ZLEXCOUNT").key(key).arg(from).arg(to).read_only())
    }
}

/// A message about the rank of a member, and its form with the score.
macro_rules! ranks {
    ($(#[$meta:meta])* $name:ident, $(#[$with_meta:meta])* $with:ident, $command:literal) => {
        command! {
            $(#[$meta])*
            $name => Option<u64>
        }

        impl $name {
            /// Ranks `member` of the sorted set at `key`.
            pub fn new(key: impl AsRef<[u8]>, member: impl ToSingleRedisArg) -> Self {
                Self::of(Frame::known($command).key(key).arg(member).read_only())
            }

            /// Also returns the score. Needs Redis 7.2.
            pub fn with_score(self) -> $with {
                $with::of(self.frame.arg("WITHSCORE"))
            }
        }

        command! {
            $(#[$with_meta])*
            $with => Option<(u64, f64)>, by rank_and_score
        }
    };
}

ranks! {
    /// `ZRANK`: the rank of a member from the lowest score on, which is 0, or `None` if it does not exist. A read.
    ZRank,
    /// `ZRANK .. WITHSCORE`: rank and score of a member. A read. Created by [`ZRank::with_score`].
    ZRankWithScore,
    "ZRANK"
}

ranks! {
    /// `ZREVRANK`: the rank of a member from the highest score on, which is 0, or `None` if it does not exist. A read.
    ///
    /// ```
    /// use redis_actix::{Command, commands::sorted_sets::ZRevRank};
    ///
    /// assert_eq!(ZRevRank::new("board", "ada").with_score().frame().args().count(), 4);
    /// ```
    ZRevRank,
    /// `ZREVRANK .. WITHSCORE`: rank from the highest score on, and score. A read. Created by [`ZRevRank::with_score`].
    ZRevRankWithScore,
    "ZREVRANK"
}

fn rank_and_score(value: Value) -> Result<Option<(u64, f64)>> {
    shape::optional(value, |value| {
        let mut parts = shape::items(value)?.into_iter();
        Ok((decode(shape::next(&mut parts)?)?, decode(shape::next(&mut parts)?)?))
    })
}

command! {
    /// `ZMSCORE`: the scores of members in order, `None` for each that does not exist. A read. Needs Redis 6.2.
    ZMScore => Vec<Option<f64>>
}

impl ZMScore {
    /// Reads `members`, at least one, of the sorted set at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("ZMSCORE").key(key), members, "needs at least one member").read_only())
    }
}

/// A message that takes the members of one end.
macro_rules! pops {
    ($(#[$meta:meta])* $name:ident, $(#[$many_meta:meta])* $many:ident, $command:literal) => {
        command! {
            $(#[$meta])*
            $name<T> => Option<(T, f64)>, by first_scored
        }

        impl<T> $name<T> {
            /// Takes from the sorted set at `key`.
            pub fn new(key: impl AsRef<[u8]>) -> Self {
                Self::of(Frame::known($command).key(key))
            }

            /// Takes up to `members` members.
            pub fn count(self, members: u64) -> $many<T> {
                $many::of(self.frame.arg(members))
            }
        }

        command! {
            $(#[$many_meta])*
            $many<T> => Vec<(T, f64)>, by scored
        }
    };
}

pops! {
    /// `ZPOPMIN`: takes the member with the lowest score, or `None` if the key does not exist.
    ZPopMin,
    /// `ZPOPMIN` with a count: takes members with the lowest scores. Created by [`ZPopMin::count`].
    ZPopMinMany,
    "ZPOPMIN"
}

pops! {
    /// `ZPOPMAX`: takes the member with the highest score, or `None` if the key does not exist.
    ZPopMax,
    /// `ZPOPMAX` with a count: takes members with the highest scores. Created by [`ZPopMax::count`].
    ZPopMaxMany,
    "ZPOPMAX"
}

/// Members with their scores: pairs in RESP3, a flat list in RESP2, and one flat pair of ZPOPMIN without a count.
pub(super) fn scored<T: FromRedisValue>(value: Value) -> Result<Vec<(T, f64)>> {
    let items = shape::items(value)?;
    let is_nested = matches!(items.first(), Some(Value::Array(_)));
    let pairs: Vec<(Value, Value)> = if is_nested {
        let pair = |one| {
            let mut parts = shape::items(one)?.into_iter();
            Ok((shape::next(&mut parts)?, shape::next(&mut parts)?))
        };
        items.into_iter().map(pair).collect::<Result<_>>()?
    } else {
        shape::pairs(Value::Array(items))?
    };
    pairs.into_iter().map(|(member, score)| Ok((decode(member)?, decode(score)?))).collect()
}

fn first_scored<T: FromRedisValue>(value: Value) -> Result<Option<(T, f64)>> {
    Ok(scored(value)?.into_iter().next())
}

command! {
    /// `ZMPOP`: takes members of the first non-empty sorted set, or `None` if all are empty. Needs Redis 7.0.
    ZMPop<T> => Option<Popped<Vec<(T, f64)>>>, by popped
}

impl<T> ZMPop<T> {
    /// Takes one member from an end of the first non-empty sorted set at `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>, end: ScoreEnd) -> Self {
        let frame = counted_keys(Frame::known("ZMPOP").reply_keys(ReplyKeys::First), keys);
        Self::of(frame.arg(end.as_str()))
    }

    /// Takes up to `members` members, at least 1.
    pub fn count(self, members: u64) -> Self {
        self.opt(("COUNT", members.max(1)))
    }
}

type Members<T> = Vec<(T, f64)>;

fn popped<T: FromRedisValue>(value: Value) -> Result<Option<Popped<Members<T>>>> {
    shape::optional(value, |value| {
        let mut parts = shape::items(value)?.into_iter();
        Ok(Popped { key: shape::bytes(shape::next(&mut parts)?)?, value: scored(shape::next(&mut parts)?)? })
    })
}

command! {
    /// `ZRANDMEMBER`: a random member, or `None` if the key does not exist. A read. Needs Redis 6.2.
    ZRandMember<T> => Option<T>
}

impl<T> ZRandMember<T> {
    /// Reads the sorted set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("ZRANDMEMBER").key(key).read_only())
    }

    /// Reads up to `members` different members.
    pub fn count(self, members: u64) -> ZRandMembers<T> {
        ZRandMembers::of(self.frame.arg(members))
    }

    /// Reads exactly `members` members, in which a member may occur several times.
    pub fn count_repeated(self, members: u64) -> ZRandMembers<T> {
        ZRandMembers::of(super::negative(self.frame, members))
    }
}

command! {
    /// `ZRANDMEMBER` with a count: random members. A read. Created by [`ZRandMember::count`].
    ZRandMembers<T> => Vec<T>
}

impl<T> ZRandMembers<T> {
    /// Reads each member with its score.
    pub fn with_scores(self) -> ZRandMembers<(T, f64)> {
        ZRandMembers::of(self.frame.arg("WITHSCORES"))
    }
}

command! {
    /// `ZRANGESTORE`: writes a range of a sorted set into another one. The reply is the number of members. Needs Redis
    /// 6.2.
    ZRangeStore, rest Span => u64
}

impl ZRangeStore {
    fn between(destination: impl AsRef<[u8]>, source: impl AsRef<[u8]>, by: By, from: Vec<u8>, to: Vec<u8>) -> Self {
        let mut range = Self::of(Frame::known("ZRANGESTORE").key(destination).key(source));
        range.rest = Span::new(by, from, to);
        range
    }

    /// Writes positions `start` to `stop`, both included; 0 is the lowest score, -1 the highest. It overwrites
    /// `destination`. In a cluster both must be in one slot.
    pub fn new(destination: impl AsRef<[u8]>, source: impl AsRef<[u8]>, start: i64, stop: i64) -> Self {
        let (from, to) = (start.to_string().into_bytes(), stop.to_string().into_bytes());
        Self::between(destination, source, By::Index, from, to)
    }

    /// Writes the members with scores in a range: `1.0..=5.0`, `10.0..`, `..`.
    pub fn by_score(destination: impl AsRef<[u8]>, source: impl AsRef<[u8]>, scores: impl RangeBounds<f64>) -> Self {
        let (from, to) = (score_bound(scores.start_bound(), "-inf"), score_bound(scores.end_bound(), "+inf"));
        Self::between(destination, source, By::Score, from, to)
    }

    /// Writes members in a range of texts, if all scores are equal.
    pub fn by_lex<M: AsRef<[u8]>>(
        destination: impl AsRef<[u8]>,
        source: impl AsRef<[u8]>,
        members: impl RangeBounds<M>,
    ) -> Self {
        let (from, to) = (lex_bound(members.start_bound(), b"-"), lex_bound(members.end_bound(), b"+"));
        Self::between(destination, source, By::Lex, from, to)
    }

    /// Counts positions and offsets from the highest.
    pub fn rev(mut self) -> Self {
        self.rest.reverse();
        self
    }

    /// Skips `offset` members, then writes up to `count`. For ranges of scores and texts.
    pub fn limit(mut self, offset: u64, count: u64) -> Self {
        self.rest.limit(offset, count);
        self
    }
}

command! {
    /// `ZREMRANGEBYRANK`: removes members between two positions. The reply is the number of removed members.
    ZRemRangeByRank => u64
}

impl ZRemRangeByRank {
    /// Removes positions `start` to `stop`, both included; 0 is the lowest score, -1 the highest.
    pub fn new(key: impl AsRef<[u8]>, start: i64, stop: i64) -> Self {
        Self::of(Frame::known("ZREMRANGEBYRANK").key(key).arg(start).arg(stop))
    }
}

command! {
    /// `ZREMRANGEBYSCORE`: removes members with scores in a range. The reply is the number of removed members.
    ZRemRangeByScore => u64
}

impl ZRemRangeByScore {
    /// Removes from the sorted set at `key`: `1.0..=5.0`, `10.0..`, `..`.
    pub fn new(key: impl AsRef<[u8]>, scores: impl RangeBounds<f64>) -> Self {
        Self::of(score_range(Frame::known("ZREMRANGEBYSCORE").key(key), &scores))
    }
}

command! {
    /// `ZREMRANGEBYLEX`: removes members in a range of texts, if all scores are equal. The reply is the number of removed
    /// members.
    ZRemRangeByLex => u64
}

impl ZRemRangeByLex {
    /// Removes from the sorted set at `key`: `"a".."c"`, `"b"..`.
    pub fn new<M: AsRef<[u8]>>(key: impl AsRef<[u8]>, members: impl RangeBounds<M>) -> Self {
        let (from, to) = (lex_bound(members.start_bound(), b"-"), lex_bound(members.end_bound(), b"+"));
        Self::of(Frame::known("ZREMRANGEBYLEX").key(key).arg(from).arg(to))
    }
}
