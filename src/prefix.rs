//! The key prefix: it is added to every key before a command is sent, and removed from every key in a reply.

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

/// Maximum length in bytes: the prefix is sent with every key and stored with every key.
const MAX_LEN: usize = 1024;

/// Keys shorter than this use a precomputed header, if the prefix is short enough.
const LONG_KEY: usize = 128;
/// A prefix of up to 27 bytes, behind a length of three digits and a line end.
const HEAD: usize = 32;

/// The characters that may end a prefix. Without a delimiter the prefix `shop:1` would also match the keys of the
/// tenant `shop:10`.
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
/// assert_eq!(prefix.unprefix_key(b"billing:42"), None);
/// # Ok::<(), redis_actix::InvalidPrefix>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPrefix(Arc<Forms>);

#[derive(PartialEq, Eq)]
struct Forms {
    plain: Box<str>,
    glob: Box<[u8]>,
    /// Indexed by the length of the key: the bytes before the key on the wire, which are length, line end and prefix.
    /// Formatting the length for each key would be most of the cost of the prefix.
    heads: Box<[Head]>,
}

/// Of fixed size, because a copy of fixed size compiles to a few moves instead of a call.
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

/// The reason for which a prefix is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPrefix(&'static str);

impl InvalidPrefix {
    /// The reason without a subject, for a message that names another setting.
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
    /// Creates a prefix such as `shop:production:`.
    ///
    /// # Errors
    /// Fails if the prefix is empty ([`KeyPrefix::none`] disables prefixing explicitly), does not end with one of `:
    /// / . _ - | #`, is longer than 1 KiB, or contains `*`, `{`, `}`, control characters or white space. SORT would
    /// treat a `*` as a placeholder, and braces would put every key into one cluster slot.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self, InvalidPrefix> {
        let prefix = prefix.as_ref();
        if prefix.contains(['{', '}']) {
            return Err(InvalidPrefix(
                "contains `{` or `}`, which would put every key into one cluster slot; if this is intended, use KeyPrefix::with_hash_tag or RedisConfigBuilder::key_hash_tag_prefix",
            ));
        }
        Self::checked(prefix)
    }

    /// Creates a prefix with one complete hash tag, such as `{shop}:`. It puts every key of this connection into one
    /// cluster slot.
    ///
    /// # Errors
    /// Fails for the reasons of [`KeyPrefix::new`], and if the prefix does not contain exactly one non-empty `{tag}`.
    pub fn with_hash_tag(prefix: impl AsRef<str>) -> Result<Self, InvalidPrefix> {
        let prefix = prefix.as_ref();
        let braces: Vec<char> = prefix.chars().filter(|c| matches!(c, '{' | '}')).collect();
        if braces != ['{', '}'] || prefix.contains("{}") {
            return Err(InvalidPrefix("must contain exactly one complete hash tag, such as `{shop}:`"));
        }
        Self::checked(prefix)
    }

    /// Disables prefixing: commands can reach every key of the database. This is never the default.
    #[must_use]
    pub fn none() -> Self {
        Self::from_valid("")
    }

    fn checked(prefix: &str) -> Result<Self, InvalidPrefix> {
        if prefix.is_empty() {
            return Err(InvalidPrefix(
                "is empty; to disable the prefix, use KeyPrefix::none() or RedisConfigBuilder::without_key_prefix()",
            ));
        }
        if prefix.len() > MAX_LEN {
            return Err(InvalidPrefix("is longer than 1024 bytes"));
        }
        if prefix.contains('*') {
            return Err(InvalidPrefix("contains `*`, which SORT treats as a placeholder: remove it"));
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

    /// The prefix with its glob characters escaped, as it is added to patterns.
    pub(crate) fn as_glob(&self) -> &[u8] {
        &self.0.glob
    }

    /// Indexed by the length of the key: the bytes between the `$` and the key on the wire, for short keys only.
    pub(crate) fn heads(&self) -> &[Head] {
        &self.0.heads
    }

    /// Adds the prefix: the name of `key` on the server.
    #[must_use]
    pub fn prefix_key(&self, key: impl AsRef<[u8]>) -> Vec<u8> {
        [self.as_str().as_bytes(), key.as_ref()].concat()
    }

    /// Removes the prefix. Returns `None` for a key that does not have it.
    #[must_use]
    pub fn unprefix_key<'k>(&self, key: &'k (impl AsRef<[u8]> + ?Sized)) -> Option<&'k [u8]> {
        key.as_ref().strip_prefix(self.as_str().as_bytes())
    }

    /// Rewrites an arbitrary command line without a server, for tests and tooling. The same checks apply as on a
    /// connection.
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
    /// [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand) if the command is unknown, is not allowed on a
    /// prefixed connection, or its keys cannot be located because its arguments are malformed.
    pub fn rewrite(&self, argv: &[impl AsRef<[u8]>]) -> Result<Vec<Vec<u8>>> {
        rewrite::rewrite(self.as_str().as_bytes(), argv).map_err(Into::into)
    }

    /// The inverse of [`rewrite`](Self::rewrite) for replies: removes the prefix from every name in the reply to this
    /// command, and drops the names that lack the prefix.
    #[must_use]
    pub fn strip(&self, argv: &[impl AsRef<[u8]>], reply: redis::Value) -> redis::Value {
        self.strip_reply(replies::reply_keys(argv), reply)
    }

    /// Removes the prefix from the names in a reply, and drops names that lack it, since they belong to other
    /// services.
    pub(crate) fn strip_reply(&self, keys: ReplyKeys, reply: redis::Value) -> redis::Value {
        if keys == ReplyKeys::None || self.as_str().is_empty() {
            return reply;
        }
        warn_about_leaks(replies::strip(keys, self.as_str().as_bytes(), reply))
    }

    /// Like [`strip_reply`](Self::strip_reply), for the replies to joined commands.
    pub(crate) fn strip_each(&self, keys: impl IntoIterator<Item = ReplyKeys>, replies: redis::Value) -> redis::Value {
        if self.as_str().is_empty() {
            return replies;
        }
        warn_about_leaks(replies::strip_each(keys, self.as_str().as_bytes(), replies))
    }

    /// Converts a server error, and removes the prefix where the error quotes a key.
    pub(crate) fn strip_error(&self, error: &redis::ServerError) -> Error {
        let text = match (error.code(), error.details()) {
            ("NOGROUP", Some(text)) => match replies::strip_quoted(self.as_str().as_bytes(), text) {
                replies::Quoted::None => None,
                replies::Quoted::Ours(text) => Some(text),
                replies::Quoted::Leak => Some("no such stream, group or consumer".to_owned()),
            },
            _ => None,
        };
        let of_search = error.details().and_then(|text| replies::search::error(self.as_str(), error.code(), text));
        match of_search {
            Some((code, text)) => Error::server(&code, Some(&text)),
            None => Error::server(error.code(), text.as_deref().or(error.details())),
        }
    }
}

/// Logs how many names were dropped, and returns the reply.
fn warn_about_leaks((reply, leaked): (redis::Value, usize)) -> redis::Value {
    if leaked > 0 {
        tracing::warn!(
            event = "prefix.reply_names_dropped",
            names = leaked,
            "dropped names without the key prefix from a reply"
        );
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
