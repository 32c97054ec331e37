//! What a client of a cluster decides: which node a command belongs to, what becomes of it when that node says
//! "not here" or "not now", and when the picture of the cluster is drawn anew.

pub(crate) mod merge;
pub(crate) mod node_table;
pub(crate) mod redirect;
pub(crate) mod refresh;
pub(crate) mod route;
pub(crate) mod router;
pub(crate) mod slot;
pub(crate) mod slot_map;
pub(crate) mod slot_queue;
pub(crate) mod topology;
pub(crate) mod topology_vote;
