//! The modes with several servers: a cluster, or a master with sentinels.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis_actix_chaos::account::Account;
use redis_actix_chaos::deployment::{Deployment, Losses, Mode};
use redis_actix_chaos::faults::{Faults, ms};
use redis_actix_chaos::load::{CONNECT_TIMEOUT, DEADLINE, FOLLOW, Load, connect, quick};
use redis_actix_chaos::watchdog::Watchdog;

use crate::account::Log;

/// Duration of the faults before each check of a healthy state.
const EPOCH: Duration = Duration::from_secs(15);
/// The run ends after this number of violations.
const ENOUGH: u64 = 1_000;

pub(crate) async fn run(mode: Mode, time: Duration, seed: u64, log: Log) -> ExitCode {
    let mut chance = fastrand::Rng::with_seed(seed);
    let deployment = tokio::task::spawn_blocking(move || Deployment::start(mode, "chaos:")).await.expect("no panic");
    let deployment = Arc::new(deployment.unwrap_or_else(|error| panic!("{error}")));
    let account = Arc::new(Account::default());
    let redis = connect(&deployment);
    redis.ready(Duration::from_secs(20)).await.expect("ready");
    let watchdog = Watchdog::start(&account);
    let load = Load::start(&redis, &account, &deployment).await;
    let config = deployment.config().command_timeout(DEADLINE).liveness(None).connect_timeout(CONNECT_TIMEOUT);
    let no_liveness = quick(config).start().expect("started");
    load.add_no_liveness(&no_liveness);
    let until = Instant::now() + time;
    let mut losses = Losses::default();
    while Instant::now() < until && account.violations() < ENOUGH {
        load.begin(chance.u64(..));
        let end = until.min(Instant::now() + EPOCH);
        losses.extend(break_things(&deployment, &account, chance.fork(), end).await);
        load.end().await;
        load.verify(&deployment, &losses).await;
    }
    let strays = deployment.strays();
    account.check(strays.is_empty(), "keys outside the prefix", || format!("{strays:?}"));
    for (kind, (times, last)) in load.take_errors() {
        println!("{kind}: {times} errors, the last: {last}");
    }
    load.close().await;
    let ended = no_liveness.shutdown(Duration::from_secs(2)).await;
    account.check(ended.is_ok(), "the shutdown gave no report", || format!("{ended:?}"));
    let ended = redis.shutdown(Duration::from_secs(2)).await;
    account.check(ended.is_ok(), "the shutdown gave no report", || format!("{ended:?}"));
    account.check(!log.shows_a_secret(), "a secret is in the log", String::new);
    drop(watchdog);
    account.print();
    if account.violations() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn break_things(
    deployment: &Arc<Deployment>,
    account: &Arc<Account>,
    chance: fastrand::Rng,
    end: Instant,
) -> Losses {
    let (deployment, account) = (deployment.clone(), account.clone());
    let broken = tokio::task::spawn_blocking(move || {
        let mut faults = Faults { deployment: &deployment, chance, losses: Losses::default() };
        while Instant::now() < end {
            sleep(ms(faults.chance.u64(100..1_000)));
            faults.one(|name| account.fault(name));
        }
        faults.losses
    });
    let losses = broken.await.unwrap_or_else(|error| panic!("the faults' thread: {error}"));
    // Until then a client may still be following the last failover.
    tokio::time::sleep(FOLLOW).await;
    losses
}
