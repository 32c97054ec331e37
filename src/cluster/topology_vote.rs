//! Which of several answers to CLUSTER SLOTS is right.
//!
//! A primary that is cut off from the cluster bus goes on to answer its clients, with the topology of before the partition. If
//! the first answer were adopted, that primary would get its slots back whenever it happens to answer first, and lose them at the
//! next answer of another node.
//!
//! Such a node says so of itself: it reaches no majority, so its `cluster_state` is `fail`. Where CLUSTER INFO is forbidden, and
//! where all nodes say `fail`, most votes count, then the highest epoch.

use super::slot_map::Map;

/// How one node sees the cluster.
#[derive(Debug)]
pub(crate) struct NodeView {
    pub(crate) map: Map,
    /// The answer to CLUSTER INFO; `None` when there was none.
    pub(crate) health: Option<NodeHealth>,
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeHealth {
    /// `cluster_state:ok`: it reaches most of the primaries, and no slot lacks an owner that is required.
    pub(crate) is_ok: bool,
    /// `cluster_current_epoch`: grows with every failover, and with most moves of slots.
    pub(crate) epoch: u64,
}

impl NodeHealth {
    /// Reads the answer to CLUSTER INFO; `None` when it is no such answer.
    pub(crate) fn read(answer: &str) -> Option<Self> {
        let field =
            |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Some(Self { is_ok: field("cluster_state")? == "ok", epoch })
    }
}

/// The state of a vote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Other answers cannot matter any more.
    Decided(Map),
    /// There is something to choose from. Nodes that have not answered get a moment to confirm or to contradict it.
    Contested,
    /// The answers so far are no reason not to wait for the others.
    Open,
}

/// The number of votes that decide, of nodes that agree and do not report `fail`.
const CONFIRMED: usize = 2;

/// The answers of several nodes about one cluster.
#[derive(Debug)]
pub(crate) struct TopologyVote {
    /// The topology up to now.
    known: Map,
    /// There is a reason to think that `known` is wrong.
    is_doubted: bool,
    /// How many nodes are asked.
    electorate: usize,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    map: Map,
    votes: usize,
    /// Votes of nodes that do not say `fail`.
    ok_votes: usize,
    epoch: u64,
    is_known: bool,
}

impl Candidate {
    /// The candidate with the highest rank wins.
    fn rank(&self) -> impl Ord + use<> {
        let (is_ok, is_whole) = (self.ok_votes > 0, self.map.is_whole());
        (is_ok && is_whole, is_ok, is_whole, self.ok_votes, self.votes, self.epoch, self.is_known)
    }
}

impl TopologyVote {
    pub(crate) fn new(known: Map, is_doubted: bool, electorate: usize) -> Self {
        Self { known, is_doubted, electorate, candidates: Vec::new() }
    }

    /// Counts the answer of a node.
    pub(crate) fn add(&mut self, view: NodeView) -> Tally {
        let NodeView { map, health } = view;
        let (is_ok, epoch) = health.map_or((true, 0), |health| (health.is_ok, health.epoch));
        let at = match self.candidates.iter().position(|one| one.map.has_owners_of(&map)) {
            Some(at) => at,
            None => {
                let is_known = map.has_owners_of(&self.known);
                self.candidates.push(Candidate { map, votes: 0, ok_votes: 0, epoch, is_known });
                self.candidates.len() - 1
            }
        };
        let Some(candidate) = self.candidates.get_mut(at) else { return Tally::Open };
        candidate.votes += 1;
        candidate.ok_votes += usize::from(is_ok);
        candidate.epoch = candidate.epoch.max(epoch);
        self.tally(at)
    }

    fn tally(&self, at: usize) -> Tally {
        let Some(candidate) = self.candidates.get(at) else { return Tally::Open };
        let is_sound = candidate.ok_votes > 0 && candidate.map.is_whole();
        let is_confirmed = is_sound && (candidate.ok_votes >= CONFIRMED || candidate.is_known && !self.is_doubted)
            || candidate.votes * 2 > self.electorate;
        let is_first = self.leader().is_some_and(|leader| leader.rank() == candidate.rank());
        if is_confirmed && is_first && !self.is_lone_minority(candidate) {
            Tally::Decided(candidate.map.clone())
        } else if is_sound || self.candidates.iter().map(|one| one.votes).sum::<usize>() > 1 {
            Tally::Contested
        } else {
            Tally::Open
        }
    }

    /// The best of what came, when there is no more time; `None` when nothing came.
    pub(crate) fn close(self) -> Option<Map> {
        let leader = self.leader()?;
        Some(if self.is_lone_minority(leader) { self.known } else { leader.map.clone() })
    }

    fn leader(&self) -> Option<&Candidate> {
        // Of equals the first.
        self.candidates.iter().rev().max_by_key(|one| one.rank())
    }

    /// One node that reports of itself that it reaches no majority does not change the known topology.
    fn is_lone_minority(&self, candidate: &Candidate) -> bool {
        candidate.votes == 1 && candidate.ok_votes == 0 && !self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot::SLOTS;
    use crate::config::HostPort;
    use proptest::prelude::*;

    /// Slots below 100 at the first port, the others at the second one.
    fn map(ports: [u16; 2]) -> Map {
        let mut map = Map::default();
        for slot in 0..SLOTS {
            map.moved(slot, &HostPort { host: "h".to_owned(), port: ports[usize::from(slot >= 100)] });
        }
        map
    }

    fn view(ports: [u16; 2], health: Option<(bool, u64)>) -> NodeView {
        NodeView { map: map(ports), health: health.map(|(is_ok, epoch)| NodeHealth { is_ok, epoch }) }
    }

    const OLD: [u16; 2] = [1, 2];
    const NEW: [u16; 2] = [3, 2];

    #[test]
    fn the_answer_to_cluster_info_is_read() {
        let info =
            "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:7\r\ncluster_my_epoch:2\r\n";
        assert_eq!(NodeHealth::read(info), Some(NodeHealth { is_ok: true, epoch: 7 }));
        assert_eq!(NodeHealth::read("cluster_state:fail\n"), Some(NodeHealth { is_ok: false, epoch: 0 }));
        assert_eq!(NodeHealth::read("OK"), None);
    }

    /// Ablation: maps compared by `==` fail: the last vote is Contested.
    #[test]
    fn two_nodes_that_agree_decide() {
        let mut vote = TopologyVote::new(map(OLD), true, 6);
        assert_eq!(vote.add(view(OLD, Some((true, 1)))), Tally::Contested, "one vote for a doubted topology");
        assert_eq!(vote.add(view(NEW, Some((true, 1)))), Tally::Contested);
        // The same owners, which it lists in another order.
        let mut other_order = view(NEW, Some((true, 1)));
        other_order.map = Map::default();
        for slot in (0..SLOTS).rev() {
            other_order.map.moved(slot, &HostPort { host: "h".to_owned(), port: NEW[usize::from(slot >= 100)] });
        }
        assert_ne!(other_order.map, map(NEW));
        assert_eq!(vote.add(other_order), Tally::Decided(map(NEW)));
    }

    /// Ablation: without `is_ok` and `ok_votes` in the rank the map of before wins.
    #[test]
    fn a_node_without_a_majority_is_outvoted_by_one_that_has_it() {
        let mut vote = TopologyVote::new(map(OLD), true, 6);
        assert_eq!(vote.add(view(OLD, Some((false, 6)))), Tally::Open, "it waits for others");
        assert_eq!(vote.add(view(NEW, Some((true, 6)))), Tally::Contested);
        assert_eq!(vote.close(), Some(map(NEW)));
    }

    /// Ablation: without `is_lone_minority` the first assertion fails: its map is adopted.
    #[test]
    fn a_lone_node_without_a_majority_changes_nothing_that_is_known() {
        let mut vote = TopologyVote::new(map(NEW), true, 1);
        assert_eq!(vote.add(view(OLD, Some((false, 5)))), Tally::Open);
        assert_eq!(vote.close(), Some(map(NEW)));
        let mut vote = TopologyVote::new(Map::default(), true, 1);
        assert_eq!(vote.add(view(OLD, Some((false, 5)))), Tally::Decided(map(OLD)), "nothing else is known");
    }

    #[test]
    fn the_known_topology_needs_one_confirmation_unless_it_is_doubted() {
        let mut vote = TopologyVote::new(map(OLD), false, 6);
        assert_eq!(vote.add(view(OLD, Some((true, 1)))), Tally::Decided(map(OLD)));
        let mut vote = TopologyVote::new(map(OLD), false, 6);
        assert_eq!(vote.add(view(NEW, Some((true, 1)))), Tally::Contested);
        assert_eq!(vote.add(view(NEW, Some((true, 1)))), Tally::Decided(map(NEW)));
    }

    #[test]
    fn votes_and_then_the_epoch_decide_where_no_node_is_well() {
        let mut vote = TopologyVote::new(map(OLD), true, 6);
        for (ports, epoch) in [(OLD, 9), (NEW, 6), (NEW, 6)] {
            vote.add(view(ports, Some((false, epoch))));
        }
        assert_eq!(vote.close(), Some(map(NEW)), "two votes of three");
        let mut vote = TopologyVote::new(map([7, 7]), true, 6);
        for (ports, epoch) in [(OLD, 5), (NEW, 6), (OLD, 5), (NEW, 6)] {
            vote.add(view(ports, Some((false, epoch))));
        }
        assert_eq!(vote.close(), Some(map(NEW)), "the higher epoch");
        let mut vote = TopologyVote::new(map(NEW), true, 6);
        for ports in [OLD, NEW] {
            vote.add(view(ports, None));
        }
        assert_eq!(vote.close(), Some(map(NEW)), "the known one");
        assert_eq!(TopologyVote::new(map(OLD), true, 3).close(), None);
    }

    proptest! {
        /// One primary of three or more is cut off and answers with the topology of before. Whichever nodes answer, and in
        /// whichever order: once a node of the majority has answered, and where CLUSTER INFO is forbidden once two have, the
        /// topology of before is not adopted.
        #[test]
        fn the_map_of_a_node_that_is_cut_off_is_never_adopted(
            may_ask in any::<bool>(), is_doubted in any::<bool>(), order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
            answers in 2..=6_usize, knows_new in any::<bool>(),
        ) {
            // Node 0 is the one that is cut off.
            let health = |node: usize| may_ask.then_some((node != 0, if node == 0 { 5 } else { 6 }));
            let mut vote = TopologyVote::new(map(if knows_new { NEW } else { OLD }), is_doubted, 6);
            let (mut others, mut decided) = (0, None);
            for node in order.into_iter().take(answers) {
                others += usize::from(node != 0);
                if let Tally::Decided(map) = vote.add(view(if node == 0 { OLD } else { NEW }, health(node))) {
                    decided = Some(map);
                    break;
                }
            }
            let by_votes_alone = !may_ask && (others < 2 || !is_doubted && !knows_new);
            if decided.is_some() || !by_votes_alone {
                let winner = decided.or_else(|| vote.close());
                // Without CLUSTER INFO it confirms a known topology that is not doubted.
                prop_assert!(winner == Some(map(NEW)) || by_votes_alone);
            }
        }
    }
}
