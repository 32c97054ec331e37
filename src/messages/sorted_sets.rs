//! Sorted sets.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use redis::ToSingleRedisArg;

use super::{
    Rest,
    arguments::{IntoScored, IntoValues, Score},
    at_least_one, choose, some_values,
};
use crate::frame::Frame;

const NO_MEMBER: &str = "needs at least one member";
pub(super) const NAN_BOUND: &str = "a score is NaN; scores must be numbers";

/// The members of ZADD, behind its options.
#[derive(Clone, Default)]
struct Added {
    /// The methods that were called: whether members exist, and how scores change.
    exists: &'static str,
    changes: &'static str,
    members: Frame,
}

impl Rest for Added {
    fn finish(self, head: Frame) -> Frame {
        let head = match (self.exists, self.changes) {
            ("if_absent()", changes) if !changes.is_empty() => {
                head.refuse(format!("if_absent() and {changes} exclude each other: remove one of the two"))
            }
            _ => head,
        };
        head.concat(self.members)
    }
}

command! {
    /// `ZADD`: adds members with their scores, or changes the scores of existing members. The reply is the number of
    /// new members. [`incr`](Self::incr) changes the type of the reply.
    ///
    /// ```
    /// use redis_actix::{Command, ZAdd};
    ///
    /// let frame = ZAdd::new("board", [(10.0, "ada"), (7.5, "grace")]).if_greater().frame();
    /// assert_eq!(frame.args().nth(2), Some(&b"GT"[..]));
    /// ```
    ZAdd<T = u64>, rest Added => T
}

impl ZAdd {
    /// Adds one pair of score and member or several, at least one, to the sorted set at `key`. A missing key counts as
    /// empty. A score is a number of any type and may be infinite; NaN is refused.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoScored<M>) -> Self {
        let mut add = Self::of(Frame::known("ZADD").key(key));
        add.rest.members = at_least_one(Frame::default(), NO_MEMBER, |frame| members.add_scored(frame));
        add
    }

    /// Counts members with a changed score as well as new ones.
    pub fn changed(self) -> Self {
        self.opt("CH")
    }

    /// Adds the score to that of the one member. The reply is its new score, or `None` if a condition was not met.
    pub fn incr(self) -> ZAdd<Option<f64>> {
        let frame = if self.rest.members.len() == 2 {
            self.frame.arg("INCR")
        } else {
            self.frame.invalid("incr() requires exactly one member")
        };
        ZAdd { frame, rest: self.rest, reply: PhantomData }
    }
}

impl<T> ZAdd<T> {
    /// Only adds new members, without changing scores.
    pub fn if_absent(mut self) -> Self {
        self.frame = choose(&mut self.rest.exists, "if_absent()", self.frame, "NX");
        self
    }

    /// Only changes scores, without adding members.
    pub fn if_present(mut self) -> Self {
        self.frame = choose(&mut self.rest.exists, "if_present()", self.frame, "XX");
        self
    }

    /// Changes a score only to a greater one, and adds new members. Needs Redis 6.2.
    pub fn if_greater(mut self) -> Self {
        self.frame = choose(&mut self.rest.changes, "if_greater()", self.frame, "GT");
        self
    }

    /// Changes a score only to a lower one, and adds new members. Needs Redis 6.2.
    pub fn if_less(mut self) -> Self {
        self.frame = choose(&mut self.rest.changes, "if_less()", self.frame, "LT");
        self
    }
}

/// The range between two bounds, and how it is read.
#[derive(Clone, Default)]
pub(super) struct Span {
    from: Vec<u8>,
    to: Vec<u8>,
    by: By,
    reverse: bool,
    limit: Option<(u64, u64)>,
    scores: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum By {
    #[default]
    Index,
    Score,
    Lex,
}

impl Span {
    pub(super) fn new(by: By, from: Vec<u8>, to: Vec<u8>) -> Self {
        Self { from, to, by, ..Self::default() }
    }

    pub(super) fn reverse(&mut self) {
        self.reverse = true;
    }

    pub(super) fn limit(&mut self, offset: u64, count: u64) {
        self.limit = Some((offset, count));
    }
}

impl Rest for Span {
    fn finish(self, head: Frame) -> Frame {
        let is_nan = |bound: &[u8]| bound.ends_with(b"NaN");
        let head = match self.by {
            By::Score if is_nan(&self.from) || is_nan(&self.to) => head.invalid(NAN_BOUND),
            _ => head,
        };
        // In reverse order the server expects the upper bound of scores and texts first. Positions are counted from
        // the other end instead.
        let swap = self.reverse && self.by != By::Index;
        let (first, second) = if swap { (&self.to, &self.from) } else { (&self.from, &self.to) };
        let mut frame = head.arg(&first[..]).arg(&second[..]);
        match self.by {
            By::Index => {}
            By::Score => frame = frame.arg("BYSCORE"),
            By::Lex => frame = frame.arg("BYLEX"),
        }
        if self.reverse {
            frame = frame.arg("REV");
        }
        if let Some(limit) = self.limit {
            frame = match self.by {
                By::Index => frame.invalid("limit() requires by_score() or by_lex(); change the positions instead"),
                By::Score | By::Lex => frame.arg("LIMIT").arg(limit),
            };
        }
        match (self.scores, self.by) {
            (false, _) => frame,
            (true, By::Lex) => frame.invalid("with_scores() is not possible with by_lex(): remove one of the two"),
            (true, By::Index | By::Score) => frame.arg("WITHSCORES"),
        }
    }
}

command! {
    /// `ZRANGE`: members between two positions, scores or texts, ordered by score; empty if there are none or the key
    /// does not exist. A read. Needs Redis 6.2.
    ///
    /// ```
    /// use redis_actix::{Command, ZRange};
    ///
    /// let best = ZRange::<String>::by_score("board", 10.0..).rev().limit(0, 3).frame();
    /// let words: Vec<&[u8]> = best.args().skip(2).collect();
    /// assert_eq!(words, [&b"+inf"[..], b"10.0", b"BYSCORE", b"REV", b"LIMIT", b"0", b"3"]);
    /// ```
    ZRange<T>, rest Span => Vec<T>
}

impl<T> ZRange<T> {
    /// Reads from position `start` to `stop`, both included; 0 is the lowest score, -1 the highest.
    pub fn new(key: impl AsRef<[u8]>, start: i64, stop: i64) -> Self {
        Self::between(key, By::Index, start.to_string().into_bytes(), stop.to_string().into_bytes())
    }

    /// Reads the members with scores in a range: `1.0..=5.0`, `10.0..`, `..`.
    pub fn by_score(key: impl AsRef<[u8]>, scores: impl RangeBounds<f64>) -> Self {
        let from = score_bound(scores.start_bound(), "-inf");
        Self::between(key, By::Score, from, score_bound(scores.end_bound(), "+inf"))
    }

    /// Reads members in a range of texts, compared as bytes: `"a".."c"`, `"b"..`. All scores of the sorted set must
    /// be equal.
    pub fn by_lex<M: AsRef<[u8]>>(key: impl AsRef<[u8]>, members: impl RangeBounds<M>) -> Self {
        let from = lex_bound(members.start_bound(), b"-");
        Self::between(key, By::Lex, from, lex_bound(members.end_bound(), b"+"))
    }

    fn between(key: impl AsRef<[u8]>, by: By, from: Vec<u8>, to: Vec<u8>) -> Self {
        let mut range = Self::of(Frame::known("ZRANGE").key(key).read_only());
        range.rest = Span { from, to, by, ..Span::default() };
        range
    }

    /// Reads from the highest to the lowest. Positions are counted from the highest; ranges are unchanged, with the
    /// lower bound first.
    pub fn rev(mut self) -> Self {
        self.rest.reverse = true;
        self
    }

    /// Skips `offset` members, then reads up to `count`. For ranges of scores and texts.
    pub fn limit(mut self, offset: u64, count: u64) -> Self {
        self.rest.limit = Some((offset, count));
        self
    }

    /// Reads each member with its score. Not for ranges of texts.
    pub fn with_scores(mut self) -> ZRange<(T, f64)> {
        self.rest.scores = true;
        ZRange { frame: self.frame, rest: self.rest, reply: PhantomData }
    }
}

pub(super) fn score_bound(bound: Bound<&f64>, open: &str) -> Vec<u8> {
    match bound {
        Bound::Included(score) => format!("{score:?}"),
        Bound::Excluded(score) => format!("({score:?}"),
        Bound::Unbounded => open.to_owned(),
    }
    .into_bytes()
}

/// Adds both bounds of a range of scores.
pub(super) fn score_range(frame: Frame, scores: &impl RangeBounds<f64>) -> Frame {
    let (start, end) = (scores.start_bound(), scores.end_bound());
    let is_nan =
        |bound: Bound<&f64>| matches!(bound, Bound::Included(score) | Bound::Excluded(score) if f64::is_nan(*score));
    let frame = if is_nan(start) || is_nan(end) { frame.invalid(NAN_BOUND) } else { frame };
    frame.arg(score_bound(start, "-inf")).arg(score_bound(end, "+inf"))
}

pub(super) fn lex_bound<M: AsRef<[u8]>>(bound: Bound<&M>, open: &[u8]) -> Vec<u8> {
    match bound {
        Bound::Included(member) => [b"[", member.as_ref()].concat(),
        Bound::Excluded(member) => [b"(", member.as_ref()].concat(),
        Bound::Unbounded => open.to_vec(),
    }
}

command! {
    /// `ZREM`: removes members. The reply is the number of members that existed.
    ZRem => u64
}

impl ZRem {
    /// Removes `members`, at least one, from the sorted set at `key`.
    pub fn new<M>(key: impl AsRef<[u8]>, members: impl IntoValues<M>) -> Self {
        Self::of(some_values(Frame::known("ZREM").key(key), members, NO_MEMBER))
    }
}

command! {
    /// `ZSCORE`: the score of a member, or `None` if the key or the member does not exist. A read.
    ZScore => Option<f64>
}

impl ZScore {
    /// Reads the score of `member` in the sorted set at `key`.
    pub fn new(key: impl AsRef<[u8]>, member: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("ZSCORE").key(key).arg(member).read_only())
    }
}

command! {
    /// `ZCARD`: the number of members of a sorted set, 0 if the key does not exist. A read.
    ZCard => u64
}

impl ZCard {
    /// Counts the members of the sorted set at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("ZCARD").key(key).read_only())
    }
}

command! {
    /// `ZINCRBY`: adds to the score of a member. The reply is its new score.
    ZIncrBy => f64
}

impl ZIncrBy {
    /// Adds `by` to the score of `member` in the sorted set at `key`. A missing member counts as 0 and is added.
    pub fn new(key: impl AsRef<[u8]>, by: impl Score, member: impl ToSingleRedisArg) -> Self {
        Self::of(by.add_score(Frame::known("ZINCRBY").key(key)).arg(member))
    }
}
