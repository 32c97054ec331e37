//! The prefix that every key gets before execution and loses in every reply.

pub(crate) mod by_hand;
pub(crate) mod channels;
#[allow(dead_code, reason = "subscriptions take the rest of it")]
pub(crate) mod glob;
pub(crate) mod marks;
pub(crate) mod policy;
pub(crate) mod positions;
#[cfg(test)]
mod proof;
pub(crate) mod refusal;
#[allow(dead_code, reason = "subscriptions and transactions take the rest of it")]
pub(crate) mod replies;
pub(crate) mod resolve;
pub(crate) mod rewrite;
pub(crate) mod rules;
pub(crate) mod table;
pub(crate) mod waits;

use std::{fmt, sync::Arc};

use crate::error::{Error, Result};
use replies::ReplyKeys;

/// At most this many bytes: a prefix is repeated in every key, and stored with each.
const MAX_LEN: usize = 1024;

/// For keys shorter than this the bytes before a key are kept ready, if they fit.
const LONG_KEY: usize = 128;
/// A prefix of up to 27 bytes, behind a length of three digits and a line end.
const HEAD: usize = 32;

/// The characters a prefix may end with, so that `shop:1` and `shop:10` cannot be the prefixes of two
/// tenants of which one contains the other.
const DELIMITERS: &[char] = &[':', '/', '.', '_', '-', '|', '#', '}'];

/// The prefix of every key, channel and stream name that passes through one connection.
///
/// Cloning is cheap.
///
/// ```
/// use redis_actix::KeyPrefix;
///
/// let prefix = KeyPrefix::new("shop:test:")?;
/// assert_eq!(prefix.prefix_key("user:1"), b"shop:test:user:1");
/// assert_eq!(prefix.unprefix_key(b"shop:test:user:1"), Some(&b"user:1"[..]));
/// assert_eq!(prefix.unprefix_key(b"somebody else's"), None);
/// # Ok::<(), redis_actix::InvalidPrefix>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPrefix(Arc<Forms>);

#[derive(PartialEq, Eq)]
struct Forms {
    plain: Box<str>,
    glob: Box<[u8]>,
    /// By the length of a key, what stands before it on the wire: length, line end and prefix. Formatting the
    /// length anew for each key would be the larger part of what the prefix costs.
    heads: Box<[Head]>,
}

/// Of a fixed size, because copying that needs no call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: [u8; HEAD],
    len: usize,
}

impl Head {
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; HEAD];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: text.len() })
    }

    pub(crate) fn write(&self, out: &mut bytes::BytesMut) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

/// Why a prefix cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPrefix(&'static str);

impl InvalidPrefix {
    /// The reason alone, for a sentence whose subject is another name.
    pub(crate) fn reason(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key prefix {}", self.0)
    }
}

impl std::error::Error for InvalidPrefix {}

impl From<InvalidPrefix> for Error {
    fn from(error: InvalidPrefix) -> Self {
        Self::new(crate::ErrorKind::Config, crate::Fate::NotSent, error.to_string())
    }
}

impl KeyPrefix {
    /// A prefix such as `shop:production:`.
    ///
    /// # Errors
    /// It must not be empty ([`KeyPrefix::none`] is the explicit way), must end with one of
    /// `: / . _ - | #`, must not exceed 1 KiB, and must not contain `*`, `{`, `}`, control characters or
    /// white space: `*` would turn keys into patterns in SORT, braces would move every key into one
    /// cluster slot.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self, InvalidPrefix> {
        let prefix = prefix.as_ref();
        if prefix.contains(['{', '}']) {
            return Err(InvalidPrefix(
                "contains `{` or `}`, which would put every key into one cluster slot; if that is meant, use KeyPrefix::with_hash_tag or RedisConfigBuilder::key_hash_tag_prefix",
            ));
        }
        Self::checked(prefix)
    }

    /// A prefix that contains one complete hash tag, such as `{shop}:`, which puts every key of this
    /// connection into one cluster slot.
    ///
    /// # Errors
    /// As [`KeyPrefix::new`], and when there is not exactly one `{tag}` with something in it.
    pub fn with_hash_tag(prefix: impl AsRef<str>) -> Result<Self, InvalidPrefix> {
        let prefix = prefix.as_ref();
        let braces: Vec<char> = prefix.chars().filter(|c| matches!(c, '{' | '}')).collect();
        if braces != ['{', '}'] || prefix.contains("{}") {
            return Err(InvalidPrefix("must contain exactly one complete hash tag, such as `{shop}:`"));
        }
        Self::checked(prefix)
    }

    /// No prefix at all: every key of the database is within reach. An explicit choice, never a default.
    #[must_use]
    pub fn none() -> Self {
        Self::from_valid("")
    }

    fn checked(prefix: &str) -> Result<Self, InvalidPrefix> {
        if prefix.is_empty() {
            return Err(InvalidPrefix(
                "is empty; if no prefix is meant, say so with KeyPrefix::none() or RedisConfigBuilder::without_key_prefix()",
            ));
        }
        if prefix.len() > MAX_LEN {
            return Err(InvalidPrefix("is longer than 1024 bytes"));
        }
        if prefix.contains('*') {
            return Err(InvalidPrefix("contains `*`, which SORT would take for a pattern: leave it out"));
        }
        if prefix.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(InvalidPrefix("contains white space or control characters"));
        }
        if !prefix.ends_with(DELIMITERS) {
            return Err(InvalidPrefix("must end with a delimiter, one of : / . _ - | #"));
        }
        Ok(Self::from_valid(prefix))
    }

    fn from_valid(prefix: &str) -> Self {
        let glob = glob::escape_glob(prefix.as_bytes());
        let head = |key: usize| Head::new(&format!("{}\r\n{prefix}", key + prefix.len()));
        let heads = (0..LONG_KEY).map_while(head).collect();
        Self(Arc::new(Forms { plain: prefix.into(), glob: glob.into(), heads }))
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.plain
    }

    /// The prefix with its glob characters escaped, as patterns get it.
    pub(crate) fn as_glob(&self) -> &[u8] {
        &self.0.glob
    }

    /// By the length of a key, what stands on the wire between the `$` and the key; for ordinary lengths only.
    pub(crate) fn heads(&self) -> &[Head] {
        &self.0.heads
    }

    /// The name that `key` has on the server.
    #[must_use]
    pub fn prefix_key(&self, key: impl AsRef<[u8]>) -> Vec<u8> {
        [self.as_str().as_bytes(), key.as_ref()].concat()
    }

    /// The name that callers use for a key of the server, or `None` for a key of somebody else.
    #[must_use]
    pub fn unprefix_key<'k>(&self, key: &'k (impl AsRef<[u8]> + ?Sized)) -> Option<&'k [u8]> {
        key.as_ref().strip_prefix(self.as_str().as_bytes())
    }

    /// What an arbitrary command becomes, without a server: for tests and tooling. It is judged as it would be
    /// on a connection.
    ///
    /// ```
    /// use redis_actix::KeyPrefix;
    ///
    /// let prefix = KeyPrefix::new("shop:")?;
    /// let sealed = prefix.rewrite(&["SORT", "k", "BY", "w_*", "STORE", "d"])?;
    /// let words: Vec<_> = sealed.iter().map(|word| String::from_utf8_lossy(word)).collect();
    /// assert_eq!(words, ["SORT", "shop:k", "BY", "shop:w_*", "STORE", "shop:d"]);
    /// assert!(prefix.rewrite(&["FLUSHALL"]).is_err());
    /// # Ok::<(), redis_actix::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand) for a command that is not known, not
    /// allowed on a prefixed connection, or malformed where its keys are.
    pub fn rewrite(&self, argv: &[impl AsRef<[u8]>]) -> Result<Vec<Vec<u8>>> {
        rewrite::rewrite(self.as_str().as_bytes(), argv).map_err(Into::into)
    }

    /// The inverse of [`rewrite`](Self::rewrite) for what comes back: takes the prefix off every name that the
    /// reply of this command carries. Names of others are dropped.
    #[must_use]
    pub fn strip(&self, argv: &[impl AsRef<[u8]>], reply: redis::Value) -> redis::Value {
        self.strip_reply(replies::reply_keys(argv), reply)
    }

    /// Takes the prefix off the names in a reply, and drops names that lack it: they are somebody else's.
    pub(crate) fn strip_reply(&self, keys: ReplyKeys, reply: redis::Value) -> redis::Value {
        if keys == ReplyKeys::None || self.as_str().is_empty() {
            return reply;
        }
        told(replies::strip(keys, self.as_str().as_bytes(), reply))
    }

    /// As [`strip_reply`](Self::strip_reply), for the replies to joined commands.
    pub(crate) fn strip_each(&self, keys: impl IntoIterator<Item = ReplyKeys>, replies: redis::Value) -> redis::Value {
        if self.as_str().is_empty() {
            return replies;
        }
        told(replies::strip_each(keys, self.as_str().as_bytes(), replies))
    }

    /// The error of a server without the prefix where it quotes a key.
    pub(crate) fn strip_error(&self, error: &redis::ServerError) -> Error {
        let text = match (error.code(), error.details()) {
            ("NOGROUP", Some(text)) => match replies::strip_quoted(self.as_str().as_bytes(), text) {
                replies::Quoted::None => None,
                replies::Quoted::Ours(text) => Some(text),
                replies::Quoted::Leak => Some("no such stream, group or consumer".to_owned()),
            },
            _ => None,
        };
        Error::server(error.code(), text.as_deref().or(error.details()))
    }
}

/// A reply whose foreign names were counted.
fn told((reply, leaked): (redis::Value, usize)) -> redis::Value {
    if leaked > 0 {
        tracing::warn!(leaked, "dropped names without the key prefix from a reply");
    }
    reply
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPrefix").field(&self.as_str()).finish()
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
