//! Commands without a typed message.

use std::{borrow::Borrow, time::Duration};

use redis::{ToRedisArgs, Value};

use crate::error::Result;
use crate::frame::{Frame, ReplyKeys, line};
use crate::prefix::marks::Positions;
use crate::prefix::rewrite::{Judged, allowed};

command! {
    /// Any command, with keys marked by hand and a reply of any type.
    ///
    /// Only marked arguments get the prefix. In a known command its keys, patterns and channels must be marked and
    /// nothing else, or it is not sent. For an unknown command mark at least one key, or declare that there are
    /// [none](Self::without_keys). Commands unfit for a shared, prefixed connection are refused; see
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
    /// Creates the command `name`; a subcommand follows after a space, as in `OBJECT ENCODING`.
    pub fn new(name: &str) -> Self {
        Self::of(Frame::new(name))
    }

    /// Converts a `redis::Cmd`. Its keys are located with the command table of this version.
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
    /// A read-only command is retried if the link breaks before its reply arrives, like a typed message. SCAN without
    /// MATCH gets a MATCH.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand) if the command is unknown (see
    /// [`Redis::resolve`](crate::Redis::resolve)), is not allowed on a shared, prefixed connection, or the positions
    /// of its keys are ambiguous.
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

    /// An internal query without keys.
    pub(crate) fn question(name: &str, argv: &[Vec<u8>]) -> Self {
        Self::of(argv.iter().fold(Frame::known(name).read_only(), |frame, arg| frame.arg(arg.as_slice())))
    }

    /// Adds a key. It gets the prefix.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.key(key);
        self
    }

    /// Adds keys. Each gets the prefix.
    pub fn keys<K: AsRef<[u8]>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.frame = self.frame.keys(keys);
        self
    }

    /// Adds a glob pattern for keys. It gets the prefix with its glob characters escaped.
    pub fn pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.pattern(pattern);
        self
    }

    /// Adds a glob pattern for channels. It gets the prefix with its glob characters escaped.
    pub fn channel_pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.channel_pattern(pattern);
        self
    }

    /// Adds a channel. It gets the prefix.
    pub fn channel(mut self, channel: impl AsRef<[u8]>) -> Self {
        self.frame = self.frame.channel(channel);
        self
    }

    /// Adds `value` as one or more arguments, unchanged.
    pub fn arg(mut self, value: impl ToRedisArgs) -> Self {
        self.frame = self.frame.arg(value);
        self
    }

    /// Marks a command as read-only: it is retried if the link breaks before its reply arrives. Known read-only
    /// commands do not need the mark.
    pub fn read_only(mut self) -> Self {
        self.frame = self.frame.read_only();
        self
    }

    /// Declares that the command has no keys, for a command unknown to this version. It is sent unchanged.
    pub fn without_keys(mut self) -> Self {
        self.frame = self.frame.without_keys();
        self
    }

    /// Declares the maximum time for which the server may delay the reply by design, as BLPOP does; see
    /// [`Frame::hold`].
    pub fn hold(mut self, longest: Duration) -> Self {
        self.frame = self.frame.hold(longest);
        self
    }

    /// Declares which elements of the reply are names of keys or channels and lose the prefix. Known commands have
    /// their own rule as default.
    pub fn reply_keys(mut self, keys: ReplyKeys) -> Self {
        self.frame = self.frame.reply_keys(keys);
        self
    }
}
