//! Closed-loop callers against one server: redis-actix and its peers in interleaved rounds; and instruction counts per
//! operation, which do not depend on the load of the machine.

pub mod args;
pub mod bars;
pub mod check;
pub mod client;
pub mod clients;
pub mod endurance;
pub mod holding;
pub mod load;
pub mod memory;
pub mod meter;
pub mod outside;
pub mod outstanding;
pub mod peer;
pub mod plot;
pub mod probe;
pub mod promptness;
pub mod publish;
pub mod report;
pub mod round;
pub mod stream_builds;
pub mod stream_limit;
pub mod streams;
pub mod suite;
pub mod web;
