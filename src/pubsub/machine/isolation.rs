//! Whether a node of a cluster hears what is published in the rest of it.
//!
//! What is published travels over the cluster bus. A node that is cut off from it answers its clients as before.

use std::collections::BTreeSet;

/// How one node sees the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Its own id.
    id: String,
    /// It reaches most of the primaries with slots, itself included. A node that misses a minority is one of those that go
    /// on, and what it misses is missed by most.
    reaches_most: bool,
    /// The ids of nodes that most primaries have agreed not to reach.
    failed: BTreeSet<String>,
}

impl View {
    /// Reads the answer to CLUSTER NODES; `None` when it is no such answer.
    pub(crate) fn read(answer: &str) -> Option<Self> {
        let (mut voters, mut reached, mut own, mut failed) = (0_usize, 0_usize, None, BTreeSet::new());
        for line in answer.lines() {
            // id, address, flags, primary, ping, pong, epoch, link state, slots
            let fields: Vec<&str> = line.split(' ').collect();
            let (id, flags) = (*fields.first()?, fields.get(2)?.split(',').collect::<Vec<_>>());
            if flags.contains(&"myself") {
                own = Some(id.to_owned());
            }
            if flags.contains(&"fail") {
                failed.insert(id.to_owned());
            }
            // A slot that moves is in brackets, and belongs to nobody by that.
            let has_slots = fields.iter().skip(8).any(|slot| !slot.is_empty() && !slot.starts_with('['));
            if flags.contains(&"master") && has_slots {
                voters += 1;
                reached += usize::from(!flags.iter().any(|flag| matches!(*flag, "fail" | "fail?")));
            }
        }
        let id = own.filter(|_| voters > 0)?;
        Some(Self { id, reaches_most: reached * 2 > voters, failed })
    }
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// It does not say how it sees the others.
    Unknown,
    /// It is one of those that go on.
    Member,
    /// It is cut off from them.
    Isolated,
    /// It reaches no majority, and no other node is known to.
    NoMajority,
}

/// Judges a node by its own view and those of others. Where packets get lost in one direction only, its own view may be fine.
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

    /// What `own` says of three primaries, of which it does not reach some.
    fn view(own: &str, flag: &str, missed: &[&str]) -> View {
        let line = |id: &str| {
            let mut flags = if id == own { "myself,master".to_owned() } else { "master".to_owned() };
            if missed.contains(&id) {
                flags = format!("{flags},{flag}");
            }
            node(id, &flags, " 0-5460 [5461->-a]")
        };
        // Neither of these counts: a replica, and one without slots.
        let others = [node("d", "slave,fail", ""), node("e", "master,fail", " [5462-<-b]")];
        View::read(&["a", "b", "c"].map(line).into_iter().chain(others).collect::<String>()).expect("an answer")
    }

    #[test]
    fn a_node_that_misses_most_primaries_is_isolated() {
        let well = || vec![view("b", "fail?", &["a"]), view("c", "fail?", &["a"])];
        let judge_a = |missed: &[&str], others: &[View]| judge(Some(&view("a", "fail?", missed)), others);
        assert_eq!(judge_a(&[], &well()), Reachability::Member, "one other node has a doubt");
        assert_eq!(judge_a(&["b"], &well()), Reachability::Member);
        assert_eq!(judge_a(&["b", "c"], &well()), Reachability::Isolated);
        assert_eq!(judge_a(&["b", "c"], &[]), Reachability::NoMajority, "nobody else is reached");
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
            "said by one without majority"
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
    fn another_answer_is_no_view() {
        for answer in ["", "OK", "a b\n", &node("a", "master", " 0-5"), &node("a", "myself,master", "")] {
            assert_eq!(View::read(answer), None, "{answer}");
        }
    }
}
