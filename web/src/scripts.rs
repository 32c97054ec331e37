//! What the scripts of several parts share.

use std::time::Duration;

use redis_actix::Script;

/// Deletes a key if it has this value: its owner wrote it. Returns whether it had.
pub(crate) static DELETE_OWN: Script<bool> = Script::new(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     return redis.call('DEL', KEYS[1])",
);

/// A value that no other caller has.
pub(crate) fn unique_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// The time in milliseconds, limited to the numbers that Lua knows exactly.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 52)
}
