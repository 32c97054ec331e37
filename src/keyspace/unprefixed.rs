//! The explicit way out, for operators.

use crate::client::{Redis, SendFuture};
use crate::messages::raw::Raw;

/// A connection without its prefix; see [`Redis::unprefixed`].
#[derive(Debug, Clone)]
#[must_use = "it does nothing until a command is sent"]
pub struct RawKeyspace(Redis);

impl Redis {
    /// This connection without its prefix, for operators: commands are sent as they are, to every key of every
    /// service, and nothing is taken off their replies.
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
    /// Sends a command as it is. Marks mean nothing here: `key` adds an argument like any other.
    ///
    /// # Errors
    /// As [`Redis::send`]. Commands that change the connection itself are refused here too, with
    /// [`Error::refusal`](crate::Error::refusal): other callers share it. So are those that may keep it waiting and
    /// do not say for how long; see [`Raw::hold`].
    ///
    /// # Cancel safety
    /// As [`Redis::send`].
    pub fn send<T: redis::FromRedisValue + Send + 'static>(&self, command: Raw<T>) -> SendFuture<Raw<T>> {
        self.0.send(command.unprefixed())
    }
}
