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

    /// Forgets which sources were walked: the move of their slots may be cancelled.
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
        // Commands follow a slot that has moved before the topology does: the node that answers is the one that is walked.
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
mod tests;
