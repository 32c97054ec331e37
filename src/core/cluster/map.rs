//! Which node has which slots, as a node of the cluster tells it.

use std::ops::RangeInclusive;

use redis::Value;

use super::slot::SLOTS;
use crate::config::HostPort;

/// More nodes than any cluster has.
const MOST_NODES: usize = 16_384;
const NOBODY: u16 = u16::MAX;

/// One primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) primary: HostPort,
    pub(crate) replicas: Vec<HostPort>,
}

/// The picture of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Map {
    shards: Vec<Shard>,
    owners: Box<[u16]>,
}

impl Default for Map {
    /// Nothing is known.
    fn default() -> Self {
        Self { shards: Vec::new(), owners: vec![NOBODY; usize::from(SLOTS)].into() }
    }
}

impl Map {
    /// Reads the answer to CLUSTER SLOTS of the node `asked`, which may leave out a host that is its own.
    ///
    /// # Errors
    /// In words, when it is no such answer.
    pub(crate) fn read(answer: &Value, asked: &HostPort) -> Result<Self, &'static str> {
        const NO_SLOTS: &str = "the answer to CLUSTER SLOTS is not what it should be";
        let Value::Array(ranges) = answer else { return Err(NO_SLOTS) };
        let mut map = Self::default();
        for range in ranges {
            let Value::Array(range) = range else { return Err(NO_SLOTS) };
            let [Value::Int(first), Value::Int(last), nodes @ ..] = &**range else { return Err(NO_SLOTS) };
            let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot < SLOTS).ok_or(NO_SLOTS);
            let (first, last) = (slot(*first)?, slot(*last)?);
            let mut nodes = nodes.iter().map(|node| address(node, asked).ok_or(NO_SLOTS));
            let Some(primary) = nodes.next().transpose()? else { return Err(NO_SLOTS) };
            let shard = map.shard(primary);
            for replica in nodes {
                let replica = replica?;
                if let Some(shard) = map.shards.get_mut(usize::from(shard))
                    && !shard.replicas.contains(&replica)
                {
                    shard.replicas.push(replica);
                }
            }
            map.give(first..=last, shard);
        }
        if map.shards.len() > MOST_NODES { Err(NO_SLOTS) } else { Ok(map) }
    }

    fn shard(&mut self, primary: HostPort) -> u16 {
        let known = self.shards.iter().position(|shard| shard.primary == primary);
        let at = known.unwrap_or_else(|| {
            self.shards.push(Shard { primary, replicas: Vec::new() });
            self.shards.len() - 1
        });
        u16::try_from(at).unwrap_or(NOBODY)
    }

    fn give(&mut self, slots: RangeInclusive<u16>, shard: u16) {
        let slots = usize::from(*slots.start())..=usize::from(*slots.end());
        if let Some(owners) = self.owners.get_mut(slots) {
            owners.fill(shard);
        }
    }

    /// A node said that the slot is at `to`.
    pub(crate) fn moved(&mut self, slot: u16, to: &HostPort) {
        // It was promoted, then: what it replaces is not its replica.
        for shard in &mut self.shards {
            shard.replicas.retain(|replica| replica != to);
        }
        let shard = self.shard(to.clone());
        self.give(slot..=slot, shard);
    }

    pub(crate) fn shard_of(&self, slot: u16) -> Option<&Shard> {
        let at = *self.owners.get(usize::from(slot))?;
        self.shards.get(usize::from(at))
    }

    pub(crate) fn owner(&self, slot: u16) -> Option<&HostPort> {
        self.shard_of(slot).map(|shard| &shard.primary)
    }

    /// The primaries that have slots, and their replicas.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        let mut has = vec![false; self.shards.len()];
        for owner in &self.owners {
            if let Some(has) = has.get_mut(usize::from(*owner)) {
                *has = true;
            }
        }
        self.shards.iter().zip(has).filter_map(|(shard, has)| has.then_some(shard))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owners.iter().all(|owner| *owner == NOBODY)
    }

    /// Whether every slot has an owner.
    pub(crate) fn is_whole(&self) -> bool {
        self.owners.iter().all(|owner| *owner != NOBODY)
    }

    /// The slots of a primary, in ranges.
    pub(crate) fn slots_of(&self, primary: &HostPort) -> Vec<RangeInclusive<u16>> {
        let Some(at) = self.shards.iter().position(|shard| shard.primary == *primary) else { return Vec::new() };
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for (slot, owner) in (0..SLOTS).zip(&self.owners) {
            if usize::from(*owner) != at {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == slot => *last = *last.start()..=slot,
                _ => ranges.push(slot..=slot),
            }
        }
        ranges
    }
}

/// A node as CLUSTER SLOTS tells it: host, port, and more that nobody needs here.
fn address(node: &Value, asked: &HostPort) -> Option<HostPort> {
    let Value::Array(node) = node else { return None };
    let [host, Value::Int(port), ..] = &**node else { return None };
    let port = u16::try_from(*port).ok().filter(|port| *port != 0)?;
    let host = match host {
        Value::Nil => None,
        Value::BulkString(host) => Some(std::str::from_utf8(host).ok()?),
        Value::SimpleString(host) => Some(host.as_str()),
        _ => return None,
    };
    // It does not know its own name, or shall not tell it.
    let host = host.filter(|host| !matches!(*host, "" | "?")).unwrap_or(&asked.host);
    Some(HostPort { host: host.to_owned(), port })
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.shards).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(port: u16) -> HostPort {
        HostPort { host: "h".to_owned(), port }
    }

    fn node(host: Value, port: u16) -> Value {
        Value::Array(vec![host, Value::Int(port.into()), Value::BulkString(b"id".to_vec()), Value::Array(vec![])])
    }

    fn range(first: u16, last: u16, ports: &[u16]) -> Value {
        let nodes = ports.iter().map(|port| node(Value::BulkString(b"h".to_vec()), *port));
        Value::Array([Value::Int(first.into()), Value::Int(last.into())].into_iter().chain(nodes).collect())
    }

    #[test]
    fn an_answer_is_read() {
        let answer = Value::Array(vec![range(0, 5, &[1, 4]), range(6, 16383, &[2, 5]), range(3, 3, &[2, 6])]);
        let map = Map::read(&answer, &at(1)).expect("an answer");
        assert_eq!((map.owner(0), map.owner(3), map.owner(16383)), (Some(&at(1)), Some(&at(2)), Some(&at(2))));
        assert!(map.is_whole());
        assert_eq!(map.slots_of(&at(1)), [0..=2, 4..=5]);
        assert_eq!(map.slots_of(&at(2)), [3..=3, 6..=16383]);
        assert_eq!(map.shard_of(9).map(|shard| shard.replicas.clone()), Some(vec![at(5), at(6)]));
        for host in [Value::Nil, Value::BulkString(b"".to_vec()), Value::BulkString(b"?".to_vec())] {
            let answer = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(0), node(host, 9)])]);
            assert_eq!(Map::read(&answer, &at(1)).expect("an answer").owner(0), Some(&at(9)), "as the one asked");
        }
        for wrong in [
            Value::Okay,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16384, &[1])]),
            Value::Array(vec![range(0, 1, &[])]),
            Value::Array(vec![range(0, 1, &[0])]),
        ] {
            Map::read(&wrong, &at(1)).expect_err("no such answer");
        }
    }

    #[test]
    fn what_a_node_says_of_one_slot_is_learnt() {
        let mut map = Map::read(&Value::Array(vec![range(0, 16383, &[1, 4])]), &at(1)).expect("an answer");
        map.moved(7, &at(4));
        assert_eq!((map.owner(6), map.owner(7)), (Some(&at(1)), Some(&at(4))));
        assert_eq!(map.shards().count(), 2);
        assert!(map.shard_of(6).is_some_and(|shard| shard.replicas.is_empty()));
    }

    proptest! {
        /// Ranges and owners are two views of one thing.
        #[test]
        fn ranges_are_the_slots_of_their_owners(moves in proptest::collection::vec((0..SLOTS, 1..5_u16), 0..50)) {
            let mut map = Map::read(&Value::Array(vec![range(0, 16383, &[1])]), &at(1)).expect("an answer");
            for (slot, port) in &moves {
                map.moved(*slot, &at(*port));
            }
            let mut told = 0;
            for shard in map.shards() {
                for slots in map.slots_of(&shard.primary) {
                    for slot in slots {
                        prop_assert_eq!(map.owner(slot), Some(&shard.primary));
                        told += 1;
                    }
                }
            }
            prop_assert_eq!(told, SLOTS);
        }
    }
}
