//! Blocking commands.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::{decode, shape, some_keys};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};
use crate::prefix::waits::{milliseconds, seconds};

/// A value or member that was taken, with its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Popped<T> {
    /// The key from which it was taken, without the prefix.
    pub key: Vec<u8>,
    /// The value that was taken.
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
    pub(super) fn as_str(self) -> &'static str {
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
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Min => "MIN",
            Self::Max => "MAX",
        }
    }
}

/// Marks a frame as blocking for up to `longest`.
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

/// Decodes the key, and the rest with `take`. Nil if the command timed out.
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

/// Changes the reply type of a message.
macro_rules! typed {
    ($name:ident) => {
        impl<T> $name<T> {
            /// Changes the type of the values; the default is bytes.
            pub fn typed<U>(self) -> $name<U> {
                $name::of(self.frame)
            }
        }
    };
}

command! {
    /// `BLPOP`: takes the first value of the first non-empty list, or waits for one. The reply is `None` if none
    /// arrived in time.
    ///
    /// It runs on a dedicated connection, which is opened on demand and not shared meanwhile, so no other command
    /// waits for it. The number of these connections is [limited](crate::LinkLimit). If all are busy the command
    /// waits for one until its own [timeout](Self::timeout) or the connection's `command_timeout`, and then fails
    /// with [`Overloaded`](crate::ErrorKind::Overloaded).
    ///
    /// The wait is limited to the range from 1 millisecond, also for `Duration::ZERO`, to 49 days, also for
    /// `Duration::MAX`. It is split into server-side waits of the connection's `liveness` each, so that a dead
    /// connection is detected. After each of them the command is queued again behind the other clients that wait for
    /// the same list. The deadline is the wait plus the `command_timeout`, unless the command has its own timeout.
    /// At the deadline it is cancelled, and the caller learns whether it took a value. Where the server does not confirm that,
    /// this takes up to one second, or the `command_timeout` if that is shorter.
    ///
    /// # Cancel safety
    /// Dropping the future, or the request to an address, cancels the command with CLIENT UNBLOCK. If a value was
    /// taken nevertheless, it is put back where it was taken from
    /// ([`ConnectionEvent::PutBack`](crate::ConnectionEvent::PutBack)). If this is not possible, because the user may
    /// not run CLIENT UNBLOCK or the connection broke, the connection is closed and
    /// [`ConnectionEvent::MayBeLost`](crate::ConnectionEvent::MayBeLost) is reported. With
    /// [`Redis::send`](crate::Redis::send) this holds until the reply was polled out of the future. A request to an
    /// actix address has its reply as soon as it is sent: a reply that is dropped unread is lost.
    ///
    /// Inside a [`Transaction`](crate::Transaction) it does not block; a [`Pipeline`](crate::Pipeline) refuses it.
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
    /// Takes from the head of the first non-empty list at `keys`, of which there must be at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BLPOP", keys, longest))
    }
}

typed!(BLPop);

command! {
    /// `BRPOP`: like [`BLPop`], from the tail.
    BRPop<T = Vec<u8>> => Option<Popped<T>>, by one
}

impl BRPop {
    /// Takes from the tail of the first non-empty list at `keys`, of which there must be at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BRPOP", keys, longest))
    }
}

typed!(BRPop);

command! {
    /// `BLMOVE`: moves a value from one list to another, or waits for one. The reply is the value. It waits and is
    /// cancelled like [`BLPop`]: after a cancellation a moved value is moved back, unless another client has taken it
    /// from its destination. Needs Redis 6.2.
    BLMove<T = Vec<u8>> => Option<T>
}

impl BLMove {
    /// Moves from the `from` end of the list at `source` to the `to` end of the list at `destination`, which may be
    /// the same list.
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
    /// `BLMPOP`: takes several values of the first non-empty list, or waits for them. Otherwise like [`BLPop`]. Needs
    /// Redis 7.0.
    BLMPop<T = Vec<u8>> => Option<Popped<Vec<T>>>, by one
}

impl BLMPop {
    /// Takes from one end of the first non-empty list at `keys`, of which there must be at least one. Takes one
    /// value, unless [`count`](Self::count) is set.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, end: ListEnd, longest: Duration) -> Self {
        Self::of(pop_many("BLMPOP", keys, end.as_str(), longest))
    }
}

impl<T> BLMPop<T> {
    /// Takes up to `values` values, minimum 1.
    pub fn count(mut self, values: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(values.max(1));
        self
    }
}

typed!(BLMPop);

command! {
    /// `BZPOPMIN`: takes the member with the lowest score of the first non-empty sorted set, or waits for one.
    /// Otherwise like [`BLPop`]. The value is the member with its score. A member that is put back does not replace a
    /// member of the same name that was added meanwhile.
    BZPopMin<T = Vec<u8>> => Option<Popped<(T, f64)>>, by scored
}

impl BZPopMin {
    /// Takes from the first non-empty sorted set at `keys`, of which there must be at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BZPOPMIN", keys, longest))
    }
}

typed!(BZPopMin);

command! {
    /// `BZPOPMAX`: like [`BZPopMin`], with the highest score.
    BZPopMax<T = Vec<u8>> => Option<Popped<(T, f64)>>, by scored
}

impl BZPopMax {
    /// Takes from the first non-empty sorted set at `keys`, of which there must be at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, longest: Duration) -> Self {
        Self::of(pop("BZPOPMAX", keys, longest))
    }
}

typed!(BZPopMax);

command! {
    /// `BZMPOP`: takes several members of the first non-empty sorted set, or waits for them. Otherwise like
    /// [`BZPopMin`]. Needs Redis 7.0.
    BZMPop<T = Vec<u8>> => Option<Popped<Vec<(T, f64)>>>, by many_scored
}

impl BZMPop {
    /// Takes from one end of the first non-empty sorted set at `keys`, of which there must be at least one. Takes one
    /// member, unless [`count`](Self::count) is set.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>, end: ScoreEnd, longest: Duration) -> Self {
        Self::of(pop_many("BZMPOP", keys, end.as_str(), longest))
    }
}

impl<T> BZMPop<T> {
    /// Takes up to `members` members, minimum 1.
    pub fn count(mut self, members: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(members.max(1));
        self
    }
}

typed!(BZMPop);

command! {
    /// `WAIT`: waits until replicas have acknowledged the earlier writes. The reply is the number of these replicas.
    ///
    /// WAIT covers earlier writes of the same connection. Send it after them in one [`Pipeline`](crate::Pipeline),
    /// which then uses a dedicated connection. A single WAIT is refused, because it would cover no writes. Inside a
    /// [`Transaction`](crate::Transaction) it does not block.
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
    /// Waits for `replicas` replicas for up to `longest`, at least 1 millisecond.
    pub fn new(replicas: u64, longest: Duration) -> Self {
        Self::of(hold(Frame::known("WAIT").arg(replicas).arg(milliseconds(longest)), longest))
    }
}

command! {
    /// `WAITAOF`: like [`Wait`], until the writes are in the append-only files of this server and of replicas. The
    /// reply is the number of each. Needs Redis 7.2.
    WaitAof => (u64, u64)
}

impl WaitAof {
    /// Waits for the file of this server, if `local`, and for those of `replicas` replicas, for up to `longest`, at
    /// least 1 millisecond.
    pub fn new(local: bool, replicas: u64, longest: Duration) -> Self {
        let frame = Frame::known("WAITAOF").arg(u8::from(local)).arg(replicas);
        Self::of(hold(frame.arg(milliseconds(longest)), longest))
    }
}
