//! All loads, one after the other; in each of them all contenders, interleaved round by round.

use std::{future::Future, pin::Pin};

use redis_actix_test::RedisServer;
use tokio::sync::oneshot;

use crate::args::Options;
use crate::client::{Connect, text};
use crate::clients::{ours, redis_rs};
use crate::load::{self, Load, Place};
use crate::meter::ServerMeter;
use crate::round::{Contender, Sample};

/// One load with the samples of every contender, round by round. The first contender is this crate.
pub struct Outcome {
    /// What was done.
    pub load: Load,
    /// Names and samples.
    pub contenders: Vec<(&'static str, Vec<Sample>)>,
}

/// Runs what the options select, and tells `done` of each load.
///
/// # Errors
/// When a contender fails, or the server does.
pub fn run(
    options: &Options,
    allocations: fn() -> u64,
    mut done: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>, String> {
    let server = RedisServer::builder().arg("--save", "").start().map_err(text)?;
    load::fill(&server).map_err(text)?;
    let mut meter = ServerMeter::new(&server).map_err(text)?;
    let mut outcomes = Vec::new();
    actix_rt::System::new().block_on(async {
        for load in load::all().into_iter().filter(|load| options.selects(load)) {
            let outcome = one(options, load, &server, &mut meter, allocations).await?;
            done(&outcome);
            outcomes.push(outcome);
        }
        Ok(outcomes)
    })
}

async fn one(
    options: &Options,
    load: Load,
    server: &RedisServer,
    meter: &mut ServerMeter,
    allocations: fn() -> u64,
) -> Result<Outcome, String> {
    // Held until the load is done: the connections live on them.
    let mut threads = Vec::new();
    let mut contenders = Vec::new();
    for connecting in all(load.place) {
        let (contender, thread) = connecting(server.port()).await?;
        if options.with.as_ref().is_none_or(|with| contender.name.starts_with(with.as_str()) || contenders.is_empty()) {
            contenders.push(contender);
            threads.extend(thread);
        }
    }
    let mut samples: Vec<(&'static str, Vec<Sample>)> = contenders.iter().map(|c| (c.name, Vec::new())).collect();
    for round in 0..options.rounds {
        // Nobody always follows the same neighbour.
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            if let (Some(contender), Some((_, samples))) = (contenders.get(at), samples.get_mut(at)) {
                samples.push(contender.round(&load, options.times, meter, allocations).await?);
            }
        }
    }
    Ok(Outcome { load, contenders: samples })
}

type Connecting = Pin<Box<dyn Future<Output = Result<(Contender, Option<OtherThread>), String>>>>;

/// Every contender there is, as a way to connect it.
fn all(place: Place) -> Vec<fn(u16) -> Connecting> {
    if place == Place::Other {
        return vec![
            here::<ours::OwnThread>,
            there::<redis_rs::Multiplexed>,
            there::<redis_rs::Tuned>,
            there::<redis_rs::Manager>,
            #[cfg(feature = "peers")]
            there::<crate::clients::rustis::Rustis>,
            #[cfg(feature = "peers")]
            there::<crate::clients::fred::Fred>,
        ];
    }
    vec![
        here::<ours::Here>,
        here::<redis_rs::Multiplexed>,
        here::<redis_rs::Tuned>,
        here::<redis_rs::Manager>,
        #[cfg(feature = "peers")]
        here::<crate::clients::rustis::Rustis>,
        #[cfg(feature = "peers")]
        here::<crate::clients::fred::Fred>,
        #[cfg(feature = "peers")]
        here::<crate::clients::deadpool::Pooled>,
    ]
}

fn here<C: Connect>(port: u16) -> Connecting
where
    C::Client: Sync,
{
    Box::pin(async move { Ok((Contender::new(C::NAME, C::connect(port).await?), None)) })
}

/// A runtime on a thread of its own, with a connection's tasks on it.
struct OtherThread(#[expect(dead_code, reason = "dropping it ends the thread")] oneshot::Sender<()>);

fn there<C: Connect>(port: u16) -> Connecting
where
    C::Client: Sync,
{
    Box::pin(async move {
        let (connected, client) = oneshot::channel();
        let (until, over) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
            runtime.block_on(async {
                let client = C::connect(port).await;
                drop(connected.send(client));
                drop(over.await);
            });
            Ok::<(), String>(())
        });
        let client = client.await.map_err(text)??;
        Ok((Contender::new(C::NAME, client), Some(OtherThread(until))))
    })
}
