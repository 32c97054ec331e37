//! Commands of many keys, which mean the same in parts: the keys of each slot are a part.
//!
//! The keys are read, and the parts are made, in portions: one turn with a command of 80,000 keys would delay the other actors of
//! its thread by 30 ms.

use super::merge::{Merge, Places};
use super::slot::{SLOTS, Slots};
use crate::frame::Frame;

/// The maximum number of keys of a part.
pub(crate) const LARGEST_PART: usize = 2_000;

/// A command whose keys are being read.
pub(crate) struct KeySplit {
    name: String,
    merge: Merge,
    /// How many words a key has: with its value, two.
    words: usize,
    /// Of each key its slot, and where it begins in the command.
    keys: Vec<(u16, u32)>,
    /// Where the next key begins.
    offset: usize,
}

impl KeySplit {
    /// `None`: the command has another meaning in parts.
    pub(crate) fn of(frame: &Frame) -> Option<Self> {
        let name = frame.name();
        let (merge, words) = match name.as_str() {
            "MGET" => (Merge::Places(Places::default()), 1),
            "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => (Merge::Sum, 1),
            "MSET" => (Merge::First, 2),
            _ => return None,
        };
        let (_, offset) = frame.word_at(0)?;
        Some(Self { name, merge, words, keys: Vec::new(), offset })
    }

    /// Reads up to `most` further keys of the same command. Returns whether these were the last ones; `None` when a key has no
    /// value.
    pub(crate) fn read(&mut self, frame: &Frame, slots: &Slots, most: usize) -> Option<bool> {
        for _ in 0..most {
            let Some((key, mut next)) = frame.word_at(self.offset) else { break };
            self.keys.push((slots.of(key), u32::try_from(self.offset).ok()?));
            for _ in 1..self.words {
                next = frame.word_at(next)?.1;
            }
            self.offset = next;
        }
        Some(frame.word_at(self.offset).is_none())
    }

    /// The parts, by slot, when all keys were read. Keys of one slot keep their order.
    pub(crate) fn into_parts(self) -> KeyParts {
        let Self { name, merge, words, keys, .. } = self;
        // A sort by counting: with a comparison it would be the longest step of all.
        let mut next = vec![0_u32; usize::from(SLOTS) + 1];
        for (slot, _) in &keys {
            if let Some(count) = next.get_mut(usize::from(*slot) + 1) {
                *count += 1;
            }
        }
        let (mut total, mut ends) = (0, Vec::new());
        for start in &mut next {
            let keys = *start;
            total += keys;
            *start = total;
            let first = total - keys;
            ends.extend((first..total).skip(LARGEST_PART).step_by(LARGEST_PART));
            ends.extend((keys > 0).then_some(total));
        }
        let mut order = vec![0_u32; keys.len()];
        for (index, (slot, _)) in (0_u32..).zip(&keys) {
            if let Some(at) = next.get_mut(usize::from(*slot)) {
                if let Some(place) = order.get_mut(*at as usize) {
                    *place = index;
                }
                *at += 1;
            }
        }
        KeyParts { name, merge, words, keys, places: Places { order, ends } }
    }
}

/// The parts of a command.
pub(crate) struct KeyParts {
    name: String,
    merge: Merge,
    words: usize,
    keys: Vec<(u16, u32)>,
    places: Places,
}

impl KeyParts {
    pub(crate) fn len(&self) -> usize {
        self.places.ends.len()
    }

    /// How many keys the command has.
    pub(crate) fn count_keys(&self) -> usize {
        self.keys.len()
    }

    /// How many keys a part has.
    pub(crate) fn count_keys_of(&self, nth: usize) -> usize {
        self.places.of_part(nth).len()
    }

    /// The slot of all keys, if it is one.
    pub(crate) fn only_slot(&self) -> Option<u16> {
        let slot_of = |index: &u32| self.keys.get(*index as usize).map(|(slot, _)| *slot);
        let (first, last) = (self.places.order.first().and_then(slot_of), self.places.order.last().and_then(slot_of));
        first.filter(|_| first == last)
    }

    /// A part of this command, and the slot that it is for.
    pub(crate) fn part(&self, nth: usize, frame: &Frame) -> Option<(u16, Frame)> {
        let places = self.places.of_part(nth);
        let (slot, _) = *self.keys.get(*places.first()? as usize)?;
        let mut part = Frame::known(&self.name);
        for place in places {
            let (_, offset) = *self.keys.get(*place as usize)?;
            let (key, mut next) = frame.word_at(offset as usize)?;
            part = part.key(key);
            for _ in 1..self.words {
                let (word, behind) = frame.word_at(next)?;
                (part, next) = (part.arg(word), behind);
            }
        }
        Some((slot, part.like(frame)))
    }

    /// How the replies to the parts become one.
    pub(crate) fn to_merge(&self) -> Merge {
        match &self.merge {
            Merge::Places(_) => Merge::Places(self.places.clone()),
            merge => merge.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(frame: &Frame) -> Vec<String> {
        frame.args().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn keys_of_one_slot_are_one_part_in_their_order() {
        let frame = Frame::known("MSET").key("{a}1").arg(1).key("b").arg(2).key("{a}2").arg(3).key("{a}1").arg(4);
        let slots = Slots::new(b"");
        let mut split = KeySplit::of(&frame).expect("it can be split");
        assert_eq!(split.read(&frame, &slots, 3), Some(false));
        assert_eq!(split.read(&frame, &slots, 3), Some(true));
        let parts = split.into_parts();
        assert_eq!((parts.len(), parts.count_keys(), parts.only_slot()), (2, 4, None));
        let mut all: Vec<_> = (0..2).map(|nth| words(&parts.part(nth, &frame).expect("a part").1)).collect();
        all.sort();
        assert_eq!(all, [vec!["MSET", "b", "2"], vec!["MSET", "{a}1", "1", "{a}2", "3", "{a}1", "4"]]);
    }

    #[test]
    fn a_key_without_a_value_and_other_commands_cannot_be_split() {
        let odd = Frame::known("MSET").key("a").arg(1).key("b");
        assert_eq!(KeySplit::of(&odd).expect("MSET").read(&odd, &Slots::new(b""), 9), None);
        assert!(KeySplit::of(&Frame::known("SUNION").key("a").key("b")).is_none());
    }

    #[test]
    fn a_part_has_a_maximum_number_of_keys() {
        let keys = LARGEST_PART * 2 + 1;
        let frame = Frame::known("DEL").keys((0..keys).map(|nth| format!("{{a}}{nth}"))).key("b");
        let mut split = KeySplit::of(&frame).expect("DEL");
        assert_eq!(split.read(&frame, &Slots::new(b""), usize::MAX), Some(true));
        let parts = split.into_parts();
        let mut counts: Vec<_> = (0..parts.len()).map(|nth| parts.count_keys_of(nth)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, LARGEST_PART, LARGEST_PART]);
    }

    proptest! {
        /// In whatever portions the keys are read: each is in one part, which is for its slot, and a reply of the parts is put
        /// together in the order of the keys.
        #[test]
        fn every_key_is_in_one_part_of_its_slot(keys in proptest::collection::vec("[a-c]{1,2}", 1..40), most in 1..9_usize) {
            let (frame, slots) = (Frame::known("MGET").keys(&keys), Slots::new(b"p:"));
            let mut split = KeySplit::of(&frame).expect("MGET");
            let mut portions = 1;
            while !split.read(&frame, &slots, most).expect("keys") {
                portions += 1;
            }
            prop_assert_eq!(portions, keys.len().div_ceil(most));
            let parts = split.into_parts();
            let mut replies = Vec::new();
            for nth in 0..parts.len() {
                let (slot, part) = parts.part(nth, &frame).expect("a part");
                prop_assert!(part.args().skip(1).all(|key| slots.of(key) == slot));
                prop_assert_eq!(part.args().count() - 1, parts.count_keys_of(nth));
                replies.push(redis::Value::Array(
                    part.args().skip(1).map(|key| redis::Value::BulkString(key.to_vec())).collect(),
                ));
            }
            let whole = redis::Value::Array(keys.iter().map(|key| redis::Value::BulkString(key.clone().into())).collect());
            prop_assert_eq!(parts.to_merge().apply(replies), whole);
        }
    }
}
