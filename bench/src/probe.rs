//! Probes for instruction counts. Each repeats its work `n` times; a run of double length separates the constant cost.

use std::hint::black_box;

use bytes::BytesMut;
use redis_actix::{Command, Frame, Get, KeyPrefix, MSet, Set, bench};

use crate::client::{Client, Connect, Op, text};
use crate::clients::{ours, redis_rs};

/// Number of callers in a round trip.
pub const CALLERS: usize = 256;

/// All probes with their repetitions.
pub const ALL: [(&str, usize); 14] = [
    ("build_get", 20_000),
    ("seal_get", 20_000),
    ("seal_get_without_prefix", 20_000),
    // The table of key positions checks commands that callers build.
    ("seal_get_by_hand", 5_000),
    ("seal_mset_100", 1_000),
    ("seal_mset_100_without_prefix", 1_000),
    ("seal_set_16k", 2_000),
    ("decode_get_64", 20_000),
    ("decode_get_16k", 2_000),
    ("decode_mget_100", 500),
    ("decode_hgetall_100", 500),
    ("decode_xrange_100", 500),
    ("round_trip_256", 256 * 40),
    ("round_trip_1", 2_000),
];

/// Number of callers of the lockstep peer in this probe; 0 without a peer.
#[must_use]
pub fn callers(name: &str) -> usize {
    match name {
        "round_trip_256" => CALLERS,
        "round_trip_1" => 1,
        _ => 0,
    }
}

/// The round trip of a client, by its name.
type RoundTrips = fn(usize, usize, u16) -> Result<(), String>;

/// This crate and its peers.
#[must_use]
pub fn clients() -> Vec<(&'static str, RoundTrips)> {
    fn of<C: Connect>() -> (&'static str, RoundTrips) {
        (C::NAME, round_trips::<C>)
    }
    vec![
        of::<ours::Here>(),
        of::<redis_rs::Multiplexed>(),
        of::<redis_rs::Tuned>(),
        of::<redis_rs::Manager>(),
        #[cfg(feature = "peers")]
        of::<crate::clients::rustis::Rustis>(),
        #[cfg(feature = "peers")]
        of::<crate::clients::fred::Fred>(),
    ]
}

/// Runs round trips of `callers` callers with the named client.
///
/// # Errors
/// When the name is unknown, or it fails.
pub fn run_client(name: &str, callers: usize, n: usize, port: u16) -> Result<(), String> {
    let clients = clients();
    let (_, round_trips) =
        clients.iter().find(|client| client.0 == name).ok_or(format!("no client is called {name}"))?;
    round_trips(callers, n, port)
}

/// Runs a probe.
///
/// # Errors
/// When the name is unknown, or it fails.
pub fn run(name: &str, n: usize, port: u16) -> Result<(), String> {
    let prefix = match name.ends_with("_without_prefix") {
        true => KeyPrefix::none(),
        false => KeyPrefix::new(ours::PREFIX).map_err(text)?,
    };
    match name.trim_end_matches("_without_prefix") {
        "build_get" => {
            for _ in 0..n {
                let _ = black_box(Get::<Vec<u8>>::new(black_box("user:0001")));
            }
        }
        "seal_get" => seal(&prefix, &Get::<Vec<u8>>::new("user:0001").into_frame(), n)?,
        "seal_get_by_hand" => seal(&prefix, &Frame::new("GET").key("user:0001"), n)?,
        "seal_mset_100" => {
            let value = "x".repeat(64);
            let pairs = (0..100).map(|key| format!("user:{key:04}"));
            seal(&prefix, &MSet::new(pairs.map(|key| (key, value.as_str()))).into_frame(), n)?;
        }
        "seal_set_16k" => seal(&prefix, &Set::new("page:01", vec![b'x'; 16 * 1024]).into_frame(), n)?,
        "decode_get_64" => decode(&bulk(64), n)?,
        "decode_get_16k" => decode(&bulk(16 * 1024), n)?,
        "decode_mget_100" => decode(&format!("*100\r\n{}", bulk(64).repeat(100)), n)?,
        "decode_hgetall_100" => {
            decode(&format!("%100\r\n{}", format!("$8\r\nfield:01\r\n{}", bulk(64)).repeat(100)), n)?;
        }
        "decode_xrange_100" => {
            let entry = format!("*2\r\n$15\r\n1526919030474-0\r\n*2\r\n$4\r\ndata\r\n{}", bulk(64));
            decode(&format!("*100\r\n{}", entry.repeat(100)), n)?;
        }
        "round_trip_256" | "round_trip_1" => round_trips::<ours::Here>(callers(name), n, port)?,
        _ => return Err(format!("no probe is called {name}")),
    }
    Ok(())
}

fn seal(prefix: &KeyPrefix, frame: &Frame, n: usize) -> Result<(), String> {
    let mut out = BytesMut::with_capacity(64 * 1024);
    for _ in 0..n {
        out.clear();
        bench::seal(prefix, black_box(frame), &mut out).map_err(text)?;
        black_box(&out);
    }
    Ok(())
}

fn bulk(len: usize) -> String {
    format!("${len}\r\n{}\r\n", "x".repeat(len))
}

fn decode(reply: &str, n: usize) -> Result<(), String> {
    // As they come from a socket: many in one buffer.
    let input = reply.repeat(100);
    for _ in 0..n.div_ceil(100) {
        bench::decode_all(black_box(input.as_bytes())).map_err(text)?;
    }
    Ok(())
}

/// Runs `n` operations with the given number of callers, as tasks of the arbiter, like actors.
fn round_trips<C: Connect>(callers: usize, n: usize, port: u16) -> Result<(), String> {
    actix_rt::System::new().block_on(async {
        let client = C::connect(port).await?;
        let callers: Vec<_> = (0..callers)
            .map(|caller| {
                let (mut client, get) = (client.clone(), Op::Get(format!("{}user:{caller:04}", ours::PREFIX)));
                actix_rt::spawn(async move {
                    for _ in 0..n / callers {
                        black_box(client.run(&get).await?);
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        for caller in callers {
            caller.await.map_err(text)??;
        }
        Ok(())
    })
}
