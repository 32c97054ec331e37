//! Walking all nodes of a cluster, one after the other, while slots may move between them.

use std::sync::Arc;

use crate::config::HostPort;
use crate::core::cluster::{map::Map, slot::SLOTS};
use crate::topology::Picture;

/// A walk begins anew on a node whose slots move away meanwhile, but not for ever.
const MOST_RESTARTS: u32 = 100;

/// Which slots were walked, and which node is being walked now.
pub(super) struct Walk {
    walked: Vec<bool>,
    /// The first slot of this stage, its owner, and the cluster as it was at the beginning.
    stage: Option<(u16, HostPort, Arc<Picture>)>,
    restarts: u32,
}

/// What comes after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The page at this cursor.
    Page(u64),
    /// The slots have moved too often.
    Restless,
    Done,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { walked: vec![false; usize::from(SLOTS)], stage: None, restarts: 0 }
    }

    /// The slot whose owner has the next page; `None` when every slot with an owner was walked.
    pub(super) fn slot(&mut self, now: &Arc<Picture>) -> Option<u16> {
        if let Some((slot, ..)) = &self.stage {
            return Some(*slot);
        }
        let mut left = (0..SLOTS).zip(&self.walked).filter(|(_, walked)| !**walked);
        let (slot, owner) = left.find_map(|(slot, _)| Some((slot, now.map.owner(slot)?.clone())))?;
        self.stage = Some((slot, owner, now.clone()));
        Some(slot)
    }

    /// A page has come, with the cursor of the next one.
    pub(super) fn came(&mut self, cursor: u64, now: &Arc<Picture>) -> Next {
        let Some((slot, owner, then)) = &self.stage else { return Next::Done };
        if now.version != then.version && now.map.owner(*slot) != Some(owner) {
            // A cursor means something to the node that gave it only.
            self.stage = None;
            self.restarts += 1;
            return if self.restarts > MOST_RESTARTS { Next::Restless } else { self.next_stage(now) };
        }
        if cursor != 0 {
            return Next::Page(cursor);
        }
        let stayed = |map: &Map, slot| map.owner(slot) == Some(owner);
        for (slot, walked) in (0..SLOTS).zip(&mut self.walked) {
            // A slot that came or went meanwhile is walked where it is now.
            *walked |= stayed(&then.map, slot) && stayed(&now.map, slot);
        }
        self.stage = None;
        self.next_stage(now)
    }

    fn next_stage(&mut self, now: &Arc<Picture>) -> Next {
        if self.slot(now).is_some() { Next::Page(0) } else { Next::Done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> HostPort {
        HostPort { host: "h".to_owned(), port }
    }

    /// Slots below `border` at node 1, the others at node 2.
    fn picture(version: u64, border: u16) -> Arc<Picture> {
        let mut map = Map::default();
        for slot in 0..SLOTS {
            map.moved(slot, &node(if slot < border { 1 } else { 2 }));
        }
        Arc::new(Picture::of(version, map))
    }

    #[test]
    fn every_node_is_walked_once() {
        let now = picture(1, 100);
        let mut walk = Walk::new();
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk.came(7, &now), Next::Page(7));
        assert_eq!(walk.came(0, &now), Next::Page(0));
        assert_eq!(walk.slot(&now), Some(100));
        assert_eq!(walk.came(0, &now), Next::Done);
    }

    #[test]
    fn slots_that_moved_meanwhile_are_walked_where_they_are() {
        let (then, now) = (picture(1, 100), picture(2, 60));
        let mut walk = Walk::new();
        walk.slot(&then);
        assert_eq!(walk.came(0, &now), Next::Page(0));
        assert_eq!(walk.slot(&now), Some(60), "those that left, and those that were there, at once");
        assert_eq!(walk.came(0, &now), Next::Done);
    }

    #[test]
    fn a_cursor_is_not_shown_to_another_node() {
        let mut walk = Walk::new();
        walk.slot(&picture(1, 100));
        assert_eq!(walk.came(7, &picture(2, 0)), Next::Page(0));
        for version in 3..200 {
            let next = walk.came(7, &picture(version, if version % 2 == 0 { 0 } else { 100 }));
            if next == Next::Restless {
                return;
            }
        }
        panic!("never gave up");
    }
}
