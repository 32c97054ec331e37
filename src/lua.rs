//! Lua scripts that the crate sends on its own account. They live in files of their own under `src/scripts`.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::Value;

use crate::client::Redis;
use crate::clock::FOREVER;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::messages::internal::Internal;

/// A script, and the digest that a server gave it.
pub(crate) struct Lua {
    text: &'static str,
    digest: Mutex<Option<String>>,
}

/// Renews, delays and gives up leases.
pub(crate) static LEASE: Lua = Lua::new(include_str!("scripts/lease.lua"));
/// Delivers again.
pub(crate) static TAKE: Lua = Lua::new(include_str!("scripts/take.lua"));
/// Claims what others have left.
pub(crate) static SWEEP: Lua = Lua::new(include_str!("scripts/sweep.lua"));
/// Holds a consumer's name.
pub(crate) static NAME: Lua = Lua::new(include_str!("scripts/name.lua"));
/// Removes consumers that have died.
pub(crate) static FORGET: Lua = Lua::new(include_str!("scripts/forget.lua"));
/// Moves to the dead letters.
pub(crate) static DEAD_LETTER: Lua = Lua::new(include_str!("scripts/dead_letter.lua"));

/// Sends dead letters back.
pub(crate) static REDRIVE: Lua = Lua::new(include_str!("scripts/redrive.lua"));
/// Keeps a message until its time.
pub(crate) static SCHEDULE: Lua = Lua::new(include_str!("scripts/schedule.lua"));
/// Moves messages whose time has come.
pub(crate) static DUE: Lua = Lua::new(include_str!("scripts/due.lua"));
/// Forgets a message whose time has not come.
pub(crate) static CANCEL: Lua = Lua::new(include_str!("scripts/cancel.lua"));
/// Runs commands and acknowledges.
pub(crate) static ACK_WITH: Lua = Lua::new(include_str!("scripts/ack_with.lua"));
/// Acknowledges and deletes.
pub(crate) static ACK_DELETE: Lua = Lua::new(include_str!("scripts/ack_delete.lua"));
/// Ends the claim on an effect.
pub(crate) static SETTLE_CLAIM: Lua = Lua::new(include_str!("scripts/settle_claim.lua"));
/// Adds once, and trims what nobody needs.
pub(crate) static APPEND: Lua = Lua::new(include_str!("scripts/append.lua"));

impl Lua {
    const fn new(text: &'static str) -> Self {
        Self { text, digest: Mutex::new(None) }
    }

    /// Runs it on `keys` with the arguments that `args` adds.
    pub(crate) async fn run<K: AsRef<[u8]>>(
        &self,
        redis: &Redis,
        keys: &[K],
        args: impl Fn(Frame) -> Frame,
    ) -> Result<Value> {
        self.run_within(redis, keys, args, None).await
    }

    /// As [`run`](Self::run), with a time for all of it instead of the connection's for each step.
    pub(crate) async fn run_within<K: AsRef<[u8]>>(
        &self,
        redis: &Redis,
        keys: &[K],
        args: impl Fn(Frame) -> Frame,
        limit: Option<Duration>,
    ) -> Result<Value> {
        let until = limit.map(|limit| Instant::now() + limit.min(FOREVER));
        let timed = |frame: Frame| match until {
            Some(until) => frame.timeout(until.saturating_duration_since(Instant::now())),
            None => frame,
        };
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let digest = match digest {
            Some(digest) => digest,
            None => self.load(redis, timed).await?,
        };
        let call = |digest: &str| {
            let frame = Frame::known("EVALSHA").arg(digest).arg(keys.len()).keys(keys);
            Internal(timed(args(frame)))
        };
        match redis.send(call(&digest)).await {
            // Another server, or the same one after a restart.
            Err(error) if error.code() == Some("NOSCRIPT") => {
                let digest = self.load(redis, timed).await?;
                redis.send(call(&digest)).await
            }
            answer => answer,
        }
    }

    async fn load(&self, redis: &Redis, timed: impl Fn(Frame) -> Frame) -> Result<String> {
        let load = timed(Frame::known("SCRIPT LOAD").arg(self.text).idempotent());
        let answer = redis.send(Internal(load)).await?;
        let digest: String = redis::from_redis_value(answer).map_err(Error::from)?;
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest.clone());
        Ok(digest)
    }
}
