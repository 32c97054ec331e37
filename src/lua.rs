//! Internal Lua scripts of the crate. Their sources are in `src/scripts`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use redis::Value;

use crate::client::Redis;
use crate::clock::FOREVER;
use crate::error::Result;
use crate::frame::{Extra, Frame, Source};
use crate::messages::internal::Internal;

/// A script of the crate's own. It runs as scripts of users do: by its digest, and with its source where the server does not know
/// it. Only the server that has its keys is asked.
pub(crate) struct Lua {
    text: &'static str,
    forms: OnceLock<Arc<Extra>>,
}

/// Renews, delays and releases leases.
pub(crate) static LEASE: Lua = Lua::new(include_str!("scripts/lease.lua"));
/// Redelivers entries.
pub(crate) static TAKE: Lua = Lua::new(include_str!("scripts/take.lua"));
/// Claims idle entries of other consumers.
pub(crate) static SWEEP: Lua = Lua::new(include_str!("scripts/sweep.lua"));
/// Renews the leases of entries that were delivered and not received yet.
pub(crate) static RENEW_UNREAD: Lua = Lua::new(include_str!("scripts/renew_unread.lua"));
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
        Self { text, forms: OnceLock::new() }
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

    /// As [`run`](Self::run), with a time limit of its own instead of the connection's.
    pub(crate) async fn run_within<K: AsRef<[u8]>>(
        &self,
        redis: &Redis,
        keys: &[K],
        args: impl Fn(Frame) -> Frame,
        limit: Option<Duration>,
    ) -> Result<Value> {
        let forms = self.forms.get_or_init(|| Arc::new(Extra::Script(Source::new(self.text, false))));
        let call = args(Frame::of_script(forms).arg(keys.len()).keys(keys));
        redis
            .send(Internal(match limit {
                Some(limit) => call.timeout(limit.min(FOREVER)),
                None => call,
            }))
            .await
    }
}
