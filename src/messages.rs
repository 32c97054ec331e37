//! The message contract: what makes a type a command that a `RedisActor` executes.

use std::time::Duration;

use actix::Message;
use redis::Value;

use crate::error::Result;
use crate::frame::Frame;

/// A command that a connection executes, with the type of its reply.
///
/// The crate's own messages implement it; so can yours:
///
/// ```
/// use actix::Message;
/// use redis_actix::{Command, Frame, Result, Value, decode};
///
/// /// When a user was last seen, in seconds since the epoch.
/// #[derive(Message)]
/// #[rtype(result = "Result<Option<i64>>")]
/// struct LastSeen {
///     user: String,
/// }
///
/// impl Command for LastSeen {
///     type Reply = Option<i64>;
///
///     fn frame(&self) -> Frame {
///         Frame::new("HGET").key(format!("user:{}", self.user)).arg("seen").read_only()
///     }
///
///     fn reply(value: Value) -> Result<Self::Reply> {
///         decode(value)
///     }
/// }
/// ```
pub trait Command: Message<Result = Result<<Self as Command>::Reply>> + Send + 'static {
    /// What a caller gets.
    type Reply: Send + 'static;

    /// The command as it is sent, its keys marked and not prefixed.
    fn frame(&self) -> Frame;

    /// As [`frame`](Self::frame), for messages that hold their frame ready and can give it away.
    fn into_frame(self) -> Frame
    where
        Self: Sized,
    {
        self.frame()
    }

    /// Turns the server's answer into the reply. Names in it have lost the prefix already, and an error
    /// answer never gets here. For most types this is [`decode`].
    ///
    /// # Errors
    /// When the answer does not fit; see [`Error::decode`](crate::Error::decode).
    fn reply(value: Value) -> Result<Self::Reply>;

    /// As [`reply`](Self::reply), for messages whose replies cannot be read without what was asked.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    fn reply_to(frame: &Frame, value: Value) -> Result<Self::Reply> {
        let _ = frame;
        Self::reply(value)
    }
}

/// Decodes an answer by redis-rs' [`FromRedisValue`](redis::FromRedisValue).
///
/// # Errors
/// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the answer does not fit `T`. Its text does not
/// quote the answer, which is the caller's data.
pub fn decode<T: redis::FromRedisValue>(value: Value) -> Result<T> {
    Ok(T::from_redis_value(value)?)
}

/// Declares a message that is nothing but a ready frame and the type of its reply: the struct, its
/// options, and its [`Command`]. The constructors stand in an `impl` of their own beside it.
macro_rules! command {
    ($(#[$meta:meta])* $name:ident $(<$reply_type:ident>)? => $reply:ty) => {
        command!($(#[$meta])* $name $(<$reply_type>)? => $reply, by $crate::messages::decode);
    };
    ($(#[$meta:meta])* $name:ident $(<$reply_type:ident>)? => $reply:ty, by $decode:path) => {
        $(#[$meta])*
        #[derive(Clone)]
        #[must_use = "a message does nothing until it is sent"]
        pub struct $name $(<$reply_type>)? {
            frame: $crate::frame::Frame,
            $(reply: std::marker::PhantomData<fn() -> $reply_type>,)?
        }

        impl $(<$reply_type>)? $name $(<$reply_type>)? {
            fn of(frame: $crate::frame::Frame) -> Self {
                Self { frame, $(reply: std::marker::PhantomData::<fn() -> $reply_type>)? }
            }

            /// Sets the deadline of this command alone, over every phase; see [`Frame::timeout`](crate::Frame::timeout).
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.frame = self.frame.timeout(timeout);
                self
            }

            /// Says that running it twice does the same as running it once, so that it may be sent again
            /// when a link broke before its reply came.
            pub fn idempotent(mut self) -> Self {
                self.frame = self.frame.idempotent();
                self
            }

            /// Sets what becomes of it while there is no connection.
            pub fn when_down(mut self, what: $crate::frame::WhenDown) -> Self {
                self.frame = self.frame.when_down(what);
                self
            }
        }

        impl $(<$reply_type>)? std::fmt::Debug for $name $(<$reply_type>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.frame, f)
            }
        }

        impl $(<$reply_type: redis::FromRedisValue + Send + 'static>)? actix::Message for $name $(<$reply_type>)? {
            type Result = $crate::error::Result<$reply>;
        }

        impl $(<$reply_type: redis::FromRedisValue + Send + 'static>)? $crate::messages::Command for $name $(<$reply_type>)? {
            type Reply = $reply;

            fn frame(&self) -> $crate::frame::Frame {
                self.frame.clone()
            }

            fn into_frame(self) -> $crate::frame::Frame {
                self.frame
            }

            fn reply(value: redis::Value) -> $crate::error::Result<$reply> {
                $decode(value)
            }
        }
    };
}

/// Milliseconds as the server wants them: it refuses 0.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

pub(crate) mod batch;
pub(crate) mod pipeline;
pub(crate) mod server;
pub(crate) mod strings;
