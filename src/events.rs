//! What happened to a connection, and what it is doing now.

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

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Nobody has asked for anything yet.
    Idle,
    /// Dialling or greeting the server.
    Connecting,
    /// Commands flow.
    Ready,
    /// Waiting before the next attempt.
    Backoff,
    /// The server refuses us; tried again at the longest delay.
    Parked,
    /// Finishing what was admitted before the shutdown.
    Draining,
    /// Over for good.
    Closed,
}

impl ConnectionState {
    /// The state as one lower-case word, as errors and logs use it.
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
    /// The server closed a link on which nothing was asked, as it does after its `timeout`.
    IdleClosed,
    /// The peer is silent.
    Stalled,
    /// The server is there but not ready: loading, too many clients, no primary.
    NotReady,
    /// The server refuses the login.
    Refused,
    /// TLS verification failed, or its files are unusable.
    Untrusted,
    /// What came was not RESP, or an answer to nothing.
    Protocol,
    /// The server became a replica.
    ReadOnly,
    /// A panic took the actor down.
    Panicked,
    /// Somebody asked for it.
    Shutdown,
}

impl CauseKind {
    /// In the order of their declaration, which is what `kind as usize` counts.
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

    /// The kind as one lower-case word, for logs and as the label of a metric.
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

/// Why a connection is not there, in words. Never contains credentials. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause {
    kind: CauseKind,
    text: Arc<str>,
}

impl Cause {
    pub(crate) fn new(kind: CauseKind, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        // A server's words may be in it, and go to logs from here.
        match printable(&*text) {
            Cow::Borrowed(_) => Self { kind, text },
            Cow::Owned(text) => Self { kind, text: text.into() },
        }
    }

    /// What kind of cause it is.
    #[must_use]
    pub fn kind(&self) -> CauseKind {
        self.kind
    }

    /// Whether trying again soon is pointless until somebody mends something.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.kind, CauseKind::Refused | CauseKind::Untrusted)
    }

    /// The error of a command that met this cause.
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

/// Something happened to the connection; sent to every recipient of `Redis::builder().on_event(..)`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// What was true already when the recipient subscribed with `Redis::on_event`; the first event it gets.
    Present {
        /// The connection at that moment.
        status: Status,
    },
    /// A dial begins.
    Connecting {
        /// Counts dials over the life of the connection.
        generation: u64,
        /// Counts dials since the connection was last stable.
        attempt: u32,
    },
    /// Commands flow.
    Connected {
        /// The dial that succeeded.
        generation: u64,
        /// How many dials there were since the last link that was stable, this one included.
        attempts: u32,
        /// How long there was no connection, if there had been one before.
        outage: Option<Duration>,
    },
    /// An established connection is gone.
    Disconnected {
        /// The dial that had made it.
        generation: u64,
        /// Why.
        cause: Cause,
        /// Commands in flight that will be sent again on the next link.
        replayed: usize,
        /// Commands in flight that ended with [`Fate::NotSent`].
        failed: usize,
        /// Commands in flight that ended with [`Fate::Unknown`].
        unknown: usize,
    },
    /// The connection of the subscriptions was lost, and every topic is subscribed to again: messages between may be
    /// missing. In a cluster also that a link to one node was lost, or that others tell of a topic now. One for each loss;
    /// subscribers are told in their own streams, see [`SubscriptionEvent::Gap`](crate::SubscriptionEvent::Gap).
    Gap {
        /// The dial that had made the lost link, as that connection counts them; 0 where none was lost.
        generation: u64,
        /// How many subscriptions had a topic on it.
        subscriptions: usize,
        /// From the loss until all was subscribed again.
        outage: Duration,
        /// Why it was lost.
        cause: Cause,
    },
    /// Another attempt follows.
    Retrying {
        /// Counts dials since the connection was last stable.
        attempt: u32,
        /// How long until the next one.
        delay: Duration,
        /// Why the last one failed.
        cause: Cause,
    },
    /// The server refuses us; callers fail fast until it does not.
    Refused {
        /// What it said.
        cause: Cause,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// The actor was restarted by its supervisor, with its address and mailbox.
    Restarted {
        /// Counts restarts over the life of the actor.
        restarts: u64,
        /// Why.
        cause: Cause,
    },
    /// The same for the link to one node of a cluster, a primary or a replica that is read from.
    Node {
        /// Where the node is.
        address: Arc<str>,
        /// What happened to the link to it.
        event: Box<Self>,
    },
    /// Nothing more is admitted.
    Draining,
    /// A command that waits, such as `BLPOP`, took something when its caller had gone: it is back where it was, what
    /// several callers left in the order in which it was taken. A key that was emptied has lost its expiry, which the server
    /// forgets with the key: set it again where elements must not stay for ever.
    PutBack {
        /// The command's name.
        command: String,
        /// How many elements there are.
        elements: usize,
    },
    /// A command that waits, such as `BLPOP`, has or may have taken something when its caller had gone, and it
    /// could not be put back.
    MayBeLost {
        /// The command's name.
        command: String,
        /// How many elements there are; `None` when it cannot be told, and there may be none.
        elements: Option<usize>,
        /// Why, for people.
        reason: String,
    },
    /// Over for good.
    Closed {
        /// Why.
        cause: Cause,
    },
}

impl Message for ConnectionEvent {
    type Result = ();
}

impl ConnectionEvent {
    /// One line for the log, at the level an operator would want it.
    pub(crate) fn log(&self) {
        match self {
            Self::Present { .. } => {}
            Self::Connecting { generation, attempt } => tracing::debug!(generation, attempt, "connecting to redis"),
            Self::Connected { generation, attempts, outage } => {
                tracing::info!(generation, attempts, ?outage, "connected to redis");
            }
            Self::Disconnected { generation, cause, .. } if cause.kind() == CauseKind::Shutdown => {
                tracing::debug!(generation, %cause, "left redis");
            }
            Self::Disconnected { generation, cause, replayed, failed, unknown } => {
                tracing::warn!(generation, %cause, replayed, failed, unknown, "lost the connection to redis");
            }
            Self::Gap { generation, subscriptions, outage, cause } => {
                tracing::warn!(generation, subscriptions, ?outage, %cause, "published messages may be missing");
            }
            Self::Retrying { attempt, delay, cause } => {
                tracing::warn!(attempt, ?delay, %cause, "no connection to redis, trying again");
            }
            Self::Refused { cause, retry_in } => tracing::error!(%cause, ?retry_in, "redis refuses the connection"),
            Self::Restarted { restarts, cause } => tracing::error!(restarts, %cause, "the redis actor was restarted"),
            Self::Node { address, event } => tracing::info_span!("node", %address).in_scope(|| event.log()),
            Self::PutBack { command, elements } => {
                tracing::info!(%command, elements, "put back what was taken for a caller who had gone");
            }
            Self::MayBeLost { command, elements, reason } => {
                tracing::error!(%command, ?elements, %reason, "what was taken for a caller who had gone may be lost");
            }
            Self::Draining => tracing::info!("finishing before the connection to redis is closed"),
            Self::Closed { cause } => tracing::info!(%cause, "the connection to redis is closed"),
        }
    }
}

/// The connection at a glance; see `Redis::status`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub state: ConnectionState,
    /// Since when.
    pub since: Instant,
    /// Counts dials over its life.
    pub generation: u64,
    /// Counts dials since it was last stable.
    pub attempt: u32,
    /// Why there is no connection, if there is none.
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

    /// Whether a command sent now has a fair chance: ready, or not tried yet. A server that has fallen silent counts as
    /// ready until `liveness` has passed; [`Redis::error_rate`](crate::Redis::error_rate) shows it earlier.
    #[must_use]
    pub fn is_available(&self) -> bool {
        matches!(self.state, ConnectionState::Ready | ConnectionState::Idle)
    }
}

/// Hands events to whoever asked, and keeps the status that late-comers read.
pub(crate) struct Fanout {
    recipients: Vec<Recipient<ConnectionEvent>>,
    status: watch::Sender<Status>,
    relay: Option<Relay>,
    /// Which link it is, for the log: one outage costs several of them.
    link: Arc<str>,
}

/// Where the events of a node go: to those who look after its cluster.
struct Relay {
    address: Arc<str>,
    told: Sender<ConnectionEvent>,
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

    /// Names the link in the log.
    pub(crate) fn of_link(self, link: Arc<str>) -> Self {
        Self { link, ..self }
    }

    /// Of one node of a cluster.
    pub(crate) fn relay(address: Arc<str>, told: Sender<ConnectionEvent>, status: watch::Sender<Status>) -> Self {
        let link = address.clone();
        Self { recipients: Vec::new(), status, relay: Some(Relay { address, told }), link }
    }

    pub(crate) fn log(&self, event: &ConnectionEvent) {
        match &self.relay {
            None => tracing::info_span!("link", name = %self.link).in_scope(|| event.log()),
            Some(relay) => relay.of_node(event).log(),
        }
    }

    pub(crate) fn subscribe(&mut self, recipient: Recipient<ConnectionEvent>) {
        // What happened before is over: without the present state it would not know what the next event ends.
        recipient.do_send(ConnectionEvent::Present { status: self.status.borrow().clone() });
        self.recipients.push(recipient);
    }

    pub(crate) fn publish(&mut self, event: &ConnectionEvent) {
        if let Some(relay) = &self.relay {
            // Its cluster may be gone already.
            let _ = relay.told.send(relay.of_node(event));
        }
        // A recipient is a strong address: one whose actor is gone would be kept for ever.
        self.recipients.retain(|recipient| {
            recipient.do_send(event.clone());
            recipient.connected()
        });
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// Recipients are strong: holding them past the end keeps other actors alive.
    pub(crate) fn release(&mut self) {
        self.recipients.clear();
    }
}
