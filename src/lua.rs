//! Internal Lua scripts of the crate. Their sources are in `src/scripts`.

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

/// A script, and its digest on the server.
pub(crate) struct Lua {
    text: &'static str,
    digest: Mutex<Option<String>>,
}

/// Renews, delays and releases leases.
pub(crate) static LEASE: Lua = Lua::new(include_str!("scripts/lease.lua"));
/// Redelivers entries.
pub(crate) static TAKE: Lua = Lua::new(include_str!("scripts/take.lua"));
/// Claims idle entries of other consumers.
pub(crate) static SWEEP: Lua = Lua::new(include_str!("scripts/sweep.lua"));
/// Acquires a consumer name.
pub(crate) static NAME: Lua = Lua::new(include_str!("scripts/name.lua"));
/// Removes dead consumers.
pub(crate) static FORGET: Lua = Lua::new(include_str!("scripts/forget.lua"));
/// Moves entries to the dead letters.
pub(crate) static DEAD_LETTER: Lua = Lua::new(include_str!("scripts/dead_letter.lua"));

/// Moves dead letters back to their stream.
pub(crate) static REDRIVE: Lua = Lua::new(include_str!("scripts/redrive.lua"));
/// Stores a message until its due time.
pub(crate) static SCHEDULE: Lua = Lua::new(include_str!("scripts/schedule.lua"));
/// Moves messages that are due.
pub(crate) static DUE: Lua = Lua::new(include_str!("scripts/due.lua"));
/// Removes a message before its due time.
pub(crate) static CANCEL: Lua = Lua::new(include_str!("scripts/cancel.lua"));
/// Runs commands and acknowledges the entry.
pub(crate) static ACK_WITH: Lua = Lua::new(include_str!("scripts/ack_with.lua"));
/// Acknowledges and deletes the entry.
pub(crate) static ACK_DELETE: Lua = Lua::new(include_str!("scripts/ack_delete.lua"));
/// Completes the claim on an effect.
pub(crate) static SETTLE_CLAIM: Lua = Lua::new(include_str!("scripts/settle_claim.lua"));
/// Adds an entry idempotently, and trims acknowledged ones.
pub(crate) static APPEND: Lua = Lua::new(include_str!("scripts/append.lua"));

impl Lua {
    const fn new(text: &'static str) -> Self {
        Self { text, digest: Mutex::new(None) }
    }

    /// Runs the script on `keys` with the arguments that `args` adds.
    pub(crate) async fn run<K: AsRef<[u8]>>(
        &self,
        redis: &Redis,
        keys: &[K],
        args: impl Fn(Frame) -> Frame,
    ) -> Result<Value> {
        self.run_within(redis, keys, args, None).await
    }

    /// Like [`run`](Self::run), with one time limit for all steps instead of the connection's timeout for each.
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
