//! Decides whether a cluster node receives the messages that are published on other nodes.
//!
//! Published messages are sent over the cluster bus. A node that is cut off from the bus still serves its clients.

use std::collections::BTreeSet;

use crate::cluster::node_table::NodeLine;

/// One node's view of the other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// The id of the node itself.
    id: String,
    /// Whether it reaches most of the primaries with slots, including itself. A node that cannot reach a minority
    /// belongs to the majority, and most clients miss the same messages.
    reaches_most: bool,
    /// The ids of nodes that most primaries consider unreachable.
    failed: BTreeSet<String>,
}

impl View {
    /// Parses the reply to CLUSTER NODES; `None` if it is not such a reply.
    pub(crate) fn read(answer: &str) -> Option<Self> {
        let (mut voters, mut reached, mut own, mut failed) = (0_usize, 0_usize, None, BTreeSet::new());
        for line in answer.lines() {
            let node = NodeLine::read(line)?;
            if node.has_flag("myself") {
                own = Some(node.id.to_owned());
            }
            if node.has_flag("fail") {
                failed.insert(node.id.to_owned());
            }
            // A moving slot is in brackets, and does not make the node an owner.
            let has_slots = node.slots().any(|slot| !slot.starts_with('['));
            if node.has_flag("master") && has_slots {
                voters += 1;
                reached += usize::from(!node.has_flag("fail") && !node.has_flag("fail?"));
            }
        }
        let id = own.filter(|_| voters > 0)?;
        Some(Self { id, reaches_most: reached * 2 > voters, failed })
    }
}

/// The reachability of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// It does not report its view.
    Unknown,
    /// It belongs to the majority.
    Member,
    /// It is cut off from the majority.
    Isolated,
    /// It reaches no majority, and no other node that does is known.
    NoMajority,
}

/// Classifies a node by its own view and those of others. If packets are lost in one direction only, its own view may
/// be healthy.
pub(crate) fn judge(own: Option<&View>, others: &[View]) -> Reachability {
    let Some(own) = own else { return Reachability::Unknown };
    let majority: Vec<&View> = others.iter().filter(|other| other.reaches_most).collect();
    match (own.reaches_most, majority.is_empty()) {
        _ if majority.iter().any(|other| other.failed.contains(&own.id)) => Reachability::Isolated,
        (true, _) => Reachability::Member,
        (false, false) => Reachability::Isolated,
        (false, true) => Reachability::NoMajority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, flags: &str, slots: &str) -> String {
        format!("{id} 127.0.0.1:1@2 {flags} - 0 1 1 connected{slots}\n")
    }

    /// The view of `own` among three primaries, some of which it does not reach.
    fn view(own: &str, flag: &str, missed: &[&str]) -> View {
        let line = |id: &str| {
            let mut flags = if id == own { "myself,master".to_owned() } else { "master".to_owned() };
            if missed.contains(&id) {
                flags = format!("{flags},{flag}");
            }
            node(id, &flags, " 0-5460 [5461->-a]")
        };
        // A replica and a primary without slots do not count.
        let others = [node("d", "slave,fail", ""), node("e", "master,fail", " [5462-<-b]")];
        View::read(&["a", "b", "c"].map(line).into_iter().chain(others).collect::<String>()).expect("an answer")
    }

    #[test]
    fn a_node_that_misses_most_primaries_is_isolated() {
        let well = || vec![view("b", "fail?", &["a"]), view("c", "fail?", &["a"])];
        let judge_a = |missed: &[&str], others: &[View]| judge(Some(&view("a", "fail?", missed)), others);
        assert_eq!(judge_a(&[], &well()), Reachability::Member, "one other node suspects it");
        assert_eq!(judge_a(&["b"], &well()), Reachability::Member);
        assert_eq!(judge_a(&["b", "c"], &well()), Reachability::Isolated);
        assert_eq!(judge_a(&["b", "c"], &[]), Reachability::NoMajority, "no other node is reached");
        assert_eq!(judge_a(&["b", "c"], &[view("b", "fail?", &["a", "c"])]), Reachability::NoMajority);
        assert_eq!(judge(None, &well()), Reachability::Unknown);
    }

    #[test]
    fn a_node_that_others_agree_not_to_reach_is_isolated() {
        let own = view("a", "fail?", &[]);
        assert_eq!(judge(Some(&own), &[view("b", "fail", &["a"])]), Reachability::Isolated);
        assert_eq!(
            judge(Some(&own), &[view("b", "fail", &["a", "c"])]),
            Reachability::Member,
            "reported by a node without a majority"
        );
        assert_eq!(judge(Some(&own), &[view("b", "fail", &["c"])]), Reachability::Member);
    }

    #[test]
    fn a_replica_is_judged_as_a_primary() {
        let answer = [node("r", "myself,slave", ""), node("b", "master,fail?", " 0-16383")].concat();
        let own = View::read(&answer).expect("an answer");
        assert_eq!(judge(Some(&own), &[view("b", "fail?", &[])]), Reachability::Isolated);
    }

    #[test]
    fn other_replies_are_not_a_view() {
        for answer in ["", "OK", "a b\n", &node("a", "master", " 0-5"), &node("a", "myself,master", "")] {
            assert_eq!(View::read(answer), None, "{answer}");
        }
    }
}
