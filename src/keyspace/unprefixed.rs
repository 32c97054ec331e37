//! Access without the prefix, for operators.

use crate::client::{Redis, SendFuture};
use crate::messages::raw::Raw;

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
    /// # Errors
    /// See [`Redis::send`]. Commands that change the connection are refused as well, with
    /// [`Error::refusal`](crate::Error::refusal), because other callers share it. So are blocking commands without a
    /// maximum wait; see [`Raw::hold`].
    ///
    /// # Cancel safety
    /// See [`Redis::send`].
    pub fn send<T: redis::FromRedisValue + Send + 'static>(&self, command: Raw<T>) -> SendFuture<Raw<T>> {
        self.0.send(command.unprefixed())
    }
}
