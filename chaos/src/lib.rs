//! Shared by the chaos programs and the failover table: deployments of several servers, a load that records every write,
//! and the faults.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "these programs fail by panicking")]
#![allow(missing_docs, reason = "programs of this project are the only callers")]

pub mod account;
pub mod deployment;
pub mod faults;
pub mod ledger;
pub mod load;
pub mod matrix;
pub mod plain;
pub mod watchdog;
