//! The log events of a connection. `docs/log-events.md` lists their names, levels and fields, and a test compares.

use std::time::Duration;

use super::{CauseKind, ConnectionEvent};

impl ConnectionEvent {
    /// Logs the event for the link of this name.
    pub(crate) fn log(&self, link: &str) {
        match self {
            Self::Present { .. } => {}
            Self::Node { address, event } => event.log(address),
            Self::Connecting { .. } | Self::Connected { .. } | Self::Draining | Self::Closed { .. } => {
                self.log_progress(link);
            }
            Self::PutBack { .. } | Self::MayBeLost { .. } => self.log_elements(link),
            _ => self.log_failure(link),
        }
    }

    fn log_progress(&self, link: &str) {
        match self {
            Self::Connecting { generation, attempt } => {
                tracing::debug!(event = "connection.connecting", link, generation, attempt, "connecting to redis");
            }
            Self::Connected { generation, attempts, outage } => {
                let outage_ms = outage.map(millis);
                tracing::info!(
                    event = "connection.connected",
                    link,
                    generation,
                    attempts,
                    outage_ms,
                    "connected to redis"
                );
            }
            Self::Draining => {
                tracing::info!(event = "connection.draining", link, "completing accepted commands before closing");
            }
            Self::Closed { cause } => {
                tracing::info!(event = "connection.closed", link, cause_kind = cause.kind().as_str(), %cause, "the connection to redis is closed");
            }
            _ => {}
        }
    }

    fn log_failure(&self, link: &str) {
        match self {
            Self::Disconnected { generation, cause, .. } if cause.kind() == CauseKind::Shutdown => {
                tracing::debug!(event = "connection.released", link, generation, %cause, "disconnected from redis");
            }
            Self::Disconnected { generation, cause, replayed, failed, unknown } => {
                let cause_kind = cause.kind().as_str();
                tracing::warn!(event = "connection.lost", link, generation, cause_kind, %cause, replayed, failed, unknown, "lost the connection to redis");
            }
            Self::Gap { generation, subscriptions, outage, cause } => {
                let (outage_ms, cause_kind) = (millis(*outage), cause.kind().as_str());
                tracing::warn!(event = "subscription.gap", link, generation, subscriptions, outage_ms, cause_kind, %cause, "published messages may be missing");
            }
            Self::Retrying { attempt, delay, cause } => {
                let (delay_ms, cause_kind) = (millis(*delay), cause.kind().as_str());
                // An outage of hours must not fill the log, and a new cause must become visible.
                if attempt.is_power_of_two() {
                    tracing::warn!(event = "connection.retrying", link, attempt, delay_ms, cause_kind, %cause, "no connection to redis, trying again");
                } else {
                    tracing::debug!(event = "connection.retrying_again", link, attempt, delay_ms, cause_kind, %cause, "no connection to redis, trying again");
                }
            }
            Self::Refused { cause, retry_in } => {
                let (delay_ms, cause_kind) = (millis(*retry_in), cause.kind().as_str());
                tracing::error!(event = "connection.refused", link, delay_ms, cause_kind, %cause, "redis refuses the connection");
            }
            Self::CacheUnavailable { reason } => {
                tracing::warn!(event = "cache.unavailable", link, %reason, "reads are not cached, because redis does not report changed keys");
            }
            Self::Restarted { restarts, cause } => {
                tracing::error!(event = "connection.restarted", link, restarts, %cause, "the redis actor was restarted");
            }
            _ => {}
        }
    }

    fn log_elements(&self, link: &str) {
        match self {
            Self::PutBack { command, elements } => {
                tracing::debug!(event = "blocking.put_back", link, %command, elements, "put back elements that were taken after the caller was gone");
            }
            Self::MayBeLost { command, elements, reason } => {
                tracing::error!(event = "blocking.may_be_lost", link, %command, elements, %reason, "elements that were taken after the caller was gone may be lost");
            }
            _ => {}
        }
    }
}

/// The unit of every duration in logs.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
