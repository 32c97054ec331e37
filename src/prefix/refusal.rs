//! Why a command is not sent, for programs.

use std::fmt;

use super::policy::Policy;

/// Why a command was refused before anything was sent; see [`Error::refusal`](crate::Error::refusal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RefusalClass {
    /// It changes the shared connection for every other caller (`SELECT`, `CLIENT REPLY`).
    ConnectionState,
    /// It belongs to a transaction, and would take in the commands of other callers (`MULTI`).
    Transaction,
    /// It may wait, and does not say for how long; or it waits where that makes no sense: in a pipeline, or for the
    /// writes of a connection that has none (`WAIT`).
    Blocking,
    /// It changes what the shared connection listens to (`SUBSCRIBE`).
    Subscribe,
    /// It reaches keys whatever their prefix (`FLUSHALL`).
    Wide,
    /// It shows what other services do (`CLIENT LIST`).
    Observing,
    /// It changes the server for every service (`CONFIG`).
    Administration,
    /// Which of its arguments are keys is not known.
    Unknown,
    /// Its arguments do not say for certain which of them are keys, or their number is wrong.
    Arguments,
    /// One of its keys is not marked.
    Unmarked,
}

impl RefusalClass {
    pub(crate) fn of(policy: Policy) -> Option<Self> {
        Some(match policy {
            Policy::Allowed => return None,
            Policy::Transaction => Self::Transaction,
            Policy::Blocking => Self::Blocking,
            Policy::Subscribe => Self::Subscribe,
            Policy::ConnectionState => Self::ConnectionState,
            Policy::Wide => Self::Wide,
            Policy::Observing => Self::Observing,
            Policy::Administration => Self::Administration,
            Policy::Unknown => Self::Unknown,
        })
    }
}

impl fmt::Display for RefusalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionState => "connection state",
            Self::Transaction => "transaction",
            Self::Blocking => "blocking",
            Self::Subscribe => "subscribe",
            Self::Wide => "wide",
            Self::Observing => "observing others",
            Self::Administration => "administration",
            Self::Unknown => "unknown",
            Self::Arguments => "arguments",
            Self::Unmarked => "unmarked",
        })
    }
}
