//! Which node has which slots, from the reply to CLUSTER SLOTS.

use std::ops::RangeInclusive;

use redis::Value;

use super::slot::SLOTS;
use crate::config::HostPort;

/// More nodes than any cluster has.
const MOST_NODES: usize = 16_384;
const NO_OWNER: u16 = u16::MAX;

/// One primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) primary: HostPort,
    pub(crate) replicas: Vec<HostPort>,
}

/// Which primary has which slots, and the replicas of each.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Map {
    shards: Vec<Shard>,
    owners: Box<[u16]>,
    /// How many slots have an owner. Every submitted command asks whether there is one, so this is not counted then.
    owned: u16,
}

impl Default for Map {
    /// Nothing is known.
    fn default() -> Self {
        Self { shards: Vec::new(), owners: vec![NO_OWNER; usize::from(SLOTS)].into(), owned: 0 }
    }
}

impl Map {
    /// Reads the answer to CLUSTER SLOTS of the node `asked`, which may leave out a host that is its own.
    ///
    /// Entries that make no sense or name no address are skipped. A primary without an address leaves its slots without
    /// an owner, so that other nodes are asked for them.
    ///
    /// `reachable` turns the address that a node announces into one that can be dialled from here.
    ///
    /// # Errors
    /// In words, when it is no such answer, or no entry of it can be used.
    pub(crate) fn read(
        answer: &Value,
        asked: &HostPort,
        reachable: impl Fn(HostPort) -> HostPort,
    ) -> Result<Self, &'static str> {
        const NO_SLOTS: &str = "the answer to CLUSTER SLOTS is not what it should be";
        let Value::Array(ranges) = answer else { return Err(NO_SLOTS) };
        let mut map = Self::default();
        let mut skipped = 0;
        let endpoint = |node: &Value| endpoint(node, asked).map(&reachable);
        for range in ranges {
            if map.read_range(range, endpoint).is_none() {
                skipped += 1;
            }
        }
        if map.shards.len() > MOST_NODES || (skipped > 0 && map.is_empty()) { Err(NO_SLOTS) } else { Ok(map) }
    }

    /// Reads one entry: the first and last slot, the primary, the replicas. `None`: it cannot be used.
    fn read_range(&mut self, range: &Value, endpoint: impl Fn(&Value) -> Option<HostPort>) -> Option<()> {
        let Value::Array(range) = range else { return None };
        let [Value::Int(first), Value::Int(last), primary, replicas @ ..] = &**range else { return None };
        let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot < SLOTS);
        let (first, last) = (slot(*first)?, slot(*last)?);
        let shard = self.shard(endpoint(primary)?);
        if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
            for replica in replicas.iter().filter_map(&endpoint) {
                if replica != shard.primary && !shard.replicas.contains(&replica) {
                    shard.replicas.push(replica);
                }
            }
        }
        self.give(first..=last, shard);
        Some(())
    }

    fn shard(&mut self, primary: HostPort) -> u16 {
        let known = self.shards.iter().position(|shard| shard.primary == primary);
        let at = known.unwrap_or_else(|| {
            self.shards.push(Shard { primary, replicas: Vec::new() });
            self.shards.len() - 1
        });
        u16::try_from(at).unwrap_or(NO_OWNER)
    }

    fn give(&mut self, slots: RangeInclusive<u16>, shard: u16) {
        let slots = usize::from(*slots.start())..=usize::from(*slots.end());
        if let Some(owners) = self.owners.get_mut(slots) {
            let fresh = owners.iter().filter(|owner| **owner == NO_OWNER).count();
            owners.fill(shard);
            self.owned += u16::try_from(fresh).unwrap_or_default();
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

    /// Whether each slot has the same owner in both.
    pub(crate) fn has_owners_of(&self, other: &Self) -> bool {
        // The number that a shard of this map has in the other one.
        let mut numbers: Vec<Option<u16>> = vec![None; self.shards.len()];
        let primary = |map: &Self, at: u16| map.shards.get(usize::from(at)).map(|shard| shard.primary.clone());
        self.owned == other.owned
            && self.owners.iter().zip(&other.owners).all(|(here, there)| {
                let Some(number) = numbers.get_mut(usize::from(*here)) else { return here == there };
                if number.is_none() {
                    *number = Some(*there).filter(|there| primary(self, *here) == primary(other, *there));
                }
                *number == Some(*there)
            })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owned == 0
    }

    /// Whether every slot has an owner.
    pub(crate) fn is_whole(&self) -> bool {
        self.owned == SLOTS
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

/// The address of a node in CLUSTER SLOTS: host, port, id, and from Redis 7.0 on pairs of further names.
///
/// A node that listens on a TLS port only has port 0 for clients without TLS. A null or empty host is that of the node
/// which was asked. `?` stands for a host name that is not known: then the further names hold the address.
fn endpoint(node: &Value, asked: &HostPort) -> Option<HostPort> {
    let Value::Array(node) = node else { return None };
    let [host, Value::Int(port), more @ ..] = &**node else { return None };
    let port = u16::try_from(*port).ok().filter(|port| *port != 0)?;
    let host = match host {
        Value::Nil => "",
        host => text(host)?,
    };
    let host = match host {
        "" => &asked.host,
        "?" => more.get(1).and_then(named_host).unwrap_or(&asked.host),
        host => host,
    };
    Some(HostPort { host: host.to_owned(), port })
}

/// The host name of a node, or else its IP address, out of its further names.
fn named_host(names: &Value) -> Option<&str> {
    let name = |wanted: &str| {
        let pairs = match names {
            Value::Array(words) => words.chunks_exact(2).find_map(|pair| match pair {
                [key, value] if text(key) == Some(wanted) => text(value),
                _ => None,
            }),
            Value::Map(pairs) => {
                pairs.iter().find_map(|(key, value)| text(value).filter(|_| text(key) == Some(wanted)))
            }
            _ => None,
        };
        pairs.filter(|value| !matches!(*value, "" | "?"))
    };
    name("hostname").or_else(|| name("ip"))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
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

    fn as_it_is(address: HostPort) -> HostPort {
        address
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
        let map = Map::read(&answer, &at(1), as_it_is).expect("an answer");
        assert_eq!((map.owner(0), map.owner(3), map.owner(16383)), (Some(&at(1)), Some(&at(2)), Some(&at(2))));
        assert!(map.is_whole());
        assert_eq!(map.slots_of(&at(1)), [0..=2, 4..=5]);
        assert_eq!(map.slots_of(&at(2)), [3..=3, 6..=16383]);
        assert_eq!(map.shard_of(9).map(|shard| shard.replicas.clone()), Some(vec![at(5), at(6)]));
        for host in [Value::Nil, Value::BulkString(b"".to_vec()), Value::BulkString(b"?".to_vec())] {
            let answer = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(0), node(host, 9)])]);
            assert_eq!(
                Map::read(&answer, &at(1), as_it_is).expect("an answer").owner(0),
                Some(&at(9)),
                "as the one asked"
            );
        }
        for wrong in [
            Value::Okay,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16384, &[1])]),
            Value::Array(vec![range(0, 1, &[])]),
            Value::Array(vec![range(0, 1, &[0])]),
        ] {
            Map::read(&wrong, &at(1), as_it_is).expect_err("no such answer");
        }
    }

    /// Ablation: one odd entry that spoils the answer fails with "the answer to CLUSTER SLOTS is not what it should be".
    #[test]
    fn odd_entries_of_an_answer_are_skipped_and_the_rest_is_used() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let odd = [
            // A replica, and then a primary, that listen on a TLS port only.
            range(0, 99, &[1, 0]),
            range(100, 199, &[0, 4]),
            Value::Int(7),
            range(300, 16_384, &[2]),
            Value::Array(vec![Value::Int(400), Value::Int(499), Value::Array(vec![Value::Int(1), Value::Int(2)])]),
            range(500, 599, &[3, 5]),
        ];
        let map = Map::read(&Value::Array(odd.into()), &at(1), as_it_is).expect("an answer");
        assert_eq!((map.owner(50), map.owner(550)), (Some(&at(1)), Some(&at(3))));
        assert_eq!([150, 250, 350, 450].map(|slot| map.owner(slot)), [None; 4]);
        assert!(map.shard_of(50).is_some_and(|shard| shard.replicas.is_empty()));
        assert!(!map.is_whole() && !map.is_empty());

        let unnamed = |names: Value| {
            let node = Value::Array(vec![bulk("?"), Value::Int(9), bulk("id"), names]);
            let answer = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16_383), node])]);
            Map::read(&answer, &at(1), as_it_is).expect("an answer").owner(0).expect("an owner").host.clone()
        };
        assert_eq!(unnamed(Value::Array(vec![bulk("ip"), bulk("10.0.0.9")])), "10.0.0.9");
        assert_eq!(unnamed(Value::Map(vec![(bulk("ip"), bulk("10.0.0.9"))])), "10.0.0.9");
        let both = vec![bulk("ip"), bulk("10.0.0.9"), bulk("hostname"), bulk("node9")];
        assert_eq!(unnamed(Value::Array(both)), "node9");
        assert_eq!(unnamed(Value::Array(vec![bulk("hostname"), bulk("")])), "h");
    }

    #[test]
    fn what_a_node_says_of_one_slot_is_learnt() {
        let mut map = Map::read(&Value::Array(vec![range(0, 16383, &[1, 4])]), &at(1), as_it_is).expect("an answer");
        map.moved(7, &at(4));
        assert_eq!((map.owner(6), map.owner(7)), (Some(&at(1)), Some(&at(4))));
        assert_eq!(map.shards().count(), 2);
        assert!(map.shard_of(6).is_some_and(|shard| shard.replicas.is_empty()));
    }

    #[test]
    fn maps_are_compared_by_the_owners_of_slots() {
        let map = |ranges: &[(u16, u16, &[u16])]| {
            let ranges = ranges.iter().map(|(first, last, ports)| range(*first, *last, ports)).collect();
            Map::read(&Value::Array(ranges), &at(1), as_it_is).expect("an answer")
        };
        let whole = map(&[(0, 9, &[1, 4]), (10, 16_383, &[2])]);
        assert!(whole.has_owners_of(&map(&[(10, 16_383, &[2, 5]), (0, 9, &[1])])), "in another order, other replicas");
        for other in
            [map(&[(0, 10, &[1]), (11, 16_383, &[2])]), map(&[(0, 9, &[1])]), map(&[(0, 16_383, &[1])]), Map::default()]
        {
            assert!(!whole.has_owners_of(&other) && !other.has_owners_of(&whole), "{other:?}");
        }
        assert!(Map::default().has_owners_of(&Map::default()));
    }

    proptest! {
        /// Ranges and owners are two views of one thing.
        #[test]
        fn ranges_are_the_slots_of_their_owners(moves in proptest::collection::vec((0..SLOTS, 1..5_u16), 0..50)) {
            let mut map = Map::read(&Value::Array(vec![range(0, 16383, &[1])]), &at(1), as_it_is).expect("an answer");
            for (slot, port) in &moves {
                map.moved(*slot, &at(*port));
            }
            let mut node_events = 0;
            for shard in map.shards() {
                for slots in map.slots_of(&shard.primary) {
                    for slot in slots {
                        prop_assert_eq!(map.owner(slot), Some(&shard.primary));
                        node_events += 1;
                    }
                }
            }
            prop_assert_eq!(node_events, SLOTS);
            prop_assert!(map.is_whole());
        }
    }
}
