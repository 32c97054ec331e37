//! Closed-loop callers against one server: redis-actix beside its peers, interleaved round by round; and
//! what each operation costs in instructions, which no other load of the machine changes.

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
pub mod stream_limit;
pub mod streams;
pub mod suite;
