//! What a client of a cluster decides: which node a command belongs to, what follows when that node refuses it, and when the
//! topology is refreshed.

pub(crate) mod key_split;
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
