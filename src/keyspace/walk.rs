//! Walking all nodes of a cluster, one after the other, while slots may move between them.
//!
//! Keys of a slot that is being moved are at two nodes, and go from the first to the second while they are walked. So a node is
//! asked before its first page and behind its last one which slots it has and which of them are moving. A slot that moves is
//! complete when its source was walked and then, from the beginning, its target.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::cluster::node_table::NodeLine;
use crate::cluster::slot::SLOTS;
use crate::cluster::slot_map::Map;
use crate::cluster::topology::TopologySnapshot;
use crate::config::HostPort;

/// What a node says of its own slots in CLUSTER NODES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnSlots {
    owned: Box<[bool]>,
    /// Slots that are being moved to another node, each with the addresses of that node.
    migrating: BTreeMap<u16, Vec<HostPort>>,
    importing: BTreeSet<u16>,
}

impl OwnSlots {
    /// Reads the answer to CLUSTER NODES; `None` when it is no such answer. `reachable`: the address under which a node that
    /// announces this one is known here.
    pub(super) fn read(answer: &str, reachable: impl Fn(HostPort) -> HostPort) -> Option<Self> {
        let nodes = || answer.lines().filter_map(NodeLine::read);
        let own = nodes().find(|node| node.has_flag("myself"))?;
        let addresses_of = |id: &str| {
            let node = nodes().find(|node| node.id == id);
            node.map(|node| addresses(node.address)).unwrap_or_default().into_iter().map(&reachable).collect()
        };
        let mut slots = Self::none();
        for field in own.slots() {
            if let Some(open) = field.strip_prefix('[') {
                let open = open.trim_end_matches(']');
                if let Some((slot, target)) = open.split_once("->-") {
                    slots.migrating.insert(slot.parse().ok()?, addresses_of(target));
                } else if let Some((slot, _)) = open.split_once("-<-") {
                    slots.importing.insert(slot.parse().ok()?);
                }
            } else {
                let (first, last) = field.split_once('-').unwrap_or((field, field));
                slots.own(first.parse().ok()?..=last.parse().ok()?);
            }
        }
        Some(slots)
    }

    fn none() -> Self {
        let owned = vec![false; usize::from(SLOTS)].into();
        Self { owned, migrating: BTreeMap::new(), importing: BTreeSet::new() }
    }

    fn own(&mut self, range: RangeInclusive<u16>) {
        let range = usize::from(*range.start())..=usize::from(*range.end());
        if let Some(owned) = self.owned.get_mut(range) {
            owned.fill(true);
        }
    }

    fn owns(&self, slot: u16) -> bool {
        self.owned.get(usize::from(slot)).is_some_and(|owned| *owned)
    }

    /// Where the slot is being moved.
    fn target(&self, slot: u16) -> Option<&Vec<HostPort>> {
        self.migrating.get(&slot)
    }

    /// Nothing of the slot leaves the node.
    fn keeps(&self, slot: u16) -> bool {
        self.owns(slot) && self.target(slot).is_none()
    }
}

/// The addresses in `ip:port@bus,hostname`.
fn addresses(field: &str) -> Vec<HostPort> {
    let mut parts = field.split(',');
    let Some((ip, port)) = parts.next().and_then(|first| first.split('@').next()?.rsplit_once(':')) else {
        return Vec::new();
    };
    let Ok(port) = port.parse() else { return Vec::new() };
    let hosts = [Some(ip), parts.next()].into_iter().flatten().filter(|host| !host.is_empty());
    hosts.map(|host| HostPort { host: host.to_owned(), port }).collect()
}

/// Which slots were walked, and which node is being walked now.
pub(super) struct Walk {
    walked: Vec<bool>,
    /// Slots that are being moved whose source was walked, each with the addresses of its target, which has to follow.
    half_walked: BTreeMap<u16, Vec<HostPort>>,
    stage: Option<NodeCursor>,
}

/// The scan of one node, from cursor 0 to its last page.
struct NodeCursor {
    /// The slot whose owner is scanned.
    slot: u16,
    node: HostPort,
    /// The topology at the start of the scan of this node.
    then: Arc<TopologySnapshot>,
    /// What the node said of its slots at the beginning; `None` when it was not asked, or does not say.
    own: Option<OwnSlots>,
    is_inspected: bool,
    /// The slots that this node completes.
    completes: Vec<u16>,
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

/// The page that was answered last.
pub(super) struct Position<'a> {
    /// Of the next page; 0 behind the last one.
    pub(super) cursor: u64,
    /// It was at cursor 0.
    pub(super) is_first: bool,
    /// The node that has sent it, if that is known.
    pub(super) node: Option<&'a HostPort>,
    /// Behind the last page, what the node says of its slots, if it does.
    pub(super) own: Option<OwnSlots>,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { walked: vec![false; usize::from(SLOTS)], half_walked: BTreeMap::new(), stage: None }
    }

    /// The slot whose owner has the next page; `None` when every slot with an owner was walked, or is
    /// [`blocked`](Self::is_blocked).
    pub(super) fn slot(&mut self, now: &Arc<TopologySnapshot>) -> Option<u16> {
        if let Some(stage) = &self.stage {
            return Some(stage.slot);
        }
        let (walked, half_walked) = (&self.walked, &self.half_walked);
        let is_left = |slot: &u16| {
            !walked.get(usize::from(*slot)).is_none_or(|walked| *walked) && !half_walked.contains_key(slot)
        };
        let mut left = (0..SLOTS).filter(is_left).filter_map(|slot| Some((slot, now.map.owner(slot)?.clone())));
        let (slot, node) = left.next().or_else(|| {
            let mut targets = half_walked.values().flatten();
            targets.find_map(|target| Some((*now.map.slots_of(target).first()?.start(), target.clone())))
        })?;
        let (own, is_inspected, completes) = (None, false, Vec::new());
        self.stage = Some(NodeCursor { slot, node, then: now.clone(), own, is_inspected, completes });
        Some(slot)
    }

    /// Whether slots are left that are being moved to a node that no page can be had of: it has no slots so far.
    pub(super) fn is_blocked(&self) -> bool {
        !self.half_walked.is_empty()
    }

    /// Forgets which sources were walked: what was being moved may stay where it was.
    pub(super) fn unblock(&mut self) {
        self.half_walked.clear();
    }

    /// Whether the node has to be asked for its slots before its first page.
    pub(super) fn is_to_inspect(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| !stage.is_inspected)
    }

    /// Whether the node has said at the beginning which slots it has, and has to be asked again.
    pub(super) fn is_inspected(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.own.is_some())
    }

    /// What the node said of its slots before its first page. Returns whether it is the one to walk.
    pub(super) fn inspected(&mut self, own: Option<OwnSlots>, node: Option<&HostPort>) -> bool {
        let Some(stage) = &mut self.stage else { return true };
        if let Some(node) = node {
            stage.node = node.clone();
        }
        if own.as_ref().is_some_and(|own| !own.owns(stage.slot)) {
            self.stage = None;
            return false;
        }
        let here = self.half_walked.iter().filter(|(_, target)| target.contains(&stage.node));
        stage.completes = here.map(|(slot, _)| *slot).collect();
        (stage.own, stage.is_inspected) = (own, true);
        true
    }

    /// Whether keys of the slot are to be returned from this node. Those of slots that were walked before are again where these
    /// went, and those of a slot that is being moved here follow when its source was walked.
    pub(super) fn is_left(&self, slot: u16) -> bool {
        let belongs =
            |stage: &NodeCursor| stage.own.as_ref().is_none_or(|own| own.owns(slot)) || stage.completes.contains(&slot);
        !self.walked.get(usize::from(slot)).is_some_and(|walked| *walked) && self.stage.as_ref().is_none_or(belongs)
    }

    /// The slot whose owner is being walked.
    pub(super) fn current_slot(&self) -> Option<u16> {
        self.stage.as_ref().map(|stage| stage.slot)
    }

    /// Restarts the scan of the node, or of another owner of the slot.
    pub(super) fn restart_scan(&mut self) {
        self.stage = None;
    }

    /// A page has come.
    pub(super) fn came(&mut self, at: Position<'_>, now: &Arc<TopologySnapshot>) -> Next {
        let Some(stage) = &mut self.stage else { return Next::Done };
        // Commands follow a slot that has moved before the topology does: what is walked is the node that answers.
        if let Some(node) = at.node.filter(|node| **node != stage.node && (at.is_first || at.cursor == 0)) {
            if stage.own.is_some() {
                self.stage = None;
                return Next::Again;
            }
            if at.is_first {
                stage.node = node.clone();
            }
        }
        let NodeCursor { slot, node, then, .. } = &*stage;
        if now.version != then.version && now.map.owner(*slot) != Some(node) {
            self.stage = None;
            return Next::Again;
        }
        if at.cursor != 0 {
            return Next::Page(at.cursor);
        }
        let is_progress = self.end_stage(at.own, &now.map);
        match self.slot(now) {
            _ if !is_progress => {
                self.stage = None;
                Next::Outdated
            }
            Some(_) => Next::NodeCursor,
            None => Next::Done,
        }
    }

    /// All pages of a node have come. Returns whether that has completed anything.
    fn end_stage(&mut self, ended: Option<OwnSlots>, now: &Map) -> bool {
        let Some(NodeCursor { node, then, own, completes, .. }) = self.stage.take() else { return false };
        let words = own.as_ref().zip(ended.as_ref());
        let stayed = |map: &Map, slot| map.owner(slot) == Some(&node);
        let mut is_progress = false;
        for (slot, walked) in (0..SLOTS).zip(&mut self.walked) {
            // A slot that came or went meanwhile is walked where it is now.
            if *walked || !stayed(&then.map, slot) || !stayed(now, slot) {
                continue;
            }
            let target = words.and_then(|(_, ended)| ended.target(slot));
            if words.is_none_or(|(began, ended)| began.keeps(slot) && ended.keeps(slot)) {
                (*walked, is_progress) = (true, true);
                self.half_walked.remove(&slot);
            } else if let (Some((began, ended)), Some(target)) = (words, target)
                && began.owns(slot)
                && ended.owns(slot)
                && began.target(slot).is_none_or(|before| before == target)
            {
                is_progress |= self.half_walked.insert(slot, target.clone()).is_none();
            }
        }
        for slot in completes {
            self.half_walked.remove(&slot);
            let holds = |own: &OwnSlots| own.keeps(slot) || own.importing.contains(&slot);
            if let Some(walked) = self.walked.get_mut(usize::from(slot))
                && words.is_none_or(|(began, ended)| holds(began) && holds(ended))
            {
                (*walked, is_progress) = (true, true);
            }
        }
        is_progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    fn page(cursor: u64, is_first: bool, node: Option<&HostPort>) -> Position<'_> {
        Position { cursor, is_first, node, own: None }
    }

    #[test]
    fn every_node_is_scanned_once() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk.came(page(7, true, Some(&node(1))), &now), Next::Page(7));
        assert_eq!(walk.came(page(0, false, Some(&node(1))), &now), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(100));
        assert_eq!(walk.came(page(0, true, None), &now), Next::Done);
    }

    #[test]
    fn slots_that_moved_meanwhile_are_scanned_at_their_current_owner() {
        let (then, now) = (snapshot(1, 100), snapshot(2, 60));
        let mut walk = Walk::new();
        walk.slot(&then);
        assert_eq!(walk.came(page(0, true, None), &now), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(60), "those that left, and those that were there, at once");
        assert_eq!(walk.came(page(0, true, None), &now), Next::Done);
    }

    #[test]
    fn a_cursor_is_not_used_with_another_node() {
        let mut walk = Walk::new();
        walk.slot(&snapshot(1, 100));
        assert_eq!(walk.came(page(7, true, None), &snapshot(2, 0)), Next::Again);
    }

    /// Ablation: if the pages count for the node in the topology, that node is never scanned.
    #[test]
    fn pages_of_a_node_outside_the_topology_count_for_no_other_node() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        walk.slot(&now);
        assert_eq!(walk.came(page(7, true, Some(&node(3))), &now), Next::Page(7));
        assert_eq!(walk.came(page(0, false, Some(&node(3))), &now), Next::Outdated);
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk.came(page(0, true, Some(&node(1))), &now), Next::NodeCursor);
    }

    /// What a node says of itself: its slots, those that it gives to a node, and those that it gets.
    fn own(owned: RangeInclusive<u16>, migrating: &[(u16, u16)], importing: &[u16]) -> Option<OwnSlots> {
        let migrating = migrating.iter().map(|(slot, port)| (*slot, vec![node(*port)])).collect();
        let mut own = OwnSlots { migrating, importing: importing.iter().copied().collect(), ..OwnSlots::none() };
        own.own(owned);
        Some(own)
    }

    /// Walks the whole of a node, which says this of itself before and behind its pages.
    fn walk_node(
        walk: &mut Walk,
        now: &Arc<TopologySnapshot>,
        port: u16,
        before: Option<OwnSlots>,
        behind: Option<OwnSlots>,
    ) -> Next {
        assert!(walk.is_to_inspect());
        assert!(walk.inspected(before, Some(&node(port))));
        walk.came(Position { cursor: 0, is_first: true, node: Some(&node(port)), own: behind }, now)
    }

    #[test]
    fn the_line_of_a_node_about_itself_is_read() {
        let nodes = "a 127.0.0.1:1@9,host slave b 0 1 1 connected\n\
            b 10.0.0.2:2@9,host2 myself,master - 0 0 3 connected 0-5 9 [7->-c] [8-<-a]\n\
            c :3@9 master - 0 1 2 connected 10-16383\n";
        let own = OwnSlots::read(nodes, |address| address).expect("an answer");
        assert!(own.owns(5) && own.owns(9) && !own.owns(6) && own.importing == BTreeSet::from([8]));
        assert_eq!(own.target(7), Some(&Vec::new()), "an address that is not known");
        let named = OwnSlots::read(&nodes.replace("->-c", "->-a"), |address| address).expect("an answer");
        let address = |host: &str| HostPort { host: host.to_owned(), port: 1 };
        assert_eq!(named.target(7), Some(&vec![address("127.0.0.1"), address("host")]));
        assert_eq!((OwnSlots::read("OK", |address| address), OwnSlots::read("", |address| address)), (None, None));
    }

    /// Ablation: a source that completes its moving slots by itself fails: Done behind the second node.
    #[test]
    fn a_slot_that_is_being_moved_is_complete_behind_its_target() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        assert_eq!(walk.slot(&now), Some(0));
        assert_eq!(walk_node(&mut walk, &now, 1, own(0..=99, &[], &[]), own(0..=99, &[], &[])), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(100));
        // Slot 200 begins to move to the node that was walked before.
        let (before, behind) = (own(100..=16_383, &[], &[]), own(100..=16_383, &[(200, 1)], &[]));
        assert_eq!(walk_node(&mut walk, &now, 2, before, behind), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(0), "the target once more");
        assert!(walk.is_left(200) && !walk.is_left(0) && !walk.is_left(201), "for that slot alone");
        let importing = || own(0..=99, &[], &[200]);
        assert_eq!(walk_node(&mut walk, &now, 1, importing(), importing()), Next::Done);
        assert!(!walk.is_left(200) && !walk.is_blocked());
    }

    #[test]
    fn a_slot_whose_move_is_cancelled_is_walked_at_its_source_again() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        walk.slot(&now);
        assert_eq!(
            walk_node(&mut walk, &now, 1, own(0..=99, &[(7, 2)], &[]), own(0..=99, &[(7, 2)], &[])),
            Next::NodeCursor
        );
        walk.slot(&now);
        // The target holds it at the beginning only.
        let (before, behind) = (own(100..=16_383, &[], &[7]), own(100..=16_383, &[], &[]));
        assert_eq!(walk_node(&mut walk, &now, 2, before, behind), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(7));
        assert_eq!(walk_node(&mut walk, &now, 1, own(0..=99, &[], &[]), own(0..=99, &[], &[])), Next::Done);
    }

    #[test]
    fn a_target_without_slots_blocks_the_walk() {
        let now = snapshot(1, 16_384);
        let mut walk = Walk::new();
        walk.slot(&now);
        let migrating = || own(0..=16_383, &[(7, 3)], &[]);
        assert_eq!(walk_node(&mut walk, &now, 1, migrating(), migrating()), Next::Done);
        assert!(walk.slot(&now).is_none() && walk.is_blocked() && walk.is_left(7));
        walk.unblock();
        assert_eq!(walk.slot(&now), Some(7));
    }

    /// Ablation: without the node's own word slot 200 counts as walked, although it has left the node meanwhile.
    #[test]
    fn a_slot_that_has_left_a_node_is_not_walked_there_although_the_topology_says_so() {
        let now = snapshot(1, 100);
        let mut walk = Walk::new();
        walk.slot(&now);
        assert_eq!(walk_node(&mut walk, &now, 1, own(0..=99, &[], &[]), own(0..=49, &[], &[])), Next::NodeCursor);
        assert_eq!(walk.slot(&now), Some(50));
        assert!(!walk.inspected(own(0..=49, &[], &[]), Some(&node(1))), "the topology is outdated");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Keys of two nodes, whose slots move key by key in either direction while pages are read. A key that is there all the
        /// time is returned, or the walk does not end.
        ///
        /// Ablation: `end_stage` without the words of the node fails with "a key is missing".
        #[test]
        fn no_key_is_missing_whatever_moves_meanwhile(steps in proptest::collection::vec((0..5_u8, 0..4_u16), 0..120)) {
            // Four slots with three keys each: the node of each key, the owner of each slot, and where it is being moved.
            let (mut keys, mut owners, mut moving) = ([[1_u16, 1, 1], [1; 3], [2; 3], [2; 3]], [1_u16, 1, 2, 2], [None::<u16>; 4]);
            let snapshot = |version, owners: &[u16; 4]| {
                let mut map = Map::default();
                (0..SLOTS).for_each(|slot| map.moved(slot, &node(owners[usize::from(slot / 4096)])));
                Arc::new(TopologySnapshot::of(version, map))
            };
            let quarter = |at: u16| at * 4096..=at * 4096 + 4095;
            let own = |port: u16, owners: &[u16; 4], moving: &[Option<u16>; 4]| {
                let mut own = OwnSlots::none();
                for (at, (owner, target)) in (0..).zip(owners.iter().zip(moving)) {
                    match target {
                        _ if *owner == port => {
                            own.own(quarter(at));
                            own.migrating.extend(target.iter().flat_map(|target| quarter(at).map(|slot| (slot, vec![node(*target)]))));
                        }
                        Some(target) if *target == port => own.importing.extend(quarter(at)),
                        _ => {}
                    }
                }
                Some(own)
            };
            let (mut version, mut walk, mut seen) = (1, Walk::new(), [[false; 3]; 4]);
            let mut now = snapshot(version, &owners);
            // The node that is walked, and the key that its next page looks at.
            let (mut at, mut is_over): (Option<(u16, usize)>, bool) = (None, false);
            for (step, slot) in steps {
                let slot_at = usize::from(slot);
                match step {
                    0 if moving[slot_at].is_none() => moving[slot_at] = Some(3 - owners[slot_at]),
                    1 => if let Some(target) = moving[slot_at]
                        && let Some(key) = keys[slot_at].iter_mut().find(|key| **key != target) {
                        *key = target;
                    },
                    2 => if let Some(target) = moving[slot_at].filter(|target| keys[slot_at].iter().all(|key| key == target)) {
                        (owners[slot_at], moving[slot_at]) = (target, None);
                    },
                    3 => {
                        version += 1;
                        now = snapshot(version, &owners);
                    }
                    _ if !is_over => match at {
                        None => match walk.slot(&now) {
                            None => is_over = !walk.is_blocked(),
                            Some(slot) => {
                                let port = now.map.owner(slot).expect("an owner").port;
                                if walk.inspected(own(port, &owners, &moving), Some(&node(port))) {
                                    at = Some((port, 0));
                                }
                            }
                        },
                        Some((port, key)) => {
                            let (slot, nth) = (key / 3, key % 3);
                            seen[slot][nth] |= keys[slot][nth] == port && walk.is_left(slot as u16 * 4096);
                            let is_last = key == 11;
                            let cursor = if is_last { 0 } else { 1 };
                            let own = is_last.then(|| own(port, &owners, &moving)).flatten();
                            let page = Position { cursor, is_first: key == 0, node: Some(&node(port)), own };
                            match walk.came(page, &now) {
                                Next::Page(_) => at = Some((port, key + 1)),
                                _ => at = None,
                            }
                        }
                    },
                    _ => {}
                }
            }
            prop_assert!(!is_over || seen.as_flattened().iter().all(|seen| *seen), "a key is missing");
        }
    }
}
