//! What a handle offers to those who look after a connection, or whose life depends on it.

use std::time::{Duration, Instant};

use actix::Message;
use redis::Value;
use tokio::time::timeout_at;

use super::{Redis, gone};
use crate::actors::connection::Hurry;
use crate::core::rate::ErrorRate;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{ConnectionState, Status};
use crate::frame::{Frame, WhenDown};
use crate::messages::Command;

/// AUTH on the connection's own behalf.
struct Auth(Frame);

impl Message for Auth {
    type Result = Result<()>;
}

impl Command for Auth {
    type Reply = ();

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn into_frame(self) -> Frame {
        self.0
    }

    fn reply(_: Value) -> Result<()> {
        Ok(())
    }
}

impl Redis {
    /// Logs in anew with the credentials of now: those of the provider, the password file, or the
    /// configuration. On a link that is up it sends AUTH, and what is in flight goes on; without a link the
    /// next attempt is made at once, also when the server has refused the last one. Further connections end as
    /// soon as their present use allows, and those that are made anew log in with the same credentials.
    ///
    /// # Errors
    /// When the credentials cannot be had, there are none, or the server refuses them: then a link that is
    /// up stays as it is, with its old login. [`ErrorKind::Disconnected`] when there was no link and none
    /// could be made within the connect timeout.
    ///
    /// # Cancel safety
    /// Dropping the future drops the login if it was not written yet.
    pub async fn reauthenticate(&self) -> Result<()> {
        let within = self.config().connect_timeout();
        if self.status().borrow().state == ConnectionState::Ready {
            let login = self.shared.recipe.login_of_now(within).await.map_err(|cause| cause.error(Fate::NotSent))?;
            let login = login.ok_or_else(|| {
                let words = "there are no credentials to log in with; set REDIS_PASSWORD or give a provider";
                Error::new(ErrorKind::Config, Fate::NotSent, words)
            })?;
            match self.send(Auth(login.auth().when_down(WhenDown::FailFast))).await {
                // The link went meanwhile, and the next one logs in by itself.
                Err(error) if error.kind() == ErrorKind::Disconnected => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.outdate_links();
                    return Ok(());
                }
            }
        }
        self.outdate_links();
        self.addr.send(Hurry).await.map_err(|_| gone())?;
        self.ready(within).await
    }

    fn outdate_links(&self) {
        if let Ok(links) = self.links() {
            links.outdate();
        }
    }

    /// How the commands of the last ten seconds ended. With [`Status::is_available`] it tells a caller when
    /// to shed load. Reading it costs ten loads; nothing is counted per command for it.
    #[must_use]
    pub fn error_rate(&self) -> ErrorRate {
        self.shared.gauges.error_rate(Instant::now())
    }

    /// Waits until there was no working link for longer than `longer_than` without interruption, or the
    /// connection is closed, and returns what it was doing then. A connection that nobody has used yet is
    /// not lost. For those who should not outlive it:
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
    ///         // A leader that cannot renew its lease must not go on.
    ///         let redis = self.redis.clone();
    ///         let lost = async move { redis.lost(Duration::from_secs(10)).await };
    ///         ctx.spawn(lost.into_actor(self).map(|_, _, ctx| ctx.stop()));
    ///     }
    /// }
    /// ```
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
