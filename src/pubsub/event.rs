//! The events of a subscriber.

use std::{fmt, sync::Arc};

use actix::Message;
use redis::{FromRedisValue, Value};

use super::topic::Topic;
use crate::error::{Error, Result};
use crate::events::Cause;

/// The events sent to the inbox of a [`Subscription`](crate::Subscription), in order.
///
/// ```
/// use actix::prelude::*;
/// use redis_actix::{Json, SubscriptionEvent};
///
/// #[derive(serde::Deserialize)]
/// struct Alert {
///     level: u8,
/// }
///
/// struct Alarm;
///
/// impl Actor for Alarm {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<SubscriptionEvent> for Alarm {
///     type Result = ();
///
///     fn handle(&mut self, event: SubscriptionEvent, _: &mut Context<Self>) {
///         match event {
///             SubscriptionEvent::Message(message) => match message.decode::<Json<Alert>>() {
///                 Ok(alert) => println!("level {}", alert.level),
///                 Err(error) => println!("not an alert: {error}"),
///             },
///             SubscriptionEvent::Gap { .. } => println!("messages may be missing: read the current state"),
///             _ => {}
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// A published message.
    Message(ChannelMessage),
    /// An event of a key.
    Key(KeyEvent),
    /// The link was lost between the previous and the next message, and messages may be missing in between. Every
    /// topic is subscribed again: there is no gap between a value that you read now and the messages that follow.
    ///
    /// In a cluster it is also sent if another node now serves a topic. While one node is unreachable, messages of
    /// other nodes are held back for up to five seconds. Then they follow the gap, and another gap is sent after that
    /// node has recovered. A message from right before a gap can arrive again behind it, because the nodes pass messages
    /// on to each other, and the node that is subscribed at now may receive one later. A node that the others lose for a
    /// moment, as by `CLUSTER RESET`, delivers nothing meanwhile; no gap is sent if it is back before a check.
    Gap {
        /// The number of consecutive losses without a message in between; usually 1.
        losses: u32,
        /// The cause of the last loss.
        cause: Cause,
    },
    /// Messages were dropped here, because this inbox is slow. See [`Overflow`](crate::Overflow).
    Dropped {
        /// The number of dropped messages.
        messages: u64,
    },
    /// The server refuses a topic that it had allowed before the link was lost. The subscription continues without
    /// it, and requests it again on the next link.
    Refused {
        /// The refused topic.
        topic: Topic,
        /// The server's error.
        error: Error,
    },
    /// The server sends no key events: its `notify-keyspace-events` is `setting`. Sent only if the user has the
    /// permission for `CONFIG GET`.
    NotificationsOff {
        /// The current setting.
        setting: String,
        /// In a cluster the node, as `host:port`. Each node has its own setting, and each disabled one is reported.
        node: Option<String>,
    },
    /// No more events follow: the connection was shut down, or this inbox was too slow with
    /// [`Overflow::Disconnect`](crate::Overflow::Disconnect).
    Ended {
        /// The cause of the end.
        cause: Cause,
    },
}

impl Message for SubscriptionEvent {
    type Result = ();
}

/// A published message.
#[derive(Clone)]
pub struct ChannelMessage {
    pub(crate) topic: Topic,
    pub(crate) channel: Arc<[u8]>,
    pub(crate) payload: Arc<[u8]>,
}

impl ChannelMessage {
    /// The topic of the subscription that matched.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The channel of the message, without the prefix.
    #[must_use]
    pub fn channel(&self) -> &[u8] {
        &self.channel
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Decodes the payload as another type: `String`, a number, [`Json<T>`](crate::Json), or any other type that
    /// [`FromRedisValue`] can decode from a string.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it does not fit. The text does not quote it.
    pub fn decode<T: FromRedisValue>(&self) -> Result<T> {
        Ok(T::from_redis_value(Value::BulkString(self.payload.to_vec()))?)
    }
}

/// Payloads must not reach logs.
impl fmt::Debug for ChannelMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelMessage")
            .field("topic", &self.topic)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// An event of a key with the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyEvent {
    /// The key, without the prefix.
    pub key: Vec<u8>,
    /// The event: `set`, `del`, `expired`, ...
    pub event: String,
    /// The database.
    pub db: u32,
}

/// Decodes a notification, if the channel is one of the server's own.
pub(crate) fn key_event(channel: &[u8], payload: &[u8]) -> Option<KeyEvent> {
    let of_key = channel.strip_prefix(b"__keyspace@");
    let rest = of_key.or_else(|| channel.strip_prefix(b"__keyevent@"))?;
    let at = rest.iter().position(|byte| *byte == b'_')?;
    let (db, rest) = rest.split_at_checked(at)?;
    let db = std::str::from_utf8(db).ok()?.parse().ok()?;
    let last = rest.strip_prefix(b"__:")?;
    let (key, event) = if of_key.is_some() { (last, payload) } else { (payload, last) };
    Some(KeyEvent { key: key.to_vec(), event: String::from_utf8_lossy(event).into_owned(), db })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_notifications_are_decoded() {
        let expected = Some(KeyEvent { key: b"a:__:b".to_vec(), event: "del".to_owned(), db: 12 });
        assert_eq!(key_event(b"__keyspace@12__:a:__:b", b"del"), expected);
        assert_eq!(key_event(b"__keyevent@12__:del", b"a:__:b"), expected);
        for other in [&b"__keyspace@x__:k"[..], b"__keyspace@1_:k", b"news", b"__keyspace@"] {
            assert_eq!(key_event(other, b"del"), None);
        }
    }
}
