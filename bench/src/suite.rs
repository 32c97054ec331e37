//! All loads, one after the other; in each of them all contenders, interleaved round by round.

use std::{future::Future, pin::Pin};

use redis_actix_test::RedisServer;
use tokio::sync::oneshot;

use crate::client::{Connect, text};
use crate::clients::{ours, redis_rs};
use crate::load::{self, Load, Place};
use crate::meter::ServerMeter;
use crate::outside;
use crate::round::{Contender, Sample, Times};

/// One load with the samples of every contender, round by round. The first contender is this crate.
pub struct Outcome {
    /// The load.
    pub load: Load,
    /// Names and samples.
    pub contenders: Vec<(&'static str, Vec<Sample>)>,
}

/// One load, and how long it is measured.
pub struct Plan {
    /// The load.
    pub load: Load,
    /// Rounds of each contender.
    pub rounds: usize,
    /// Durations of each round.
    pub times: Times,
}

/// Runs the plans with the contenders whose names `takes` accepts, and passes each result to `done`.
///
/// # Errors
/// When a contender fails, or the server does.
pub fn run(
    plans: Vec<Plan>,
    takes: &dyn Fn(&str) -> bool,
    allocations: fn() -> u64,
    mut done: impl FnMut(Outcome),
) -> Result<(), String> {
    let server = RedisServer::builder().arg("--save", "").start().map_err(text)?;
    load::fill(&server).map_err(text)?;
    let mut meter = ServerMeter::new(&server).map_err(text)?;
    actix_rt::System::new().block_on(async {
        for plan in plans {
            done(one(plan, takes, &server, &mut meter, allocations).await?);
        }
        Ok(())
    })
}

async fn one(
    plan: Plan,
    takes: &dyn Fn(&str) -> bool,
    server: &RedisServer,
    meter: &mut ServerMeter,
    allocations: fn() -> u64,
) -> Result<Outcome, String> {
    let Plan { load, rounds, times } = plan;
    // Held until the load is done: the connections live on them.
    let mut threads = Vec::new();
    let mut contenders = Vec::new();
    for (_, connecting) in all(load.place).into_iter().filter(|(name, _)| takes(name)) {
        let (contender, thread) = connecting(server.port()).await?;
        contenders.push(contender);
        threads.extend(thread);
    }
    contenders.extend(outside::contenders(&load, server.port(), takes)?);
    let mut samples: Vec<(&'static str, Vec<Sample>)> = contenders.iter().map(|c| (c.name, Vec::new())).collect();
    for round in 0..rounds {
        for at in order(round, contenders.len()) {
            if let (Some(contender), Some((_, samples))) = (contenders.get(at), samples.get_mut(at)) {
                samples.push(contender.round(&load, times, meter, allocations).await?);
            }
        }
    }
    Ok(Outcome { load, contenders: samples })
}

/// The contenders of one round, in the order of a Williams square: over the rounds each follows each other one about equally
/// often. In a plain rotation all but one always follow the same neighbour, and its state in server and caches always
/// affects the same contender.
fn order(round: usize, contenders: usize) -> impl Iterator<Item = usize> {
    (0..contenders).map(move |turn| {
        let zigzag = if turn % 2 == 1 { turn.div_ceil(2) } else { contenders - turn / 2 };
        (zigzag + round) % contenders
    })
}

type Connecting = Pin<Box<dyn Future<Output = Result<(Contender, Option<OtherThread>), String>>>>;

/// The name of a contender, and a function that connects it.
type Named = (&'static str, fn(u16) -> Connecting);

/// All contenders, as functions that connect them.
fn all(place: Place) -> Vec<Named> {
    if place == Place::Other {
        return vec![
            here::<ours::OwnThread>(),
            here::<ours::TwoLinks>(),
            there::<redis_rs::Multiplexed>(),
            there::<redis_rs::Tuned>(),
            there::<redis_rs::Manager>(),
            #[cfg(feature = "peers")]
            there::<crate::clients::rustis::Rustis>(),
            #[cfg(feature = "peers")]
            there::<crate::clients::fred::Fred>(),
        ];
    }
    vec![
        here::<ours::Here>(),
        here::<ours::Polling>(),
        here::<redis_rs::Multiplexed>(),
        here::<redis_rs::Tuned>(),
        here::<redis_rs::Manager>(),
        #[cfg(feature = "peers")]
        here::<crate::clients::rustis::Rustis>(),
        #[cfg(feature = "peers")]
        here::<crate::clients::fred::Fred>(),
        #[cfg(feature = "peers")]
        here::<crate::clients::deadpool::Pooled>(),
    ]
}

fn here<C: Connect>() -> Named
where
    C::Client: Sync,
{
    (C::NAME, |port| Box::pin(async move { Ok((Contender::new(C::NAME, C::connect(port).await?), None)) }))
}

/// A runtime on its own thread, for the tasks of a connection.
struct OtherThread(#[expect(dead_code, reason = "dropping it ends the thread")] oneshot::Sender<()>);

fn there<C: Connect>() -> Named
where
    C::Client: Sync,
{
    (C::NAME, |port| Box::pin(elsewhere::<C>(port)))
}

async fn elsewhere<C: Connect>(port: u16) -> Result<(Contender, Option<OtherThread>), String>
where
    C::Client: Sync,
{
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
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::order;

    /// Ablation: in a rotation each follows its neighbour in all rounds but one.
    #[test]
    fn contenders_do_not_keep_the_same_predecessor() {
        for contenders in 2..16 {
            let mut followed = BTreeMap::new();
            for round in 0..contenders {
                let order: Vec<usize> = order(round, contenders).collect();
                assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), contenders, "each once: {order:?}");
                for pair in order.windows(2) {
                    *followed.entry((pair[0], pair[1])).or_insert(0) += 1;
                }
            }
            let most = followed.values().max().copied();
            assert_eq!(most, Some(if contenders % 2 == 0 { 1 } else { 2 }), "of {contenders}");
        }
    }
}
