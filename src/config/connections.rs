//! The number of connections of a handle.

use std::{fmt, num::NonZeroUsize, str::FromStr};

/// The most connections of threads if no other maximum is given: more than the worker threads of most services.
const DEFAULT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// The connections that carry the commands of one handle.
///
/// With one connection for all threads every command crosses to the thread of the actor and its reply crosses back. With a
/// connection per thread both stay on the caller's thread, for one more connection of the server per thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Connections {
    /// One connection, which all threads share. The default.
    #[default]
    Shared,
    /// A connection for each thread with an actix arbiter that sends commands, up to this number, beside the shared one.
    ///
    /// It is made at the first command of the thread and ends with the arbiter, or with the last handle. Threads without an
    /// arbiter, threads beyond the maximum, reads at replicas, and the handle after a call of
    /// [`Redis::addr`](crate::Redis::addr) use the shared connection. Blocking commands,
    /// [`Redis::watch`](crate::Redis::watch), subscriptions and consumers have connections of their own, as without this setting.
    ///
    /// Commands of one thread keep their order. Commands of different threads have none, as they run on different connections.
    /// The limits of queued and in-flight commands apply to each connection.
    PerThread(NonZeroUsize),
}

impl Connections {
    /// A connection per thread, for up to 64 threads.
    #[must_use]
    pub const fn per_thread() -> Self {
        Self::PerThread(DEFAULT_MAX)
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str("shared"),
            Self::PerThread(max) => write!(f, "thread:{max}"),
        }
    }
}

/// The value of REDIS_CONNECTIONS.
impl FromStr for Connections {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WORDS: &str = "must be shared, thread, or thread:16 with the maximum number of threads";
        match text.split_once(':') {
            None if text == "shared" => Ok(Self::Shared),
            None if text == "thread" => Ok(Self::per_thread()),
            Some(("thread", max)) => max.parse().map(Self::PerThread).map_err(|_| WORDS),
            _ => Err(WORDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read_back() {
        for text in ["shared", "thread:1", "thread:64"] {
            assert_eq!(text.parse().map(|connections: Connections| connections.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("thread".parse(), Ok(Connections::per_thread()));
        for wrong in ["", "threads", "thread:", "thread:0", "thread:-1", "shared:2"] {
            assert!(wrong.parse::<Connections>().is_err(), "{wrong}");
        }
    }
}
