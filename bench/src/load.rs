//! What the callers do, and how many of them there are.
//!
//! Places for what comes: pipelines of 100 and the realistic mix are further kinds of [`Op`]; stream consumers
//! are no closed loop of callers and have a module of their own, [`streams`](crate::streams).

use std::sync::Arc;

use redis_actix_test::RedisServer;

use crate::client::Op;
use crate::clients::ours::PREFIX;

/// So many keys hold small values.
const KEYS: usize = 2000;
/// So many keys hold large ones.
const LARGE_KEYS: usize = 64;

/// Where the connection lives, seen from its callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On their thread.
    Same,
    /// On another one.
    Other,
}

/// One line of the tables.
#[derive(Clone)]
pub struct Load {
    /// For `--only`.
    pub name: &'static str,
    /// How many callers wait for one reply each.
    pub callers: usize,
    /// Where the connection lives.
    pub place: Place,
    /// Part of `--quick`.
    pub quick: bool,
    /// What the n-th caller does over and over.
    pub op: Make,
}

/// Makes the operation of the n-th caller.
type Make = fn(usize) -> Op;

/// Every load there is.
#[must_use]
pub fn all() -> Vec<Load> {
    let mut loads = Vec::new();
    for place in [Place::Same, Place::Other] {
        for callers in [1, 16, 64, 256, 2000] {
            let quick = place == Place::Same && callers != 64 || callers == 256;
            loads.push(Load { name: "get64", callers, place, quick, op: get_small });
        }
    }
    for callers in [1, 16, 64, 256, 2000] {
        loads.push(Load { name: "set64", callers, place: Place::Same, quick: callers == 256, op: set_small });
    }
    let rest: [(&'static str, usize, bool, Make); 6] = [
        ("get16k", 64, true, get_large),
        ("set16k", 64, true, set_large),
        ("get1m", 8, false, get_huge),
        ("set1m", 8, false, set_huge),
        ("mget100", 64, false, mget),
        ("hgetall1000", 16, false, hgetall),
    ];
    for (name, callers, quick, op) in rest {
        loads.push(Load { name, callers, place: Place::Same, quick, op });
    }
    loads
}

fn get_small(caller: usize) -> Op {
    Op::Get(small(caller))
}

fn set_small(caller: usize) -> Op {
    Op::Set(small(caller), value(64))
}

fn get_large(caller: usize) -> Op {
    Op::Get(large(caller))
}

fn set_large(caller: usize) -> Op {
    Op::Set(large(caller), value(16 * 1024))
}

fn get_huge(_: usize) -> Op {
    Op::Get(huge())
}

fn set_huge(_: usize) -> Op {
    Op::Set(huge(), value(1024 * 1024))
}

fn mget(caller: usize) -> Op {
    Op::MGet((caller..caller + 100).map(small).collect())
}

fn hgetall(_: usize) -> Op {
    Op::HGetAll(hash())
}

fn small(n: usize) -> String {
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

/// Writes everything that the loads read.
///
/// # Errors
/// When the server does not take it.
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
    Ok(())
}
