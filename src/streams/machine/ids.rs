//! Tables by the id of an entry.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::messages::stream_id::StreamId;

/// What is kept for each of a few thousand entries at most, and asked for several times during each one's stay.
pub(crate) type IdMap<V> = HashMap<StreamId, V, BuildHasherDefault<IdHasher>>;

/// Multiplies and folds: ids are two numbers that mostly grow, which is all the spreading they need.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ number.rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::Hash;

    #[test]
    fn ids_that_come_one_after_the_other_are_spread() {
        for ids in [
            (0..4096).map(|n| StreamId::new(1_700_000_000_000 + n, 0)).collect::<Vec<_>>(),
            (0..4096).map(|n| StreamId::new(1_700_000_000_000, n)).collect(),
        ] {
            let hashes = ids.iter().map(|id| {
                let mut hasher = IdHasher::default();
                id.hash(&mut hasher);
                hasher.finish()
            });
            let (low, high): (HashSet<_>, HashSet<_>) = hashes.map(|hash| (hash & 0xfff, hash >> 57)).unzip();
            assert!(low.len() > 2000, "only {} of 4096 places", low.len());
            assert!(high.len() > 60, "only {} of 128 tags", high.len());
        }
    }
}
