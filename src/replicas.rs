//! Reads from the replicas of a server.

pub(crate) mod pool;
pub(crate) mod router;
pub(crate) mod verdict;
