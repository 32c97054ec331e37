//! Unions, intersections and differences of sorted sets.

use std::marker::PhantomData;

use super::arguments::{IntoKeys, Score};
use super::{Rest, counted_keys};
use crate::frame::Frame;

/// How the scores of a member in several sorted sets become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregate {
    /// The sum. The server's default.
    Sum,
    /// The lowest.
    Min,
    /// The highest.
    Max,
    /// The number of sorted sets that have the member. Needs Redis 8.8.
    Count,
}

impl Aggregate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Count => "COUNT",
        }
    }
}

/// The keys of a combination, and its options.
#[derive(Clone, Default)]
struct Combination {
    keys: usize,
    weights: Option<Frame>,
    aggregate: Option<Aggregate>,
    scores: bool,
}

impl Rest for Combination {
    fn finish(self, head: Frame) -> Frame {
        let head = match self.weights {
            Some(weights) if weights.len() == self.keys => head.arg("WEIGHTS").concat(weights),
            Some(_) => head.invalid("weights() needs one weight for each key"),
            None => head,
        };
        let head = match self.aggregate {
            Some(aggregate) => head.arg("AGGREGATE").arg(aggregate.as_str()),
            None => head,
        };
        if self.scores { head.arg("WITHSCORES") } else { head }
    }
}

/// The number of keys in a frame that begins with a name, a destination if any, and the number of keys.
fn keys_of(frame: &Frame, before: usize) -> usize {
    frame.len().saturating_sub(before)
}

/// The options of unions and intersections.
macro_rules! weighted {
    ($name:ident $(<$t:ident>)?) => {
        impl $(<$t>)? $name $(<$t>)? {
            /// Multiplies the scores of each sorted set with a weight, one for each key. NaN is refused.
            pub fn weights<S: Score>(mut self, weights: impl IntoIterator<Item = S>) -> Self {
                self.rest.weights =
                    Some(weights.into_iter().fold(Frame::default(), |frame, weight| weight.add_score(frame)));
                self
            }

            /// Sets how the scores of a member become one.
            pub fn aggregate(mut self, aggregate: Aggregate) -> Self {
                self.rest.aggregate = Some(aggregate);
                self
            }
        }
    };
}

/// A combination that is read.
macro_rules! combined {
    ($(#[$meta:meta])* $name:ident, $command:literal) => {
        command! {
            $(#[$meta])*
            $name<T>, rest Combination => Vec<T>
        }

        impl<T> $name<T> {
            /// Combines the sorted sets, or sets, at `keys`, at least one. In a cluster all keys must be in one slot.
            pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
                let mut combined = Self::of(counted_keys(Frame::known($command), keys).read_only());
                combined.rest.keys = keys_of(&combined.frame, 2);
                combined
            }

            /// Reads each member with its score.
            pub fn with_scores(mut self) -> $name<(T, f64)> {
                self.rest.scores = true;
                $name { frame: self.frame, rest: self.rest, reply: PhantomData }
            }
        }
    };
}

combined! {
    /// `ZUNION`: the members of all sorted sets, ordered by score. A read. Needs Redis 6.2.
    ///
    /// ```
    /// use redis_actix::{Command, commands::sorted_sets::{Aggregate, ZUnion}};
    ///
    /// let best = ZUnion::<String>::new(["week:1", "week:2"]).weights([1, 2]).aggregate(Aggregate::Max).with_scores();
    /// assert_eq!(best.frame().args().count(), 10);
    /// ```
    ZUnion, "ZUNION"
}

weighted!(ZUnion<T>);

combined! {
    /// `ZINTER`: the members that all sorted sets have, ordered by score. A read. Needs Redis 6.2.
    ZInter, "ZINTER"
}

weighted!(ZInter<T>);

combined! {
    /// `ZDIFF`: the members of the first sorted set that are in none of the others, ordered by score. A read. Needs Redis
    /// 6.2.
    ZDiff, "ZDIFF"
}

/// A combination that is written.
macro_rules! stored {
    ($(#[$meta:meta])* $name:ident, $command:literal) => {
        command! {
            $(#[$meta])*
            $name, rest Combination => u64
        }

        impl $name {
            /// Combines the sorted sets, or sets, at `keys`, at least one, and overwrites `destination`. In a cluster all
            /// keys must be in one slot.
            pub fn new<M>(destination: impl AsRef<[u8]>, keys: impl IntoKeys<M>) -> Self {
                let mut stored = Self::of(counted_keys(Frame::known($command).key(destination), keys));
                stored.rest.keys = keys_of(&stored.frame, 3);
                stored
            }
        }
    };
}

stored! {
    /// `ZUNIONSTORE`: writes the members of all sorted sets. The reply is their number.
    ZUnionStore, "ZUNIONSTORE"
}

weighted!(ZUnionStore);

stored! {
    /// `ZINTERSTORE`: writes the members that all sorted sets have. The reply is their number.
    ZInterStore, "ZINTERSTORE"
}

weighted!(ZInterStore);

stored! {
    /// `ZDIFFSTORE`: writes the members of the first sorted set that are in none of the others. The reply is their number.
    /// Needs Redis 6.2.
    ZDiffStore, "ZDIFFSTORE"
}

command! {
    /// `ZINTERCARD`: the number of members that all of several sorted sets have. A read. Needs Redis 7.0.
    ZInterCard => u64
}

impl ZInterCard {
    /// Counts the common members of the sorted sets at `keys`, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(counted_keys(Frame::known("ZINTERCARD"), keys).read_only())
    }

    /// Stops counting at `members`. 0 is unlimited.
    pub fn limit(self, members: u64) -> Self {
        self.opt(("LIMIT", members))
    }
}
