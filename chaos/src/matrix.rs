//! One failover under loads of every kind, and its effect on each.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::account::Account;
use super::deployment::{Deployment, Losses, Mode};
use super::faults::{Failover, Switched, ms};
use super::ledger::Tally;
use super::load::{LIVENESS, Load, connect};
use super::plain::{self, Plain};
use super::watchdog::Watchdog;

pub const FAULTS: [Failover; 4] = [Failover::Planned, Failover::Killed, Failover::Frozen, Failover::Partitioned];

/// The kinds of the table, in order.
pub const KINDS: [&str; 7] =
    ["commands", "watch", "blocking", "subscription", "stream consumer", "producer", "replica reads"];

/// The effect on one kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cell {
    pub tally: Tally,
    /// The longest time without a success.
    pub silent: Duration,
}

/// The effect of one failover on all kinds.
#[derive(Debug)]
pub struct Row {
    pub mode: Mode,
    pub how: Failover,
    /// From the fault until a majority named another primary.
    pub outage: Duration,
    pub plain: Cell,
    pub cells: BTreeMap<&'static str, Cell>,
    pub violations: u64,
}

/// Tolerance: servers, clients and other programs share the processors.
const SLACK: Duration = Duration::from_millis(1_500);

impl Row {
    /// Kinds without a success for longer than the outage and the time to notice it.
    pub fn silent_too_long(&self) -> Vec<&'static str> {
        let bound = self.outage + LIVENESS + SLACK;
        KINDS.into_iter().filter(|kind| self.cells.get(kind).is_none_or(|cell| cell.silent > bound)).collect()
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let cells = KINDS.iter().map(|kind| {
            let cell = self.cells.get(kind).copied().unwrap_or_default();
            let tally = cell.tally;
            let what = match *kind {
                "subscription" => format!(
                    "{} of {} missed, {} without a gap",
                    tally.lost_by_server + tally.lost,
                    tally.acknowledged,
                    tally.lost
                ),
                "stream consumer" => format!("{} of {} unhandled", tally.lost, tally.acknowledged),
                "replica reads" => format!("{} of {} failed", tally.refused, tally.acknowledged),
                _ => format!("{} of {} lost", tally.lost_by_server + tally.lost, tally.acknowledged),
            };
            format!("{what}, silent {}", seconds(cell.silent))
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        let (mode, how, plain) = (self.mode.as_str(), self.how.as_str(), self.plain.tally);
        let (outage, silent) = (seconds(self.outage), seconds(self.plain.silent));
        format!(
            "| {mode}: {how}, replaced after {outage} | {} of {} lost, silent {silent} | {cells} |",
            plain.lost, plain.acknowledged
        )
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The heading of the table.
pub fn heading() -> String {
    let kinds = KINDS.join(" | ");
    let rule = "|---".repeat(KINDS.len() + 2);
    format!("| primary | plain client | {kinds} |\n{rule}|")
}

/// Runs all loads in one shard, replaces its primary, and checks every outcome.
pub async fn row(mode: Mode, how: Failover) -> Row {
    let deployment = spawn_blocking(move || Deployment::start(mode, "{chaos}:")).await.expect("no panic");
    let deployment = Arc::new(deployment.unwrap_or_else(|error| panic!("{error}")));
    let account = Arc::new(Account::default());
    let redis = connect(&deployment);
    redis.ready(Duration::from_secs(20)).await.expect("ready");
    let watchdog = Watchdog::start(&account);
    let load = Load::start(&redis, &account, &deployment).await;
    load.begin(1);
    let plain = Plain::start(&deployment);
    tokio::time::sleep(ms(1_500)).await;
    load.take_served();
    account.fault(how.as_str());
    let (switched, losses) = fail_over(&deployment, how).await;
    tokio::time::sleep(ms(1_500)).await;
    let served = load.take_served();
    load.end().await;
    let end = Instant::now();
    let written = spawn_blocking(move || plain.finish()).await.expect("no panic");
    let servers = deployment.clone();
    let keys = HashSet::from([plain::LIST.to_owned()]);
    let lists = spawn_blocking(move || servers.take_lists(&keys)).await.expect("the servers answer");
    let mut cells: BTreeMap<&'static str, Cell> = BTreeMap::new();
    for (kind, tally) in load.verify(&deployment, &losses).await {
        cells.insert(kind, Cell { tally, silent: Duration::ZERO });
    }
    for (kind, times) in &served {
        cells.entry(kind).or_default().silent = longest_gap(switched.broken, times, end);
    }
    let there: HashSet<u64> = lists.into_values().flatten().collect();
    let lost = written.numbers.iter().filter(|number| !there.contains(number)).count();
    let tally = Tally { acknowledged: written.numbers.len() as u64, lost: lost as u64, ..Tally::default() };
    let plain = Cell { tally, silent: longest_gap(switched.broken, &written.at, end) };
    load.close().await;
    let ended = redis.shutdown(Duration::from_secs(2)).await;
    account.check(ended.is_ok(), "the shutdown gave no report", || format!("{ended:?}"));
    drop(watchdog);
    let outage = switched.at.saturating_duration_since(switched.broken);
    Row { mode, how, outage, plain, cells, violations: account.violations() }
}

async fn fail_over(deployment: &Arc<Deployment>, how: Failover) -> (Switched, Losses) {
    let deployment = deployment.clone();
    let failed_over = move || {
        let mut losses = Losses::default();
        let switched = deployment.fail_over(0, how, ms(1_500), &mut losses);
        let switched = switched.unwrap_or_else(|| panic!("not replaced\n{}", deployment.describe()));
        deployment.settle(&deployment.primaries(), switched.broken, &mut losses);
        (switched, losses)
    };
    spawn_blocking(failed_over).await.expect("a failover")
}

/// The longest gap, counted from the fault.
fn longest_gap(broken: Instant, served: &[Instant], end: Instant) -> Duration {
    let before = served.iter().filter(|at| **at <= broken).max().copied().unwrap_or(broken);
    let after = served.iter().filter(|at| **at > broken).copied();
    let times: Vec<Instant> = std::iter::once(before).chain(after).chain([end]).collect();
    times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
}
