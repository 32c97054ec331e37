//! Commands that have no message of their own.

use redis::{ToRedisArgs, Value};

use crate::frame::{Frame, ReplyKeys};

command! {
    /// Any command, its keys marked by hand; the reply is whatever type is asked for.
    ///
    /// Only what is marked gets the prefix: an argument that is a key must be added by [`key`](Self::key),
    /// or the command reaches beyond the prefix.
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

    /// Marks a command that only reads: it may be sent again when a link broke before its reply came.
    pub fn read_only(mut self) -> Self {
        self.frame = self.frame.read_only();
        self
    }

    /// Says where the reply carries names of keys or channels, which then lose the prefix.
    pub fn reply_keys(mut self, keys: ReplyKeys) -> Self {
        self.frame = self.frame.reply_keys(keys);
        self
    }
}
