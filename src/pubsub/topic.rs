//! Topics of subscriptions.

use std::{fmt, sync::Arc};

use crate::error::Result;
use crate::frame::Frame;
use crate::pubsub::machine::{Kind, Name};

/// A channel, a channel pattern, a shard channel, or key events; for [`Redis::subscribe`](crate::Redis::subscribe).
/// Cloning is cheap.
///
/// Names are arbitrary bytes and get the connection's prefix. In a pattern its glob characters are escaped; in
/// keyspace notifications it is inserted before the key.
///
/// A server sends key events only if its `notify-keyspace-events` allows them: `CONFIG SET notify-keyspace-events
/// KEA` enables all. If the setting can be read, subscribers are notified if it is disabled, see
/// [`SubscriptionEvent::NotificationsOff`](crate::SubscriptionEvent::NotificationsOff).
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
    /// A shard channel, which one shard of a cluster serves. Needs Redis 7.0.
    Shard,
    /// The events of keys that match a glob pattern.
    Keyspace,
    /// The keys of an event.
    Keyevent,
}

impl Topic {
    /// The messages that [`Publish`](crate::Publish) sends to one channel.
    pub fn channel(name: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Channel, name.as_ref())
    }

    /// The messages of every channel that matches this glob pattern. A message of a channel that is also subscribed
    /// by name is delivered twice, as the server sends it.
    pub fn pattern(pattern: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Pattern, pattern.as_ref())
    }

    /// The messages that [`SPublish`](crate::SPublish) sends to one shard channel.
    pub fn shard(name: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Shard, name.as_ref())
    }

    /// The events of keys in the connection's database that match this glob pattern, as
    /// [`KeyEvent`](crate::KeyEvent). A name without glob characters is one key.
    pub fn keyspace(pattern: impl AsRef<[u8]>) -> Self {
        Self::new(TopicKind::Keyspace, pattern.as_ref())
    }

    /// The keys in the connection's database for an event such as `expired`, `del` or `set`, as
    /// [`KeyEvent`](crate::KeyEvent); a glob pattern such as `*` selects several events. The server sends these
    /// events for the keys of all services: those outside the prefix are counted
    /// ([`SubscriptionStats::foreign`](crate::SubscriptionStats)) and dropped. With [`keyspace`](Self::keyspace) the
    /// server filters by key.
    pub fn keyevent(event: impl AsRef<str>) -> Self {
        Self::new(TopicKind::Keyevent, event.as_ref().as_bytes())
    }

    fn new(kind: TopicKind, name: &[u8]) -> Self {
        Self { kind, name: name.into() }
    }

    /// The kind of the topic.
    #[must_use]
    pub fn kind(&self) -> TopicKind {
        self.kind
    }

    /// The name, the pattern or the event, as given.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The name on the server, before the prefix is added.
    ///
    /// # Errors
    /// If it cannot be restricted to the prefix.
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

/// The command to subscribe to a topic, or to unsubscribe from it.
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
    fn notification_channels_have_the_database_and_patterns_are_detected() {
        let of = |topic: Topic| topic.resolve(3).map(|name| (name.kind, name.bytes.to_vec()));
        assert_eq!(of(Topic::keyspace("user:*")).expect("valid"), (Kind::Pattern, b"__keyspace@3__:user:*".to_vec()));
        assert_eq!(of(Topic::keyevent("del")).expect("valid"), (Kind::Channel, b"__keyevent@3__:del".to_vec()));
        assert_eq!(of(Topic::keyevent("*")).expect("valid"), (Kind::Pattern, b"__keyevent@3__:*".to_vec()));
        assert!(of(Topic::pattern("__key*__:*")).is_err());
        assert!(of(Topic::channel("__subkeyevent@0__:hset")).is_err());
    }
}
