//! Access to the words and the keys of a command, for cluster routing.

use std::num::NonZeroU16;

use super::{Frame, Mark, Unit, Words};

/// One command, alone or in a unit.
pub(crate) struct View<'a> {
    /// Starts with its name; in a unit the following commands may come after it.
    words: &'a [u8],
    /// The buffer to which the offsets of the marks refer.
    encoded: &'a [u8],
    marks: &'a [Mark],
}

impl<'a> View<'a> {
    /// Its words. For a command in a unit the iterator continues with those of the next commands.
    pub(crate) fn words(&self) -> impl Iterator<Item = &'a [u8]> {
        Words(self.words)
    }

    /// Its keys and channels, without the prefix.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        let encoded = self.encoded;
        let keys = self.marks.iter().filter(|mark| mark.selects_slot());
        keys.map(move |mark| {
            encoded.get(mark.insert() as usize..mark.body() as usize + mark.len() as usize).unwrap_or_default()
        })
    }
}

impl<'a> View<'a> {
    /// Its keys and channels in order, each with the offset at which the prefix is inserted.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'a [u8], usize)> {
        let encoded = self.encoded;
        self.marks.iter().filter(|mark| mark.selects_slot()).map(move |mark| {
            let (body, insert) = (mark.body() as usize, mark.insert() as usize);
            (encoded.get(body..body + mark.len() as usize).unwrap_or_default(), insert - body)
        })
    }

    /// Whether it is PUBLISH or PUBSUB: their channels exist at every node, whatever slot a key of that name would
    /// have.
    pub(crate) fn is_of_all_nodes(&self) -> bool {
        // `$7\r\nPUBLISH` or `$6\r\nPUBSUB`: this byte excludes most other commands.
        matches!(self.words.get(4), Some(b'P' | b'p'))
            && self
                .words()
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(b"PUBLISH") || name.eq_ignore_ascii_case(b"PUBSUB"))
    }
}

impl Frame {
    pub(crate) fn view(&self) -> View<'_> {
        View { words: &self.encoded, encoded: &self.encoded, marks: &self.marks }
    }

    /// The word that begins at this offset, 0 for the name, and the offset of the next one.
    pub(crate) fn word_at(&self, offset: usize) -> Option<(&[u8], usize)> {
        let mut words = Words(self.encoded.get(offset..)?);
        let word = words.next()?;
        Some((word, self.encoded.len() - words.0.len()))
    }

    /// How many names it has that get the prefix.
    pub(crate) fn count_names(&self) -> usize {
        self.marks.len()
    }

    /// Sends the frame to the owner of this slot, regardless of its keys.
    pub(crate) fn on_slot(mut self, slot: u16) -> Self {
        self.traits.slot = NonZeroU16::new(slot + 1);
        self
    }

    pub(crate) fn own_slot(&self) -> Option<u16> {
        self.traits.slot.map(|number| number.get() - 1)
    }

    /// Gives a part of `whole` the options of the whole.
    pub(crate) fn like(mut self, whole: &Self) -> Self {
        self.traits.repeatable = whole.is_repeatable();
        self.traits.when_down = whole.traits.when_down;
        (self.traits.reads, self.traits.read_from) = (whole.reads(), whole.traits.read_from);
        (self.timeout, self.hold) = (whole.timeout, whole.hold);
        self
    }
}

impl Unit {
    /// The command at `index`.
    pub(crate) fn view(&self, index: usize) -> Option<View<'_>> {
        let part = self.parts.get(index)?;
        let segment = self.segments.get(part.segment as usize)?;
        let end = self.parts.get(index + 1).filter(|next| next.segment == part.segment).map(|next| next.start);
        let from = segment.marks.partition_point(|mark| mark.header() < part.start);
        let to = end.map_or(segment.marks.len(), |end| segment.marks.partition_point(|mark| mark.header() < end));
        Some(View {
            words: segment.encoded.get(part.start as usize..)?,
            encoded: &segment.encoded,
            marks: segment.marks.get(from..to).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_of_a_unit_has_its_own_keys() {
        let large = "x".repeat(5_000);
        let unit = Frame::join([
            Frame::known("MSET").key("a").arg(1).key("b").arg(&large),
            Frame::known("PING"),
            Frame::known("KEYS").pattern("c*"),
            Frame::known("GET").key("d"),
        ]);
        let view = |index| unit.unit().and_then(|unit| unit.view(index)).expect("a command");
        let keys = |index| view(index).keys().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(keys(0), [b"a", b"b"]);
        assert!(keys(1).is_empty() && keys(2).is_empty());
        assert_eq!(keys(3), [b"d"]);
        assert_eq!(view(2).words().next(), Some(&b"KEYS"[..]));
        let index = Frame::known("FT.CREATE").key("e").arg("PREFIX").arg(1).unrouted("f");
        assert_eq!(index.view().keys().collect::<Vec<_>>(), [b"e"], "a prefix selects no slot");
        assert_eq!(index.marked().marks.len(), 2, "but takes the key prefix");
        let channel = Frame::known("PUBLISH").channel("__keyspace@0__:k").arg("x");
        assert_eq!(channel.view().keys().collect::<Vec<_>>(), [b"k"]);
    }
}
