//! Loads: the operations and the number of callers.
//!
//! Stream consumers are no closed loop of callers; see [`streams`](crate::streams).

use std::sync::Arc;

use redis_actix_test::RedisServer;

use crate::client::Op;
use crate::clients::ours::PREFIX;

/// Number of keys with small values.
const KEYS: usize = 2000;
/// Number of keys with large values.
const LARGE_KEYS: usize = 64;
/// Number of small hashes.
const SESSIONS: usize = 500;
/// Number of streams that callers append to.
const STREAMS: usize = 16;

/// The thread of the connection, relative to its callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The same thread; callers are tasks of the arbiter, like actors.
    Same,
    /// The same thread; callers are tasks of the runtime.
    Queue,
    /// Another thread; callers are tasks of their arbiter.
    Other,
}

impl Place {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same thread",
            Self::Queue => "same thread, callers in the runtime's queue",
            Self::Other => "another thread",
        }
    }
}

/// One line of the tables.
#[derive(Clone)]
pub struct Load {
    /// For `--only`.
    pub name: &'static str,
    /// Number of callers with one outstanding command each.
    pub callers: usize,
    /// The thread of the connection.
    pub place: Place,
    /// Part of `--quick`.
    pub quick: bool,
    /// The operations that the n-th caller repeats.
    pub ops: Make,
}

/// Creates the operations of the n-th caller.
type Make = fn(usize) -> Vec<Op>;

/// All loads.
#[must_use]
pub fn all() -> Vec<Load> {
    let mut loads = Vec::new();
    for place in [Place::Same, Place::Queue, Place::Other] {
        for callers in [1, 16, 64, 256, 2000] {
            let quick = place == Place::Same && callers != 64 || callers == 256 && place == Place::Other;
            loads.push(Load { name: "get64", callers, place, quick, ops: get_small });
        }
    }
    for callers in [1, 16, 64, 256, 2000] {
        loads.push(Load { name: "set64", callers, place: Place::Same, quick: callers == 256, ops: set_small });
    }
    let rest: [(&'static str, usize, bool, Make); 9] = [
        ("get16k", 64, true, get_large),
        ("set16k", 64, true, set_large),
        ("get1m", 8, false, get_huge),
        ("set1m", 8, false, set_huge),
        ("mget100", 64, false, mget),
        ("hgetall1000", 16, false, hgetall),
        ("pipeline100", 16, false, pipeline),
        ("mix", 256, true, mix),
        ("xadd64", 256, false, xadd),
    ];
    for (name, callers, quick, ops) in rest {
        loads.push(Load { name, callers, place: Place::Same, quick, ops });
    }
    loads
}

fn get_small(caller: usize) -> Vec<Op> {
    vec![Op::Get(small(caller))]
}

fn set_small(caller: usize) -> Vec<Op> {
    vec![Op::Set(small(caller), value(64))]
}

fn get_large(caller: usize) -> Vec<Op> {
    vec![Op::Get(large(caller))]
}

fn set_large(caller: usize) -> Vec<Op> {
    vec![Op::Set(large(caller), value(16 * 1024))]
}

fn get_huge(_: usize) -> Vec<Op> {
    vec![Op::Get(huge())]
}

fn set_huge(_: usize) -> Vec<Op> {
    vec![Op::Set(huge(), value(1024 * 1024))]
}

fn mget(caller: usize) -> Vec<Op> {
    vec![Op::MGet(hundred(caller))]
}

fn hgetall(_: usize) -> Vec<Op> {
    vec![Op::HGetAll(hash())]
}

fn pipeline(caller: usize) -> Vec<Op> {
    vec![Op::Pipeline(hundred(caller))]
}

fn xadd(caller: usize) -> Vec<Op> {
    vec![Op::XAdd(format!("{PREFIX}log:{}", caller % STREAMS), value(64))]
}

/// A mix like that of services: of a hundred operations 70 read a value, 20 write one, 5 read a hash of ten fields, 3 count
/// and 2 set an expiry. Each caller has another order.
#[must_use]
pub fn mix(caller: usize) -> Vec<Op> {
    let op = |n: usize| match n {
        0..70 => Op::Get(small(caller + n)),
        70..90 => Op::Set(small(caller + n), value(64)),
        90..95 => Op::HGetAll(session(caller + n)),
        95..98 => Op::Incr(format!("{PREFIX}count:{:03}", caller % SESSIONS)),
        _ => Op::Expire(session(caller + n)),
    };
    // 37 and 100 are coprime, so each index occurs once.
    (0..100).map(|turn| op((turn * 37 + caller * 13) % 100)).collect()
}

fn hundred(caller: usize) -> Arc<[String]> {
    (caller..caller + 100).map(small).collect()
}

fn session(n: usize) -> String {
    format!("{PREFIX}session:{:03}", n % SESSIONS)
}

/// The name of the n-th small value.
#[must_use]
pub fn small(n: usize) -> String {
    format!("{PREFIX}user:{:04}", n % KEYS)
}

fn large(n: usize) -> String {
    format!("{PREFIX}page:{:02}", n % LARGE_KEYS)
}

fn huge() -> String {
    format!("{PREFIX}film")
}

fn hash() -> String {
    format!("{PREFIX}profile")
}

fn value(len: usize) -> Arc<[u8]> {
    vec![b'x'; len].into()
}

/// Writes all keys that the loads read.
///
/// # Errors
/// When the server refuses a write.
pub fn fill(server: &RedisServer) -> std::io::Result<()> {
    let mut connection = server.connect()?;
    let values =
        [(KEYS, small as fn(usize) -> String, 64), (LARGE_KEYS, large, 16 * 1024), (1, |_| huge(), 1024 * 1024)];
    for (count, name, len) in values {
        for n in 0..count {
            connection.command([b"SET".as_slice(), name(n).as_bytes(), &value(len)])?.ok()?;
        }
    }
    for field in 0..1000 {
        connection.command(["HSET".to_owned(), hash(), format!("field:{field:04}"), "v".repeat(16)])?.ok()?;
    }
    for n in 0..SESSIONS {
        for field in 0..10 {
            connection.command(["HSET".to_owned(), session(n), format!("field:{field}"), "v".repeat(16)])?.ok()?;
        }
    }
    Ok(())
}
