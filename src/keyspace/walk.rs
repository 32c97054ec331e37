//! Walking all nodes of a cluster, one after the other, while slots may move between them.

use std::sync::Arc;

use crate::cluster::slot::SLOTS;
use crate::cluster::slot_map::Map;
use crate::cluster::topology::TopologySnapshot;
use crate::config::HostPort;

/// Which slots were walked, and which node is being walked now.
pub(super) struct Walk {
    walked: Vec<bool>,
    stage: Option<NodeCursor>,
}

/// One node, from cursor 0 to its last page.
struct NodeCursor {
    /// Its owner has the pages.
    slot: u16,
    node: HostPort,
    /// The cluster as it was at the beginning.
    then: Arc<TopologySnapshot>,
}

/// What comes after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The page at this cursor.
    Page(u64),
    /// The first page of another node.
    NodeCursor,
    /// The slots have moved, and the cursor means nothing where they are now.
    Again,
    /// The node was walked, but has no slots by what is known of the cluster.
    Outdated,
    Done,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { walked: vec![false; usize::from(SLOTS)], stage: None }
    }

    /// The slot whose owner has the next page; `None` when every slot with an owner was walked.
    pub(super) fn slot(&mut self, now: &Arc<TopologySnapshot>) -> Option<u16> {
        if let Some(stage) = &self.stage {
            return Some(stage.slot);
        }
        let mut left = (0..SLOTS).zip(&self.walked).filter(|(_, walked)| !**walked);
        let (slot, node) = left.find_map(|(slot, _)| Some((slot, now.map.owner(slot)?.clone())))?;
        self.stage = Some(NodeCursor { slot, node, then: now.clone() });
        Some(slot)
    }

    /// The slot whose owner is being walked.
    pub(super) fn current_slot(&self) -> Option<u16> {
        self.stage.as_ref().map(|stage| stage.slot)
    }

    /// The node has to be walked from its beginning, or another one instead.
    pub(super) fn restart_scan(&mut self) {
        self.stage = None;
    }

    /// A page has come from `node`, if that is known, with the cursor of the next one. `is_first`: it was at cursor 0.
    pub(super) fn came(
        &mut self,
        cursor: u64,
        is_first: bool,
        node: Option<&HostPort>,
        now: &Arc<TopologySnapshot>,
    ) -> Next {
        let Some(stage) = &mut self.stage else { return Next::Done };
        // Commands follow a slot that has moved before the topology does: what is walked is the node that answers.
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
            // A slot that came or went meanwhile is walked where it is now.
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

    /// Slots below `border` at node 1, the others at node 2.
    fn snapshot(version: u64, border: u16) -> Arc<TopologySnapshot> {
        let mut map = Map::default();
        for slot in 0..SLOTS {
            map.moved(slot, &node(if slot < border { 1 } else { 2 }));
        }
        Arc::new(TopologySnapshot::of(version, map))
    }

    #[test]
    fn every_node_is_walked_once() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk.came(7, true, Some(&node(1)), &now), Next::Page(7));
        assert_eq!(walk.came(0, false, Some(&node(1)), &now), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(100));
        assert_eq!(walk.came(0, true, None, &now), Next::Done);
    }

    #[test]
    fn slots_that_moved_meanwhile_are_walked_where_they_are() {
        let (then, now) = (snapshot(1, 100), snapshot(2, 60));
        let mut walk = Walk::new();
        walk.slot(&then);
        assert_eq!(walk.came(0, true, None, &now), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(60), "those that left, and those that were there, at once");
        assert_eq!(walk.came(0, true, None, &now), Next::Done);
    }

    #[test]
    fn a_cursor_is_not_shown_to_another_node() {
        let mut walk = Walk::new();
        walk.slot(&snapshot(1, 100));
        assert_eq!(walk.came(7, true, None, &snapshot(2, 0)), Next::Again);
    }

    /// Ablation: taken for the pages of the node that the topology names, that node is never walked.
    #[test]
    fn pages_of_a_node_that_the_topology_does_not_know_count_for_no_other() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        walk.slot(&now);
        assert_eq!(walk.came(7, true, Some(&node(3)), &now), Next::Page(7));
        assert_eq!(walk.came(0, false, Some(&node(3)), &now), Next::Outdated);
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk.came(0, true, Some(&node(1)), &now), Next::NodeCursor);
    }
}
