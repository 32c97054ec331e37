//! What can be subscribed to.

use std::{fmt, sync::Arc};

use crate::error::Result;
use crate::frame::Frame;
use crate::pubsub::machine::{Kind, Name};

/// A channel, a pattern of channels, a shard channel, or the events of keys; for
/// [`Redis::subscribe`](crate::Redis::subscribe). Cloning is cheap.
///
/// Names are bytes, any bytes, and get the connection's prefix: in a pattern its glob characters are escaped, in
/// keyspace notifications it goes before the key.
///
/// Events of keys come only from a server whose `notify-keyspace-events` allows them: `CONFIG SET
/// notify-keyspace-events KEA` turns on all. Where the server lets itself be asked, a subscriber is told when they are
/// off, see [`SubscriptionEvent::NotificationsOff`](crate::SubscriptionEvent::NotificationsOff).
///
/// ```
/// use redis_actix::Topic;
///
/// let topics = [Topic::channel("alerts"), Topic::pattern("news:*"), Topic::keyspace("user:*")];
/// assert_eq!(topics[1].name(), b"news:*");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    kind: TopicKind,
    name: Arc<[u8]>,
}

/// The kind of a [`Topic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicKind {
    /// One channel.
    Channel,
    /// Every channel that a glob pattern matches.
    Pattern,
    /// One channel of those that a cluster keeps on one shard; servers from 7.0 on.
    Shard,
    /// What happens to the keys that a glob pattern matches.
    Keyspace,
    /// Which keys an event happens to.
    Keyevent,
}

impl Topic {
    /// The messages that [`Publish`](crate::Publish) sends to one channel.
    pub fn channel(name: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Channel, name.as_ref())
    }

    /// The messages of every channel that this glob pattern matches. A message of a channel that is subscribed to by
    /// name as well comes twice, as it does from the server.
    pub fn pattern(pattern: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Pattern, pattern.as_ref())
    }

    /// The messages that [`SPublish`](crate::SPublish) sends to one shard channel.
    pub fn shard(name: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Shard, name.as_ref())
    }

    /// What happens to the keys of the connection's database that this glob pattern matches, as
    /// [`KeyEvent`](crate::KeyEvent). A name without glob characters is one key.
    pub fn keyspace(pattern: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Keyspace, pattern.as_ref())
    }

    /// The keys of the connection's database that an event such as `expired`, `del` or `set` happens to, as
    /// [`KeyEvent`](crate::KeyEvent); a glob pattern such as `*` means several events. The server sends these events to
    /// everybody, whoever owns the key: keys outside the prefix are counted
    /// ([`SubscriptionStats::foreign`](crate::SubscriptionStats)) and dropped. [`keyspace`](Self::keyspace) has the
    /// server do the filtering.
    pub fn keyevent(event: impl AsRef<str>) -> Self {
        Self::new(TopicKind::Keyevent, event.as_ref().as_bytes())
    }

    fn new(kind: TopicKind, name: &[u8]) -> Self {
        Self { kind, name: name.into() }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> TopicKind {
        self.kind
    }

    /// The name, the pattern or the event, as it was given.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What the server knows it by, before the prefix.
    ///
    /// # Errors
    /// When it cannot be kept inside the prefix.
    pub(crate) fn resolve(&self, db: u32) -> Result<Name> {
        let notification = |kind: &str| [format!("__{kind}@{db}__:").as_bytes(), &self.name].concat();
        let (kind, bytes) = match self.kind {
            TopicKind::Channel => (Kind::Channel, self.name.clone()),
            TopicKind::Pattern => (Kind::Pattern, self.name.clone()),
            TopicKind::Shard => (Kind::Shard, self.name.clone()),
            TopicKind::Keyspace => (Kind::Pattern, notification("keyspace").into()),
            TopicKind::Keyevent if self.name.iter().any(|byte| b"*?[\\".contains(byte)) => {
                (Kind::Pattern, notification("keyevent").into())
            }
            TopicKind::Keyevent => (Kind::Channel, notification("keyevent").into()),
        };
        let name = Name { kind, bytes };
        request(&name, true).check()?;
        Ok(name)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.name.escape_ascii())
    }
}

/// The command that subscribes to a topic, or unsubscribes from it.
pub(crate) fn request(name: &Name, wanted: bool) -> Frame {
    let bytes = &name.bytes;
    match (name.kind, wanted) {
        (Kind::Channel, true) => Frame::known("SUBSCRIBE").channel(bytes),
        (Kind::Channel, false) => Frame::known("UNSUBSCRIBE").channel(bytes),
        (Kind::Pattern, true) => Frame::known("PSUBSCRIBE").channel_pattern(bytes),
        (Kind::Pattern, false) => Frame::known("PUNSUBSCRIBE").channel_pattern(bytes),
        (Kind::Shard, true) => Frame::known("SSUBSCRIBE").channel(bytes),
        (Kind::Shard, false) => Frame::known("SUNSUBSCRIBE").channel(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_name_the_database_and_a_pattern_is_told_by_its_bytes() {
        let of = |topic: Topic| topic.resolve(3).map(|name| (name.kind, name.bytes.to_vec()));
        assert_eq!(of(Topic::keyspace("user:*")).expect("valid"), (Kind::Pattern, b"__keyspace@3__:user:*".to_vec()));
        assert_eq!(of(Topic::keyevent("del")).expect("valid"), (Kind::Channel, b"__keyevent@3__:del".to_vec()));
        assert_eq!(of(Topic::keyevent("*")).expect("valid"), (Kind::Pattern, b"__keyevent@3__:*".to_vec()));
        assert!(of(Topic::pattern("__key*__:*")).is_err());
        assert!(of(Topic::channel("__subkeyevent@0__:hset")).is_err());
    }
}
