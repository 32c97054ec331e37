//! Several commands in one round trip.

use redis::Value;

use super::batch::{Answers, Bundle, UnitOptions, array, unit};
use crate::error::Result;
use crate::frame::{Frame, ReadFrom};

unit! {
    /// Several commands sent as one unit and in order, in one round trip.
    ///
    /// The reply to a tuple is a tuple of replies, to a vector a vector. Commands of other callers on this connection
    /// do not run in between, but commands of other connections may: use [`Transaction`](crate::Transaction) to
    /// exclude them.
    ///
    /// A blocking command such as [`BLPop`](crate::BLPop) is refused, because later commands would wait as well. Only
    /// [`Wait`](crate::Wait) and [`WaitAof`](crate::WaitAof) are allowed, after the writes that they cover; the
    /// pipeline then uses a dedicated connection.
    ///
    /// Every command runs, even if others fail. The reply is that of all commands, or the error of the first that
    /// failed; [`try_each`](Self::try_each) returns the outcome of each. The fate of the error applies to the whole:
    /// [`Fate::Rejected`](crate::Fate::Rejected) only if no command can have changed anything.
    ///
    /// ```
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::prelude::*;
    ///
    /// let (a, b): (Option<u64>, i64) = redis.send(Pipeline::new((Get::new("a"), Incr::new("b")))).await?;
    ///
    /// let keys = (0..100).map(|n| format!("user:{n}"));
    /// let all: Vec<Option<u64>> = redis.send(Pipeline::new(keys.map(Get::new).collect::<Vec<_>>())).await?;
    ///
    /// let (set, count) = redis.send(Pipeline::new((Set::new("a", "x"), Incr::new("a"))).try_each()).await?;
    /// assert!(set.is_ok() && count.is_err_and(|error| error.command() == Some("INCR")));
    /// # Ok(())
    /// # }
    /// ```
    Pipeline, Frame::join, answers
}

impl<C: Bundle> Pipeline<C> {
    /// Creates a pipeline of these commands. Sending an empty one is an error.
    pub fn new(commands: C) -> Self {
        Self { commands, wishes: UnitOptions::default() }
    }

    /// Sets which server may reply to the whole, if every command in it is a read. With a write among them it is not
    /// sent with [`ReadFrom::Replica`]. The default is a replica if every command has that choice. See [`ReadFrom`].
    pub fn read_from(mut self, server: ReadFrom) -> Self {
        self.wishes.read_from = Some(server);
        self
    }
}

fn answers(frame: Option<&Frame>, value: Value) -> Result<Answers<'_>> {
    Answers::new(frame, array(value)?)
}
