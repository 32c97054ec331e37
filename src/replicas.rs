//! A server with replicas that take reads.

pub(crate) mod pool;
pub(crate) mod router;
pub(crate) mod verdict;
