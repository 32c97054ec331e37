//! The settings of client-side caching.

use std::time::Duration;

use super::Protocol;
use super::describe::{Description, milliseconds};
use super::draft::{Draft, Given, Origin};
use crate::cache::config::CacheConfig;

pub(super) const CACHE_BYTES_WORDS: &str = "must be a number of bytes, at least 65536, or 0 to disable the cache";
const TTL_WORDS: &str = "must be a number of milliseconds from 1 to 86400000 (a day)";
const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);

pub(super) fn cache(draft: &mut Draft, protocol: Protocol, rows: &mut Description) -> Option<CacheConfig> {
    let Given { value: config, origin } = match draft.cache.take() {
        Some(given) => given,
        None => match from_variables(draft) {
            Some(given) => given,
            None => {
                rows.row("cache", "off", Origin::Default);
                return None;
            }
        },
    };
    if config.max_bytes() < CacheConfig::MIN_BYTES {
        draft.problem(origin.name(), CACHE_BYTES_WORDS);
    }
    if config.default_ttl().is_some_and(|ttl| ttl < Duration::from_millis(1) || ttl > LONGEST_TTL) {
        draft.problem(origin.connector("REDIS_CACHE_TTL", "cache"), TTL_WORDS);
    }
    if protocol == Protocol::Resp2 {
        draft.problem(origin.name(), "needs RESP3: remove the setting of RESP2, or this one");
    }
    let ttl = config.default_ttl().map_or("per message".to_owned(), milliseconds);
    let mode = if config.is_broadcast() { ", broadcast" } else { "" };
    rows.row("cache", format!("{} bytes, ttl {ttl}{mode}", config.max_bytes()), origin);
    Some(config)
}

fn from_variables(draft: &mut Draft) -> Option<Given<CacheConfig>> {
    let (bytes, ttl) = (draft.cache_bytes.take(), draft.cache_ttl.take());
    match (bytes, ttl) {
        (Some(Given { value: 0, .. }), _) | (None, None) => None,
        (Some(bytes), ttl) => {
            let config = CacheConfig::new(bytes.value);
            let config = ttl.map_or(config, |ttl| config.ttl(ttl.value));
            Some(Given::new(config, bytes.origin))
        }
        (None, Some(ttl)) => {
            if !draft.reported("REDIS_CACHE_BYTES") {
                draft.problem(ttl.name(), "has no effect without a cache: set REDIS_CACHE_BYTES, or remove it");
            }
            None
        }
    }
}
