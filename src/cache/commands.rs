//! The commands whose replies can be cached.

/// Reads whose reply depends on nothing but the values of their keys. Not in the list: replies with the time (TTL, OBJECT),
/// random replies, cursors, scripts, and SORT_RO, which reads keys that are not among its arguments.
pub(super) const CACHEABLE: &[&str] = &[
    "BITCOUNT",
    "BITFIELD_RO",
    "BITPOS",
    "EXISTS",
    "GEODIST",
    "GEOHASH",
    "GEOPOS",
    "GEORADIUSBYMEMBER_RO",
    "GEORADIUS_RO",
    "GEOSEARCH",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HSTRLEN",
    "HVALS",
    "LCS",
    "LINDEX",
    "LLEN",
    "LPOS",
    "LRANGE",
    "MGET",
    "SCARD",
    "SDIFF",
    "SINTER",
    "SINTERCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "STRLEN",
    "SUBSTR",
    "SUNION",
    "TYPE",
    "XLEN",
    "XRANGE",
    "XREVRANGE",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZLEXCOUNT",
    "ZMSCORE",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCORE",
    "ZUNION",
];

/// Commands that can change keys which are not among their arguments.
pub(super) const WITHOUT_KEYS: &[&str] = &["EVAL", "EVALSHA", "FCALL", "FLUSHALL", "FLUSHDB", "SWAPDB"];

pub(super) fn is_one_of(commands: &[&str], name: &[u8]) -> bool {
    commands.binary_search_by(|known| known.bytes().cmp(name.iter().map(u8::to_ascii_uppercase))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::replies::{ReplyKeys, reply_keys};
    use crate::prefix::table::lookup;

    #[test]
    fn cacheable_commands_are_reads_of_keys_that_neither_block_nor_name_keys() {
        assert!(CACHEABLE.is_sorted() && WITHOUT_KEYS.is_sorted());
        for name in CACHEABLE {
            let found = lookup(&[name]).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert!(found.entry.pure_read() && !found.entry.blocks(), "{name}");
            assert!(!found.entry.keys.is_empty() || found.entry.needs_rule(), "{name}");
            assert_eq!(reply_keys(&[name]), ReplyKeys::None, "{name}");
        }
        assert!(is_one_of(CACHEABLE, b"hGetAll") && !is_one_of(CACHEABLE, b"TTL") && !is_one_of(CACHEABLE, b"SORT_RO"));
    }
}
