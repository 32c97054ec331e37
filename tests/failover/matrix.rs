//! Four of the eight failovers of `cargo xtask failover-table`.

use super::chaos::deployment::Mode;
use super::chaos::faults::Failover;
use super::chaos::matrix::{KINDS, row};

/// Fails when a write was lost that the servers did not lose themselves, ran twice or contradicts its fate, when a message
/// is missing without a gap, or when an entry of the stream was never handled.
async fn nothing_is_lost_beside_what_the_servers_lose(mode: Mode, how: Failover) {
    let row = row(mode, how).await;
    println!("{}", row.line());
    assert_eq!(row.violations, 0, "see the violations above");
    for kind in KINDS {
        let cell = row.cells[kind];
        assert_eq!((cell.tally.lost, cell.tally.repeated), (0, 0), "{kind}: {cell:?}");
        assert!(cell.tally.acknowledged > 0, "{kind} did nothing");
    }
}

#[actix::test]
async fn sentinels_replace_a_master_on_request() {
    nothing_is_lost_beside_what_the_servers_lose(Mode::Sentinel, Failover::Planned).await;
}

#[actix::test]
async fn sentinels_replace_a_master_that_they_cannot_reach() {
    nothing_is_lost_beside_what_the_servers_lose(Mode::Sentinel, Failover::Partitioned).await;
}

#[actix::test]
async fn a_cluster_replaces_a_killed_primary() {
    nothing_is_lost_beside_what_the_servers_lose(Mode::Cluster, Failover::Killed).await;
}

#[actix::test]
async fn a_cluster_replaces_a_frozen_primary() {
    nothing_is_lost_beside_what_the_servers_lose(Mode::Cluster, Failover::Frozen).await;
}
