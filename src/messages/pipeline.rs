//! Several commands in one go.

use redis::Value;

use super::batch::{Answers, Bundle, UnitOptions, array, unit};
use crate::error::Result;
use crate::frame::{Frame, ReadFrom};

unit! {
    /// Several commands sent as one unit, in order, with one wait for all replies.
    ///
    /// A tuple is answered by a tuple of replies, a vector by a vector. Commands of other callers do not run
    /// in between on this connection, but those of other connections may: for all or none see
    /// [`Transaction`](crate::Transaction).
    ///
    /// A command that waits, such as [`BLPop`](crate::BLPop), is refused here: those behind it would wait too. Only
    /// [`Wait`](crate::Wait) and [`WaitAof`](crate::WaitAof) belong behind their writes; with one of them the whole
    /// goes on a connection of its own.
    ///
    /// Every command runs, whatever becomes of the others. The reply is that of all, or the error of the
    /// first that failed; [`try_each`](Self::try_each) tells of each. The fate of such an error is that of
    /// the whole: [`Fate::Rejected`](crate::Fate::Rejected) only when no command can have changed anything.
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
    /// These commands. None at all is an error when it is sent.
    pub fn new(commands: C) -> Self {
        Self { commands, wishes: UnitOptions::default() }
    }

    /// Says which server may answer the whole, if every command in it reads; with a write among them it is not sent
    /// with [`ReadFrom::Replica`]. Without it replicas answer when every command says so itself. See [`ReadFrom`].
    pub fn read_from(mut self, whom: ReadFrom) -> Self {
        self.wishes.read_from = Some(whom);
        self
    }
}

fn answers(frame: Option<&Frame>, value: Value) -> Result<Answers<'_>> {
    Answers::new(frame, array(value)?)
}
