//! Closed-loop callers against one server: redis-actix beside its peers, interleaved round by round; and
//! what each operation costs in instructions, which no other load of the machine changes.

pub mod args;
pub mod check;
pub mod client;
pub mod clients;
pub mod endurance;
pub mod load;
pub mod meter;
pub mod peer;
pub mod probe;
pub mod report;
pub mod round;
pub mod suite;
