//! Commands that wait for something to come.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::{decode, shape, some_keys};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};
use crate::prefix::waits::{milliseconds, seconds};

/// What was taken, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Popped<T> {
    /// The key it was taken from, without the prefix.
    pub key: Vec<u8>,
    /// What was taken.
    pub value: T,
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListEnd {
    /// The head, where `LPUSH` adds.
    Left,
    /// The tail, where `RPUSH` adds.
    Right,
}

impl ListEnd {
    fn as_str(self) -> &'static str {
        match self {
            Self::Left => "LEFT",
            Self::Right => "RIGHT",
        }
    }
}

/// An end of a sorted set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScoreEnd {
    /// The lowest scores.
    Min,
    /// The highest scores.
    Max,
}

impl ScoreEnd {
    fn as_str(self) -> &'static str {
        match self {
            Self::Min => "MIN",
            Self::Max => "MAX",
        }
    }
}

/// Makes a frame one that waits for up to `longest`.
fn hold(frame: Frame, longest: Duration) -> Frame {
    frame.hold(Duration::from_millis(milliseconds(longest)))
}

/// `name key [key ...] seconds`
fn pop<K: AsRef<[u8]>>(name: &str, keys: impl IntoIterator<Item = K>, longest: Duration) -> Frame {
    let frame = some_keys(Frame::known(name).reply_keys(ReplyKeys::First), keys);
    hold(frame.arg(seconds(longest)), longest)
}

/// `name seconds count key [key ...] end`
fn pop_many<K: AsRef<[u8]>>(
    name: &str,
    keys: impl IntoIterator<Item = K>,
    end: &'static str,
    longest: Duration,
) -> Frame {
    let names = some_keys(Frame::default(), keys);
    let count = names.len();
    let frame = Frame::known(name).reply_keys(ReplyKeys::First).arg(seconds(longest)).arg(count);
    hold(frame.concat(names).arg(end), longest)
}

/// The key, and what `take` makes of the rest. Nil when nothing came.
fn popped<T>(
    value: Value,
    take: impl FnOnce(&mut std::vec::IntoIter<Value>) -> Result<T>,
) -> Result<Option<Popped<T>>> {
    shape::optional(value, |value| {
        let mut parts = shape::items(value)?.into_iter();
        Ok(Popped { key: shape::bytes(shape::next(&mut parts)?)?, value: take(&mut parts)? })
    })
}

fn one<T: FromRedisValue>(value: Value) -> Result<Option<Popped<T>>> {
    popped(value, |parts| decode(shape::next(parts)?))
}

fn scored<T: FromRedisValue>(value: Value) -> Result<Option<Popped<(T, f64)>>> {
    popped(value, member)
}

type Members<T> = Vec<(T, f64)>;

fn many_scored<T: FromRedisValue>(value: Value) -> Result<Option<Popped<Members<T>>>> {
    popped(value, |parts| {
        let members = shape::items(shape::next(parts)?)?;
        members.into_iter().map(|one| member(&mut shape::items(one)?.into_iter())).collect()
    })
}

fn member<T: FromRedisValue>(parts: &mut std::vec::IntoIter<Value>) -> Result<(T, f64)> {
    Ok((decode(shape::next(parts)?)?, decode(shape::next(parts)?)?))
}

/// Gives a message another reply type.
macro_rules! typed {
    ($name:ident) => {
        impl<T> $name<T> {
            /// The same with values of another type than bytes.
            pub fn typed<U>(self) -> $name<U> {
                $name::of(self.frame)
            }
        }
    };
}

command! {
    /// `BLPOP`: takes the first value of the first of several lists that has one, or waits for one; `None`
    /// when none came in time.
    ///
    /// It runs on a connection of its own, which is made when it is needed and shared with nobody meanwhile,
    /// so no other command waits behind it. There is a [bound](crate::LinkLimit) on such connections: with all
    /// of them busy it waits for one, for as long as its own [timeout](Self::timeout) or the connection's
    /// `command_timeout` allows, and is [`Overloaded`](crate::ErrorKind::Overloaded) then.
    ///
    /// The wait is at least a millisecond, also for `Duration::ZERO`, and at most 49 days, also for
    /// `Duration::MAX`. The server is asked for it piece by piece, each as long as the connection's `liveness`,
    /// so that a dead connection is noticed; behind each piece it queues anew among those who wait for the same
    /// list. The deadline is the wait and the `command_timeout` on top, unless it has one of its own.
    ///
    /// A caller who goes away, by dropping the future or the request to an address, calls it off: the server is
    /// told by CLIENT UNBLOCK, and what was taken all the same is put back where it was taken from
    /// ([`ConnectionEvent::PutBack`](crate::ConnectionEvent::PutBack)). Where that cannot be, because the user
    /// may not send CLIENT UNBLOCK or the connection broke, it is closed, and
    /// [`ConnectionEvent::MayBeLost`](crate::ConnectionEvent::MayBeLost) says so. With
    /// [`Redis::send`](crate::Redis::send) that holds until the reply was polled out of the future; a request to
    /// an actix address has its reply when it is sent, and one that is dropped unread is gone.
    ///
    /// Inside a [`Transaction`](crate::Transaction) it does not wait; a [`Pipeline`](crate::Pipeline) refuses it.
    ///
    /// ```
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::prelude::*;
    /// use std::time::Duration;
    ///
    /// if let Some(job) = redis.send(BLPop::new(["urgent", "jobs"], Duration::from_secs(5)).typed::<String>()).await? {
    ///     println!("{} from {}", job.value, String::from_utf8_lossy(&job.key));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    BLPop<T = Vec<u8>> => Option<Popped<T>>, by one
}

impl BLPop {
    /// Takes from the head of the first of the lists at `keys`, at least one, that has something.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BLPOP", keys, longest))
    }
}

typed!(BLPop);

command! {
    /// `BRPOP`: as [`BLPop`], from the tail.
    BRPop<T = Vec<u8>> => Option<Popped<T>>, by one
}

impl BRPop {
    /// Takes from the tail of the first of the lists at `keys`, at least one, that has something.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BRPOP", keys, longest))
    }
}

typed!(BRPop);

command! {
    /// `BLMOVE`: moves a value from one list to another, and waits for one if there is none; the reply is the
    /// value. It waits and is called off as [`BLPop`]: a value that was moved for nobody is moved back, unless
    /// somebody has taken it from its destination. Needs Redis 6.2.
    BLMove<T = Vec<u8>> => Option<T>
}

impl BLMove {
    /// Moves from the `from` end of the list at `source` to the `to` end of the list at `destination`, which
    /// may be the same.
    pub fn new(
        source: impl AsRef<[u8]>,
        destination: impl AsRef<[u8]>,
        from: ListEnd,
        to: ListEnd,
        longest: Duration,
    ) -> Self {
        let frame = Frame::known("BLMOVE").key(source).key(destination).arg(from.as_str()).arg(to.as_str());
        Self::of(hold(frame.arg(seconds(longest)), longest))
    }
}

typed!(BLMove);

command! {
    /// `BLMPOP`: takes several values of the first of several lists that has some, or waits for them; else as
    /// [`BLPop`]. Needs Redis 7.0.
    BLMPop<T = Vec<u8>> => Option<Popped<Vec<T>>>, by one
}

impl BLMPop {
    /// Takes from one end of the first of the lists at `keys`, at least one, that has something: one value,
    /// unless [`count`](Self::count) says more.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, end: ListEnd, longest: Duration) -> Self {
        Self::of(pop_many("BLMPOP", keys, end.as_str(), longest))
    }
}

impl<T> BLMPop<T> {
    /// Takes at most that many values, at least 1, if they are there.
    pub fn count(mut self, values: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(values.max(1));
        self
    }
}

typed!(BLMPop);

command! {
    /// `BZPOPMIN`: takes the member with the lowest score of the first of several sorted sets that has one, or
    /// waits for one; else as [`BLPop`]. The value is the member with its score. One that is put back does not
    /// replace one of the same name that came meanwhile.
    BZPopMin<T = Vec<u8>> => Option<Popped<(T, f64)>>, by scored
}

impl BZPopMin {
    /// Takes from the first of the sorted sets at `keys`, at least one, that has something.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BZPOPMIN", keys, longest))
    }
}

typed!(BZPopMin);

command! {
    /// `BZPOPMAX`: as [`BZPopMin`], with the highest score.
    BZPopMax<T = Vec<u8>> => Option<Popped<(T, f64)>>, by scored
}

impl BZPopMax {
    /// Takes from the first of the sorted sets at `keys`, at least one, that has something.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BZPOPMAX", keys, longest))
    }
}

typed!(BZPopMax);

command! {
    /// `BZMPOP`: takes several members of the first of several sorted sets that has some, or waits for them;
    /// else as [`BZPopMin`]. Needs Redis 7.0.
    BZMPop<T = Vec<u8>> => Option<Popped<Vec<(T, f64)>>>, by many_scored
}

impl BZMPop {
    /// Takes from one end of the first of the sorted sets at `keys`, at least one, that has something: one
    /// member, unless [`count`](Self::count) says more.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, end: ScoreEnd, longest: Duration) -> Self {
        Self::of(pop_many("BZMPOP", keys, end.as_str(), longest))
    }
}

impl<T> BZMPop<T> {
    /// Takes at most that many members, at least 1, if they are there.
    pub fn count(mut self, members: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(members.max(1));
        self
    }
}

typed!(BZMPop);

command! {
    /// `WAIT`: waits until replicas have the writes before it; the reply is how many have.
    ///
    /// It speaks of the writes of its own connection, so it belongs behind them in one
    /// [`Pipeline`](crate::Pipeline), which then goes on a connection of its own as a whole. By itself it is
    /// refused, because it would speak of nothing; inside a [`Transaction`](crate::Transaction) it does not wait.
    ///
    /// ```
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::prelude::*;
    /// use std::time::Duration;
    ///
    /// let order = (Set::new("order:7", "paid"), Wait::new(1, Duration::from_millis(100)));
    /// let (_, replicas) = redis.send(Pipeline::new(order)).await?;
    /// println!("{replicas} replicas have it");
    /// # Ok(())
    /// # }
    /// ```
    Wait => u64
}

impl Wait {
    /// Waits for so many replicas, for at most `longest`, at least a millisecond.
    pub fn new(replicas: u64, longest: Duration) -> Self {
        Self::of(hold(Frame::known("WAIT").arg(replicas).arg(milliseconds(longest)), longest))
    }
}

command! {
    /// `WAITAOF`: as [`Wait`], until the writes are in the append-only files of this server and of replicas; the
    /// reply is of how many each. Needs Redis 7.2.
    WaitAof => (u64, u64)
}

impl WaitAof {
    /// Waits for the file of this server, if `local`, and of so many replicas, for at most `longest`, at least a
    /// millisecond.
    pub fn new(local: bool, replicas: u64, longest: Duration) -> Self {
        let frame = Frame::known("WAITAOF").arg(u8::from(local)).arg(replicas);
        Self::of(hold(frame.arg(milliseconds(longest)), longest))
    }
}
