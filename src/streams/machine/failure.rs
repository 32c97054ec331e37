//! What a failed command means for a consumer.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// How a command failed. Decided by codes: texts differ between servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The link, or the patience with it. Whether the command ran is unknown.
    Link,
    /// There is no such group, or no such stream.
    NoGroup,
    /// A blocked read was let go because its stream went.
    Unblocked,
    /// The server asks for patience.
    Busy,
    /// The server has become a replica; its successor has the group.
    ReadOnly,
    /// The stream is with another server of a cluster, or on its way there.
    Moved,
    /// A user's right is missing.
    Denied,
    /// The key is not a stream.
    WrongType,
    /// The connection was shut down for good.
    Closed,
    /// Anything else.
    Other,
}

impl FailureKind {
    /// What was sent behind it on its link has no answer either.
    pub(crate) fn ends_the_link(self) -> bool {
        matches!(self, Self::Link | Self::Closed)
    }
}

/// A failed command in words.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Closed => FailureKind::Closed,
            ErrorKind::Timeout | ErrorKind::Disconnected | ErrorKind::Overloaded | ErrorKind::Protocol => {
                FailureKind::Link
            }
            ErrorKind::Refused => FailureKind::Denied,
            ErrorKind::Server => match error.code().unwrap_or_default() {
                "NOGROUP" => FailureKind::NoGroup,
                "UNBLOCKED" => FailureKind::Unblocked,
                "LOADING" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN" | "OOM" | "MISCONF" | "NOREPLICAS" => {
                    FailureKind::Busy
                }
                "READONLY" => FailureKind::ReadOnly,
                "MOVED" | "ASK" => FailureKind::Moved,
                "NOPERM" | "NOAUTH" | "WRONGPASS" => FailureKind::Denied,
                "WRONGTYPE" => FailureKind::WrongType,
                _ => FailureKind::Other,
            },
            _ => FailureKind::Other,
        };
        Self { kind, error }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}
