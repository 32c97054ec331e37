//! Commands that have no message of their own.

use std::{borrow::Borrow, time::Duration};

use redis::{ToRedisArgs, Value};

use crate::error::Result;
use crate::frame::{Frame, ReplyKeys, line};
use crate::prefix::marks::Positions;
use crate::prefix::rewrite::{Judged, allowed};

command! {
    /// Any command, its keys marked by hand; the reply is whatever type is asked for.
    ///
    /// Only what is marked gets the prefix. For a command that this version knows, its keys, patterns and channels must
    /// be marked and nothing else, or nothing is sent; for one that it does not know, mark at least one key or say that
    /// there is [none](Self::without_keys). What does not belong on a shared, prefixed connection is refused; see
    /// [`Error::refusal`](crate::Error::refusal).
    ///
    /// ```
    /// use redis_actix::{Command, Raw};
    ///
    /// let seen = Raw::<bool>::new("BF.ADD").key("seen").arg(42);
    /// assert_eq!(seen.frame().args().count(), 3);
    /// ```
    Raw<T = Value> => T
}

impl<T> Raw<T> {
    /// The command `name`; a subcommand follows after a space, as in `OBJECT ENCODING`.
    pub fn new(name: &str) -> Self {
        Self::of(Frame::new(name))
    }

    /// A command of the `redis` crate, its keys found by this version's table of all commands.
    ///
    /// ```
    /// use redis_actix::{Command, Raw};
    ///
    /// let count = Raw::<u64>::from_cmd(redis::cmd("PFCOUNT").arg("visitors"))?;
    /// assert_eq!(count.frame().name(), "PFCOUNT");
    /// assert!(Raw::<()>::from_cmd(redis::cmd("FLUSHALL")).is_err());
    /// # Ok::<(), redis_actix::Error>(())
    /// ```
    ///
    /// A command that only reads may be sent again when a link broke before its reply came, as that of a message
    /// may. SCAN without MATCH gets one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand) when the command is not known (see
    /// [`Redis::resolve`](crate::Redis::resolve)), does not belong on a shared, prefixed connection, or does not
    /// say for certain which of its arguments are keys.
    pub fn from_cmd(cmd: impl Borrow<redis::Cmd>) -> Result<Self> {
        Self::of_line(&line(cmd.borrow()))
    }

    pub(crate) fn of_line(argv: &[Vec<u8>]) -> Result<Self> {
        let Judged { positions, only_reads } = allowed(argv)?;
        Ok(Self::marked(argv, &positions, only_reads))
    }

    pub(crate) fn marked(argv: &[Vec<u8>], positions: &Positions, only_reads: bool) -> Self {
        let frame = Frame::of_line(argv, positions);
        Self::of(if only_reads { frame.read_only() } else { frame })
    }

    /// A question of this crate's own, about no key.
    pub(crate) fn question(name: &str, argv: &[Vec<u8>]) -> Self {
        Self::of(argv.iter().fold(Frame::known(name).read_only(), |frame, arg| frame.arg(arg.as_slice())))
    }

    /// Without the prefix, for operators.
    pub(crate) fn unprefixed(mut self) -> Self {
        self.frame = self.frame.unprefixed();
        self
    }

    /// Adds a key: it gets the prefix.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.key(key);
        self
    }

    /// Adds keys: each gets the prefix.
    pub fn keys<K: AsRef<[u8]>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.frame = self.frame.keys(keys);
        self
    }

    /// Adds a glob pattern for keys: it gets the prefix with its glob characters escaped.
    pub fn pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.pattern(pattern);
        self
    }

    /// Adds a glob pattern for channels: it gets the prefix with its glob characters escaped.
    pub fn channel_pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.channel_pattern(pattern);
        self
    }

    /// Adds a channel: it gets the prefix.
    pub fn channel(mut self, channel: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.channel(channel);
        self
    }

    /// Adds an argument, or as many as `value` stands for, exactly as given.
    pub fn arg(mut self, value: impl ToRedisArgs) -> Self {
        self.frame = self.frame.arg(value);
        self
    }

    /// Marks a command that only reads: it may be sent again when a link broke before its reply came. One that this
    /// version knows to only read need not say it.
    pub fn read_only(mut self) -> Self {
        self.frame = self.frame.read_only();
        self
    }

    /// Says that the command has no keys, for one that this version does not know: it is sent as it is.
    pub fn without_keys(mut self) -> Self {
        self.frame = self.frame.without_keys();
        self
    }

    /// Says for how long at most the server may hold the answer back by design, as BLPOP does; see
    /// [`Frame::hold`].
    pub fn hold(mut self, longest: Duration) -> Self {
        self.frame = self.frame.hold(longest);
        self
    }

    /// Says where the reply carries names of keys or channels, which then lose the prefix. Without it a command
    /// that is known has its own rule.
    pub fn reply_keys(mut self, keys: ReplyKeys) -> Self {
        self.frame = self.frame.reply_keys(keys);
        self
    }
}
