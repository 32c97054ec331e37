//! What a subscriber is sent.

use std::{fmt, sync::Arc};

use actix::Message;
use redis::{FromRedisValue, Value};

use super::topic::Topic;
use crate::error::{Error, Result};
use crate::events::Cause;

/// What comes to the inbox of a [`Subscription`](crate::Subscription), in order.
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
///             SubscriptionEvent::Gap { .. } => println!("messages may be missing: look at what is now"),
///             _ => {}
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// Something was published.
    Message(ChannelMessage),
    /// Something happened to a key.
    Key(KeyEvent),
    /// The link was lost between what came before this and what comes after it, and messages may be missing there. Every
    /// topic is subscribed to again: whatever is read now, and what comes from now on, have no hole between them.
    ///
    /// In a cluster it comes also when another node is to tell of a topic. While one node is gone, messages of others are held
    /// back for five seconds at most; then they follow the gap, and another gap follows when that node is back.
    Gap {
        /// How many losses in a row, without a message between them; mostly 1.
        losses: u32,
        /// Why the last link was lost.
        cause: Cause,
    },
    /// So many messages were dropped here, because this inbox is slow. See [`Overflow`](crate::Overflow).
    Dropped {
        /// How many.
        messages: u64,
    },
    /// The server refuses a topic that it had allowed before the link was lost. The subscription goes on without it;
    /// it is asked for again on the next link.
    Refused {
        /// Which one.
        topic: Topic,
        /// What the server said.
        error: Error,
    },
    /// The server sends no events of keys: its `notify-keyspace-events` is `setting`. Sent only when the server let
    /// itself be asked, which takes the right to `CONFIG GET`.
    NotificationsOff {
        /// What is set.
        setting: String,
        /// In a cluster the node, as `host:port`: each has a setting of its own, and each that is off is told.
        node: Option<String>,
    },
    /// Nothing more comes: the connection was shut down, or this inbox was too slow for
    /// [`Overflow::Disconnect`](crate::Overflow::Disconnect).
    Ended {
        /// Why.
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
    /// The topic of the subscription that it came for.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The channel that it was published in, without the prefix.
    #[must_use]
    pub fn channel(&self) -> &[u8] {
        &self.channel
    }

    /// What was published.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload as another type: `String`, a number, [`Json<T>`](crate::Json), or whatever else
    /// [`FromRedisValue`] makes of a string.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when it does not fit. The text does not quote it.
    pub fn decode<T: FromRedisValue>(&self) -> Result<T> {
        Ok(T::from_redis_value(Value::BulkString(self.payload.to_vec()))?)
    }
}

/// Payloads stay out of logs.
impl fmt::Debug for ChannelMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelMessage")
            .field("topic", &self.topic)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// What happened to a key inside the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyEvent {
    /// The key, without the prefix.
    pub key: Vec<u8>,
    /// What happened: `set`, `del`, `expired`, ...
    pub event: String,
    /// The database.
    pub db: u32,
}

/// What a notification says, if its channel is one of the server's own.
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
    fn both_kinds_of_notifications_name_key_event_and_database() {
        let expected = Some(KeyEvent { key: b"a:__:b".to_vec(), event: "del".to_owned(), db: 12 });
        assert_eq!(key_event(b"__keyspace@12__:a:__:b", b"del"), expected);
        assert_eq!(key_event(b"__keyevent@12__:del", b"a:__:b"), expected);
        for other in [&b"__keyspace@x__:k"[..], b"__keyspace@1_:k", b"news", b"__keyspace@"] {
            assert_eq!(key_event(other, b"del"), None);
        }
    }
}
