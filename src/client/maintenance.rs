//! Monitoring of a connection, and actions on its loss.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::Redis;
use crate::connection::error_rate::ErrorRate;
use crate::events::{ConnectionState, Status};

impl Redis {
    /// The outcomes of the commands of the last ten seconds. Together with [`Status::is_available`] it indicates when
    /// a caller should shed load. Reading it costs ten atomic loads; no work is done per command.
    #[must_use]
    pub fn error_rate(&self) -> ErrorRate {
        self.shared.gauges.error_rate(Instant::now()) + self.thread_totals().rate
    }

    /// Waits until there was no working link for longer than `longer_than` without interruption, or until the
    /// connection is closed. Returns the status at that time. An unused connection does not count as lost. For tasks
    /// that must not outlive the connection:
    ///
    /// ```
    /// use actix::prelude::*;
    /// use redis_actix::Redis;
    /// use std::time::Duration;
    ///
    /// struct Leader {
    ///     redis: Redis,
    /// }
    ///
    /// impl Actor for Leader {
    ///     type Context = Context<Self>;
    ///
    ///     fn started(&mut self, ctx: &mut Context<Self>) {
    ///         // A leader that cannot renew its lease must stop.
    ///         let redis = self.redis.clone();
    ///         let lost = async move { redis.lost(Duration::from_secs(10)).await };
    ///         ctx.spawn(lost.into_actor(self).map(|_, _, ctx| ctx.stop()));
    ///     }
    /// }
    /// ```
    ///
    /// # Panics
    /// When it is awaited outside of a tokio runtime while the connection is lost, because it needs a timer.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn lost(&self, longer_than: Duration) -> Status {
        let mut status = self.status();
        let mut down_since = None;
        loop {
            let now = status.borrow_and_update().clone();
            match now.state {
                ConnectionState::Closed => return now,
                ConnectionState::Ready | ConnectionState::Idle => down_since = None,
                ConnectionState::Draining if down_since.is_none() => {}
                _ => {
                    down_since.get_or_insert(now.since);
                }
            }
            let over = down_since.and_then(|since| since.checked_add(longer_than));
            let changed = status.changed();
            match over {
                None => {
                    if changed.await.is_err() {
                        return now;
                    }
                }
                Some(over) => match timeout_at(over.into(), changed).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return now,
                },
            }
        }
    }
}
