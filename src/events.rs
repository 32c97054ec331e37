//! Connection events, and the current state of a connection.

mod log;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, mpsc::Sender},
    time::{Duration, Instant},
};

use actix::{Message, Recipient};
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Fate};
use crate::printable::printable;
pub(crate) use log::millis;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No command was sent yet.
    Idle,
    /// Connecting, or in the handshake.
    Connecting,
    /// Commands can be sent.
    Ready,
    /// Waiting before the next attempt.
    Backoff,
    /// The server refuses the connection; it is retried at the longest delay.
    Parked,
    /// Completing the accepted commands before the shutdown.
    Draining,
    /// Closed permanently.
    Closed,
}

impl ConnectionState {
    /// The state as one lower-case word, as in errors and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::Parked => "parked",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of a [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CauseKind {
    /// The address cannot be resolved or reached.
    Unreachable,
    /// An established link ended or broke.
    Broken,
    /// The server closed an idle link, for example after its `timeout`.
    IdleClosed,
    /// The peer stopped responding.
    Stalled,
    /// The server is not ready: loading, too many clients, no primary.
    NotReady,
    /// The server refuses the login.
    Refused,
    /// TLS verification failed, or its files are invalid.
    Untrusted,
    /// The server sent invalid RESP, or a reply without a command.
    Protocol,
    /// The server became a replica.
    ReadOnly,
    /// The actor panicked.
    Panicked,
    /// A shutdown was requested.
    Shutdown,
}

impl CauseKind {
    /// In declaration order, which matches `kind as usize`.
    pub(crate) const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Broken,
        Self::IdleClosed,
        Self::Stalled,
        Self::NotReady,
        Self::Refused,
        Self::Untrusted,
        Self::Protocol,
        Self::ReadOnly,
        Self::Panicked,
        Self::Shutdown,
    ];

    /// The kind as one lower-case word, for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::IdleClosed => "idle_closed",
            Self::Stalled => "stalled",
            Self::NotReady => "not_ready",
            Self::Refused => "refused",
            Self::Untrusted => "untrusted",
            Self::Protocol => "protocol",
            Self::ReadOnly => "read_only",
            Self::Panicked => "panicked",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The reason for a missing connection. It never contains credentials. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause {
    kind: CauseKind,
    text: Arc<str>,
}

impl Cause {
    pub(crate) fn new(kind: CauseKind, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        // The text may contain the server's words, and is logged.
        match printable(&*text) {
            Cow::Borrowed(_) => Self { kind, text },
            Cow::Owned(text) => Self { kind, text: text.into() },
        }
    }

    /// The kind of the cause.
    #[must_use]
    pub fn kind(&self) -> CauseKind {
        self.kind
    }

    /// Whether a retry is pointless until the configuration, here or on the server, is changed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.kind, CauseKind::Refused | CauseKind::Untrusted)
    }

    /// The error of a command that failed for this cause.
    pub(crate) fn error(&self, fate: Fate) -> Error {
        let kind = match self.kind {
            CauseKind::Refused | CauseKind::Untrusted => ErrorKind::Refused,
            CauseKind::Shutdown => ErrorKind::Closed,
            CauseKind::Protocol => ErrorKind::Protocol,
            _ => ErrorKind::Disconnected,
        };
        Error::new(kind, fate, self.text.to_string())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.text)
    }
}

/// An event of the connection; sent to every recipient of `Redis::builder().on_event(..)`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The state when the recipient subscribed with `Redis::on_event`; always its first event.
    Present {
        /// The status at that moment.
        status: Status,
    },
    /// A connection attempt starts.
    Connecting {
        /// The number of this attempt in the lifetime of the connection.
        generation: u64,
        /// The number of attempts since the connection was last stable.
        attempt: u32,
    },
    /// The connection is ready for commands.
    Connected {
        /// The attempt that succeeded.
        generation: u64,
        /// The number of attempts since the last stable link, including this one.
        attempts: u32,
        /// The time without a connection, if there was one before.
        outage: Option<Duration>,
    },
    /// An established connection was lost.
    Disconnected {
        /// The attempt that had established it.
        generation: u64,
        /// The cause of the loss.
        cause: Cause,
        /// The number of in-flight commands that are retried on the next link.
        replayed: usize,
        /// The number of in-flight commands that failed with [`Fate::NotSent`].
        failed: usize,
        /// The number of in-flight commands that failed with [`Fate::Unknown`].
        unknown: usize,
    },
    /// The connection of the subscriptions was lost, and every topic was subscribed again: messages in between may be
    /// missing. In a cluster it is also sent if the link to one node was lost, or if another node now serves a topic.
    /// There is one event per loss. Subscribers get [`SubscriptionEvent::Gap`](crate::SubscriptionEvent::Gap) in
    /// their own streams.
    Gap {
        /// The attempt that had established the lost link, counted by that connection; 0 if no link was lost.
        generation: u64,
        /// The number of subscriptions with a topic on it.
        subscriptions: usize,
        /// The time from the loss until all topics were subscribed again.
        outage: Duration,
        /// The cause of the loss.
        cause: Cause,
    },
    /// The connection attempt failed; another one follows.
    Retrying {
        /// The number of attempts since the connection was last stable.
        attempt: u32,
        /// The delay before the next attempt.
        delay: Duration,
        /// The cause of the last failure.
        cause: Cause,
    },
    /// The server refuses the connection. Commands fail immediately until it is accepted.
    Refused {
        /// The cause, with the server's words.
        cause: Cause,
        /// The delay before the next attempt.
        retry_in: Duration,
    },
    /// The supervisor restarted the actor, with the same address and mailbox.
    Restarted {
        /// The number of restarts in the lifetime of the actor.
        restarts: u64,
        /// The cause of the restart.
        cause: Cause,
    },
    /// An event of the link to one node of a cluster, a primary or a replica for reads.
    Node {
        /// The address of the node.
        address: Arc<str>,
        /// The event of its link.
        event: Box<Self>,
    },
    /// The server does not report changed keys on this link, so reads are not cached. The connection is used without a cache.
    CacheUnavailable {
        /// The reason, with the server's words.
        reason: String,
    },
    /// No more commands are accepted.
    Draining,
    /// A blocking command such as `BLPOP` took elements after its caller was gone. They were put back where they
    /// were, those of several callers in the order in which they were taken. A key that was emptied meanwhile has
    /// lost its expiry, which the server removes with the key: set it again if the elements must expire.
    PutBack {
        /// The name of the command.
        command: String,
        /// The number of elements.
        elements: usize,
    },
    /// A blocking command such as `BLPOP` took, or may have taken, elements after its caller was gone, and they could
    /// not be put back.
    MayBeLost {
        /// The name of the command.
        command: String,
        /// The number of elements; `None` if it is not known, and there may be none.
        elements: Option<usize>,
        /// The reason, as text.
        reason: String,
    },
    /// The connection is closed permanently.
    Closed {
        /// The cause.
        cause: Cause,
    },
}

impl Message for ConnectionEvent {
    type Result = ();
}

/// A snapshot of the connection; see `Redis::status`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The state.
    pub state: ConnectionState,
    /// The time of the last change of the state.
    pub since: Instant,
    /// The number of connection attempts.
    pub generation: u64,
    /// The number of attempts since it was last stable.
    pub attempt: u32,
    /// The reason for a missing connection.
    pub cause: Option<Cause>,
    /// How often an established link was lost.
    pub disconnects: u64,
    /// How often the supervisor restarted the actor.
    pub restarts: u64,
}

impl Status {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: ConnectionState::Idle,
            since: now,
            generation: 0,
            attempt: 0,
            cause: None,
            disconnects: 0,
            restarts: 0,
        }
    }

    /// Whether a command that is sent now is likely to succeed: the connection is ready, or was not tried yet. A
    /// server that stopped responding counts as ready until `liveness` has passed;
    /// [`Redis::error_rate`](crate::Redis::error_rate) shows it earlier.
    #[must_use]
    pub fn is_available(&self) -> bool {
        matches!(self.state, ConnectionState::Ready | ConnectionState::Idle)
    }
}

/// Sends events to the subscribers, and stores the current status.
pub(crate) struct Fanout {
    recipients: Vec<Recipient<ConnectionEvent>>,
    status: watch::Sender<Status>,
    relay: Option<Relay>,
    /// The name of the link in logs, because one outage concerns several links.
    link: Arc<str>,
}

/// Forwards the events of a node to its cluster.
struct Relay {
    address: Arc<str>,
    events: Sender<ConnectionEvent>,
}

impl Relay {
    fn of_node(&self, event: &ConnectionEvent) -> ConnectionEvent {
        ConnectionEvent::Node { address: self.address.clone(), event: Box::new(event.clone()) }
    }
}

impl Fanout {
    pub(crate) fn new(recipients: Vec<Recipient<ConnectionEvent>>, status: watch::Sender<Status>) -> Self {
        Self { recipients, status, relay: None, link: "shared".into() }
    }

    /// Sets the name of the link in logs.
    pub(crate) fn of_link(self, link: Arc<str>) -> Self {
        Self { link, ..self }
    }

    /// For one node of a cluster.
    pub(crate) fn relay(address: Arc<str>, events: Sender<ConnectionEvent>, status: watch::Sender<Status>) -> Self {
        let link = address.clone();
        Self { recipients: Vec::new(), status, relay: Some(Relay { address, events }), link }
    }

    pub(crate) fn log(&self, event: &ConnectionEvent) {
        // The link of a node is named by its address.
        event.log(&self.link);
    }

    pub(crate) fn subscribe(&mut self, recipient: Recipient<ConnectionEvent>) {
        // The recipient needs the present state, since it did not see earlier events.
        recipient.do_send(ConnectionEvent::Present { status: self.status.borrow().clone() });
        self.recipients.push(recipient);
    }

    pub(crate) fn publish(&mut self, event: &ConnectionEvent) {
        if let Some(relay) = &self.relay {
            // The cluster may have been dropped.
            let _ = relay.events.send(relay.of_node(event));
        }
        // A recipient is a strong address, so a closed one is removed.
        self.recipients.retain(|recipient| {
            recipient.do_send(event.clone());
            recipient.connected()
        });
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// Recipients are strong addresses: holding them after the end would keep other actors alive.
    pub(crate) fn release(&mut self) {
        self.recipients.clear();
    }
}
