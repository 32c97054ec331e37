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

/// Four slots with three keys each, at two nodes.
struct World {
    /// The node of each key.
    keys: [[u16; 3]; 4],
    /// The owner of each slot, and the node to which it is being moved.
    owners: [u16; 4],
    moving: [Option<u16>; 4],
    now: Arc<TopologySnapshot>,
    walk: Walk,
    /// The node that is walked, and the key that its next page looks at.
    at: Option<(u16, usize)>,
    seen: [[bool; 3]; 4],
    is_over: bool,
}

/// The slots that stand for one of the four.
fn quarter(at: u16) -> RangeInclusive<u16> {
    at * 4096..=at * 4096 + 4095
}

impl World {
    fn new() -> Self {
        let (keys, owners) = ([[1, 1, 1], [1; 3], [2; 3], [2; 3]], [1, 1, 2, 2]);
        let now = Self::snapshot(1, &owners);
        let (walk, at, seen) = (Walk::new(), None, [[false; 3]; 4]);
        Self { keys, owners, moving: [None; 4], now, walk, at, seen, is_over: false }
    }

    fn snapshot(version: u64, owners: &[u16; 4]) -> Arc<TopologySnapshot> {
        let mut map = Map::default();
        (0..SLOTS).for_each(|slot| map.moved(slot, &node(owners[usize::from(slot / 4096)])));
        Arc::new(TopologySnapshot::of(version, map))
    }

    /// The slots of a node by its own word.
    fn own(&self, port: u16) -> Option<OwnSlots> {
        let mut own = OwnSlots::none();
        for (at, (owner, target)) in (0..).zip(self.owners.iter().zip(&self.moving)) {
            match target {
                _ if *owner == port => {
                    own.own(quarter(at));
                    let targets = target.iter().flat_map(|target| quarter(at).map(|slot| (slot, vec![node(*target)])));
                    own.migrating.extend(targets);
                }
                Some(target) if *target == port => own.importing.extend(quarter(at)),
                _ => {}
            }
        }
        Some(own)
    }

    /// A slot begins to move, one of its keys moves, it has moved, the topology is refreshed, or the walk goes on.
    fn step(&mut self, step: u8, slot: usize) {
        match (step, self.moving[slot]) {
            (0, None) => self.moving[slot] = Some(3 - self.owners[slot]),
            (1, Some(target)) => {
                if let Some(key) = self.keys[slot].iter_mut().find(|key| **key != target) {
                    *key = target;
                }
            }
            (2, Some(target)) if self.keys[slot].iter().all(|key| *key == target) => {
                (self.owners[slot], self.moving[slot]) = (target, None);
            }
            (3, _) => self.now = Self::snapshot(self.now.version + 1, &self.owners),
            (4.., _) if !self.is_over => self.go_on(),
            _ => {}
        }
    }

    /// Inspects the next node, or reads a page of one key.
    fn go_on(&mut self) {
        let Some((port, key)) = self.at else {
            let Some(slot) = self.walk.slot(&self.now) else {
                self.is_over = !self.walk.is_blocked();
                return;
            };
            let port = self.now.map.owner(slot).expect("an owner").port;
            if self.walk.inspected(self.own(port), Some(&node(port))) {
                self.at = Some((port, 0));
            }
            return;
        };
        let (slot, nth, is_last) = (key / 3, key % 3, key == 11);
        self.seen[slot][nth] |= self.keys[slot][nth] == port && self.walk.is_left(slot as u16 * 4096);
        let own = if is_last { self.own(port) } else { None };
        let page = Position { cursor: u64::from(!is_last), is_first: key == 0, node: Some(&node(port)), own };
        self.at = match self.walk.came(page, &self.now) {
            Next::Page(_) => Some((port, key + 1)),
            _ => None,
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Keys of two nodes, whose slots move key by key in either direction while pages are read. A key that is there all the
    /// time is returned, or the walk does not end.
    ///
    /// Ablation: `end_stage` without the words of the node fails with "a key is missing".
    #[test]
    fn no_key_is_missing_whatever_moves_meanwhile(steps in proptest::collection::vec((0..5_u8, 0..4_usize), 0..120)) {
        let mut world = World::new();
        steps.into_iter().for_each(|(step, slot)| world.step(step, slot));
        prop_assert!(!world.is_over || world.seen.as_flattened().iter().all(|seen| *seen), "a key is missing");
    }
}
