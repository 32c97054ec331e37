//! Scans all nodes of a cluster in sequence, while slots may move between them.

use std::sync::Arc;

use crate::cluster::slot::SLOTS;
use crate::cluster::slot_map::Map;
use crate::cluster::topology::TopologySnapshot;
use crate::config::HostPort;

/// The slots that were scanned, and the node that is being scanned.
pub(super) struct Walk {
    walked: Vec<bool>,
    stage: Option<NodeCursor>,
}

/// The scan of one node, from cursor 0 to its last page.
struct NodeCursor {
    /// The slot whose owner is scanned.
    slot: u16,
    node: HostPort,
    /// The topology at the start of the scan of this node.
    then: Arc<TopologySnapshot>,
}

/// The next step after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The page at this cursor.
    Page(u64),
    /// The first page of another node.
    NodeCursor,
    /// The slots have moved, and the cursor is not valid for their new owners.
    Again,
    /// The node was scanned, but has no slots in the current topology.
    Outdated,
    Done,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { walked: vec![false; usize::from(SLOTS)], stage: None }
    }

    /// The slot whose owner has the next page; `None` after all slots with an owner were scanned.
    pub(super) fn slot(&mut self, now: &Arc<TopologySnapshot>) -> Option<u16> {
        if let Some(stage) = &self.stage {
            return Some(stage.slot);
        }
        let mut left = (0..SLOTS).zip(&self.walked).filter(|(_, walked)| !**walked);
        let (slot, node) = left.find_map(|(slot, _)| Some((slot, now.map.owner(slot)?.clone())))?;
        self.stage = Some(NodeCursor { slot, node, then: now.clone() });
        Some(slot)
    }

    /// The slot whose owner is being scanned.
    pub(super) fn current_slot(&self) -> Option<u16> {
        self.stage.as_ref().map(|stage| stage.slot)
    }

    /// Restarts the scan of the node, or of another owner of the slot.
    pub(super) fn restart_scan(&mut self) {
        self.stage = None;
    }

    /// Handles a page from `node`, if known, with the next cursor. `is_first`: the page was requested with cursor 0.
    pub(super) fn came(
        &mut self,
        cursor: u64,
        is_first: bool,
        node: Option<&HostPort>,
        now: &Arc<TopologySnapshot>,
    ) -> Next {
        let Some(stage) = &mut self.stage else { return Next::Done };
        // Commands follow a moved slot before the topology is updated, so the scanned node is the one that replied.
        if let Some(node) = node.filter(|_| is_first) {
            stage.node = node.clone();
        }
        let NodeCursor { slot, node, then } = &*stage;
        if now.version != then.version && now.map.owner(*slot) != Some(node) {
            self.stage = None;
            return Next::Again;
        }
        if cursor != 0 {
            return Next::Page(cursor);
        }
        let stayed = |map: &Map, slot| map.owner(slot) == Some(node);
        let mut is_progress = false;
        for (slot, walked) in (0..SLOTS).zip(&mut self.walked) {
            // A slot that moved meanwhile is scanned at its current owner.
            if !*walked && stayed(&then.map, slot) && stayed(&now.map, slot) {
                (*walked, is_progress) = (true, true);
            }
        }
        self.stage = None;
        match self.slot(now) {
            _ if !is_progress => {
                self.stage = None;
                Next::Outdated
            }
            Some(_) => Next::NodeCursor,
            None => Next::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> HostPort {
        HostPort { host: "h".to_owned(), port }
    }

    /// Slots below `border` are on node 1, the others on node 2.
    fn snapshot(version: u64, border: u16) -> Arc<TopologySnapshot> {
        let mut map = Map::default();
        for slot in 0..SLOTS {
            map.moved(slot, &node(if slot < border { 1 } else { 2 }));
        }
        Arc::new(TopologySnapshot::of(version, map))
    }

    #[test]
    fn every_node_is_scanned_once() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk.came(7, true, Some(&node(1)), &now), Next::Page(7));
        assert_eq!(walk.came(0, false, Some(&node(1)), &now), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(100));
        assert_eq!(walk.came(0, true, None, &now), Next::Done);
    }

    #[test]
    fn slots_that_moved_meanwhile_are_scanned_at_their_current_owner() {
        let (then, now) = (snapshot(1, 100), snapshot(2, 60));
        let mut walk = Walk::new();
        walk.slot(&then);
        assert_eq!(walk.came(0, true, None, &now), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(60), "the moved slots and those that were there before, together");
        assert_eq!(walk.came(0, true, None, &now), Next::Done);
    }

    #[test]
    fn a_cursor_is_not_used_with_another_node() {
        let mut walk = Walk::new();
        walk.slot(&snapshot(1, 100));
        assert_eq!(walk.came(7, true, None, &snapshot(2, 0)), Next::Again);
    }

    /// Ablation: if the pages count for the node in the topology, that node is never scanned.
    #[test]
    fn pages_of_a_node_outside_the_topology_count_for_no_other_node() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        walk.slot(&now);
        assert_eq!(walk.came(7, true, Some(&node(3)), &now), Next::Page(7));
        assert_eq!(walk.came(0, false, Some(&node(3)), &now), Next::Outdated);
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk.came(0, true, Some(&node(1)), &now), Next::NodeCursor);
    }
}
