//! Access without the prefix, for operators.

use actix::Message;
use redis::Value;

use crate::client::{Redis, SendFuture};
use crate::error::Result;
use crate::frame::Frame;
use crate::messages::Command;

/// A connection without the prefix; see [`Redis::unprefixed`].
#[derive(Debug, Clone)]
#[must_use = "it does nothing until a command is sent"]
pub struct RawKeyspace(Redis);

impl Redis {
    /// Returns this connection without the prefix, for operators: commands are sent unchanged, can access the keys of
    /// every service, and their replies are unchanged.
    ///
    /// ```no_run
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::Raw;
    ///
    /// let keys: u64 = redis.unprefixed().send(Raw::new("DBSIZE")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn unprefixed(&self) -> RawKeyspace {
        RawKeyspace(self.clone())
    }
}

impl RawKeyspace {
    /// Sends a command unchanged. Marks have no effect: `key` adds an ordinary argument.
    ///
    /// ```no_run
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::commands::server::{ClientList, ConfigGet};
    ///
    /// let operator = redis.unprefixed();
    /// let clients = operator.send(ClientList::new()).await?;
    /// let memory = operator.send(ConfigGet::new("maxmemory*")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Redis::send`]. Commands that change the connection are refused as well, with
    /// [`Error::refusal`](crate::Error::refusal), because other callers share it. So are blocking commands without a
    /// maximum wait, see [`Raw::hold`](crate::Raw::hold), and pipelines.
    ///
    /// # Cancel safety
    /// See [`Redis::send`].
    pub fn send<M: Command>(&self, message: M) -> SendFuture<Unprefixed<M>> {
        self.0.send(Unprefixed(message))
    }
}

/// A message without the prefix, sent by [`RawKeyspace::send`].
#[derive(Debug, Clone)]
pub struct Unprefixed<M>(M);

impl<M: Command> Message for Unprefixed<M> {
    type Result = Result<M::Reply>;
}

impl<M: Command> Command for Unprefixed<M> {
    type Reply = M::Reply;

    fn frame(&self) -> Frame {
        self.0.frame().unprefixed()
    }

    fn into_frame(self) -> Frame {
        self.0.into_frame().unprefixed()
    }

    fn reply(value: Value) -> Result<M::Reply> {
        M::reply(value)
    }

    fn reply_to(frame: &Frame, value: Value) -> Result<M::Reply> {
        M::reply_to(frame, value)
    }
}
