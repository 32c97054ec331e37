//! The class of a refusal, for programs.

use std::fmt;

use super::policy::Policy;

/// The reason for which a command was refused before it was sent; see [`Error::refusal`](crate::Error::refusal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RefusalClass {
    /// It changes the shared connection for every other caller (`SELECT`, `CLIENT REPLY`).
    ConnectionState,
    /// It belongs to a transaction, which would include the commands of other callers (`MULTI`).
    Transaction,
    /// It may block and states no maximum wait, or it blocks where that is not possible: in a pipeline, or `WAIT` on
    /// a connection without earlier writes.
    Blocking,
    /// It changes the subscriptions of the shared connection (`SUBSCRIBE`).
    Subscribe,
    /// It reaches keys outside the prefix (`FLUSHALL`).
    Wide,
    /// It shows the activity of other services (`CLIENT LIST`).
    Observing,
    /// It changes the server for every service (`CONFIG`).
    Administration,
    /// It is not known which of its arguments are keys.
    Unknown,
    /// The positions of its keys are ambiguous, or the number of its arguments is wrong.
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
            Policy::Wide | Policy::Search | Policy::Grouped | Policy::Labels => Self::Wide,
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
            Self::Observing => "observing",
            Self::Administration => "administration",
            Self::Unknown => "unknown",
            Self::Arguments => "arguments",
            Self::Unmarked => "unmarked",
        })
    }
}
