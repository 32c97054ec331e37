//! Which server a command that reads may be answered by.

use super::{Frame, Unit};

/// Where a read is answered.
///
/// Reads from replicas take load off the primaries, and go on while one of those is being replaced. What they see may
/// be old: a replica follows its primary at a distance of milliseconds as a rule, of any length when the network or the
/// replica is slow, and a key that was just written may not be there yet. Two reads of one caller may be answered by
/// two replicas, the later one by the older state. While a slot of a cluster moves, a replica of Redis 7 and 8 does not
/// see what has moved already, and says that it is not there. What must be right is read from the primary.
///
/// ```
/// use redis_actix::{Get, ReadFrom};
///
/// let read = Get::<String>::new("popular").read_from(ReadFrom::Replica);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReadFrom {
    /// By the primary, which has seen every write that it acknowledged. The default.
    #[default]
    Primary,
    /// By a replica, those of a primary in turn; by the primary while no replica is connected, and when the replica
    /// cannot answer: its slot is elsewhere, it is loading, it lost its primary, its link broke. The first such read
    /// asks for the connections, and goes to the primary itself. A single server answers by itself.
    ///
    /// The primary also answers what has no key, cursors (`HSCAN` and its kin: another server's mean something else
    /// there), transactions, and whatever waits by design.
    Replica,
}

/// What is known of a command that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Reads {
    /// It writes, or nobody has said that it does not.
    #[default]
    No,
    /// It reads, and only the primary answers it.
    AtPrimary,
    /// It reads, and any replica may answer it.
    Anywhere,
}

const NO_READ: &str =
    "it is not known to only read, and a replica takes no writes: leave `read_from` out, or mark it `read_only()`";

impl Frame {
    /// Says which server may answer it, if it is a read; see [`ReadFrom`]. Without it
    /// [`RedisConfig::read_from`](crate::RedisConfig::read_from) holds.
    ///
    /// With [`ReadFrom::Replica`] a command that is not marked [`read_only`](Self::read_only) is not sent: that is
    /// [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand).
    pub fn read_from(mut self, whom: ReadFrom) -> Self {
        self.traits.read_from = Some(whom);
        self
    }

    /// What is known of it: by its own word, or by the table if it was built by hand.
    pub(super) fn reads(&self) -> Reads {
        if self.traits.reads == Reads::No && self.is_known_read() { Reads::Anywhere } else { self.traits.reads }
    }

    /// What holds where the command itself says nothing.
    pub(crate) fn or_read_from(mut self, whom: ReadFrom) -> Self {
        if whom == ReadFrom::Replica && self.reads() > Reads::No {
            self.traits.read_from.get_or_insert(whom);
        }
        self
    }

    /// Whether a replica is to be asked first.
    pub(crate) fn prefers_replica(&self) -> bool {
        self.traits.read_from == Some(ReadFrom::Replica) && self.is_for_any() && !self.waits()
    }

    /// Whether it is known to change nothing.
    pub(crate) fn is_read(&self) -> bool {
        self.reads() > Reads::No
    }

    /// Whether what it says of replicas makes sense.
    pub(super) fn misplaced(&self) -> Option<&'static str> {
        let misplaced = self.traits.read_from == Some(ReadFrom::Replica) && self.reads() == Reads::No;
        misplaced.then_some(NO_READ)
    }

    /// Whether any server that has its keys may answer it.
    fn is_for_any(&self) -> bool {
        match self.unit() {
            Some(unit) => !unit.is_atomic() && self.traits.reads == Reads::Anywhere,
            None => self.reads() == Reads::Anywhere && self.view().keys().next().is_some() && !self.is_scan(),
        }
    }

    fn is_scan(&self) -> bool {
        let name = self.args().next().unwrap_or_default();
        [&b"SCAN"[..], b"HSCAN", b"SSCAN", b"ZSCAN"].iter().any(|scan| name.eq_ignore_ascii_case(scan))
    }

    /// What one of the commands says of itself, for all that are joined.
    pub(super) fn adopt_reads(&mut self, one: &Self, is_first: bool) {
        let reads = if one.is_for_any() { Reads::Anywhere } else { one.reads().min(Reads::AtPrimary) };
        let (so_far, said) = (&mut self.traits, one.traits.read_from);
        if is_first {
            (so_far.reads, so_far.read_from) = (reads, said);
            return;
        }
        so_far.reads = so_far.reads.min(reads);
        so_far.read_from = match (so_far.read_from, said) {
            (Some(ReadFrom::Primary), _) | (_, Some(ReadFrom::Primary)) => Some(ReadFrom::Primary),
            (so_far, said) if so_far == said => so_far,
            _ => None,
        };
    }

    /// A unit of which some commands write goes to the primary, whatever the others say.
    pub(super) fn settle_reads(&mut self) {
        if self.traits.reads == Reads::No || self.unit().is_some_and(Unit::is_atomic) {
            self.traits.read_from = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Error, Extra, Mark, SmallVec, WhenDown};
    use std::sync::Arc;

    fn get() -> Frame {
        Frame::known("GET").key("a").read_only()
    }

    #[test]
    fn frames_are_no_larger_for_it() {
        // Every queued command has one: see `BOOKKEEPING`.
        let traits = size_of::<super::super::Traits>();
        assert!(traits <= 12 && size_of::<Option<WhenDown>>() == 1, "{traits}");
        // Without what is said here traits have 9 bytes, and bytes of nothing follow.
        let pointers = size_of::<Option<Arc<Extra>>>() + size_of::<Option<Error>>();
        let others = size_of::<Vec<u8>>() + size_of::<SmallVec<[Mark; 1]>>() + pointers + 3 * size_of::<u32>();
        assert_eq!((others + 9).next_multiple_of(8), size_of::<Frame>());
    }

    #[test]
    fn only_reads_of_keys_go_to_replicas() {
        let replica = |frame: Frame| frame.read_from(ReadFrom::Replica);
        assert!(replica(get()).prefers_replica());
        assert!(!get().prefers_replica() && !get().read_from(ReadFrom::Primary).prefers_replica());
        for primary in [
            Frame::known("PING").read_only(),
            Frame::known("KEYS").pattern("*").read_only(),
            Frame::new("hscan").key("a").arg(0).read_only(),
            Frame::new("XREAD").arg("BLOCK").arg(1).arg("STREAMS").key("a").arg(0).read_only(),
        ] {
            let primary = replica(primary);
            assert!(!primary.prefers_replica() && primary.check().is_ok(), "{primary:?}");
        }
        let error = replica(Frame::known("INCR").key("a")).check().expect_err("a write");
        assert!(error.to_string().starts_with("INCR: it is not known to only read"), "{error}");
        assert!(replica(Frame::known("SET").key("a").arg(1).idempotent()).check().is_err(), "a write all the same");
    }

    /// Ablation: `reads` and `is_repeatable` without the table take BITCOUNT for a write.
    #[test]
    fn known_reads_that_were_built_by_hand_are_reads() {
        let bitcount = || Frame::new("BITCOUNT").key("a");
        assert!(bitcount().is_repeatable() && bitcount().or_read_from(ReadFrom::Replica).prefers_replica());
        assert!(bitcount().read_from(ReadFrom::Replica).check().is_ok());
        assert!(Frame::new("OBJECT ENCODING").key("a").is_repeatable(), "a subcommand");
        assert!(Frame::join([bitcount(), get()]).is_repeatable());
        assert!(Frame::join([bitcount(), bitcount()]).or_read_from(ReadFrom::Replica).prefers_replica());
        for write in [Frame::new("INCR").key("a"), Frame::new("SORT").key("a"), Frame::new("MY.READ").key("a")] {
            assert!(!write.is_repeatable() && !write.clone().or_read_from(ReadFrom::Replica).prefers_replica());
            assert!(!Frame::join([bitcount(), write]).is_repeatable());
        }
    }

    #[test]
    fn a_default_is_for_reads_and_gives_way() {
        let by_default = |frame: Frame| frame.or_read_from(ReadFrom::Replica);
        assert!(by_default(get()).prefers_replica());
        assert!(!by_default(get().read_from(ReadFrom::Primary)).prefers_replica());
        let write = by_default(Frame::known("INCR").key("a"));
        assert!(!write.prefers_replica() && write.check().is_ok());
        assert!(!get().or_read_from(ReadFrom::Primary).prefers_replica());
    }

    #[test]
    fn pipelines_go_when_all_of_their_commands_do() {
        let replica = || get().read_from(ReadFrom::Replica);
        let (primary, write) = (get().read_from(ReadFrom::Primary), Frame::known("INCR").key("a"));
        assert!(Frame::join([replica(), replica()]).prefers_replica());
        assert!(Frame::join([get(), get()]).read_from(ReadFrom::Replica).prefers_replica());
        assert!(Frame::join([get(), replica()]).or_read_from(ReadFrom::Replica).prefers_replica());
        for unit in [
            Frame::join([replica(), get()]),
            Frame::join([replica(), primary.clone()]),
            Frame::join([replica(), write.clone()]),
            Frame::join([replica(), Frame::known("PING").read_only().read_from(ReadFrom::Replica)]),
            Frame::join([get(), primary]).or_read_from(ReadFrom::Replica),
            Frame::atomic([replica(), replica()]),
            Frame::atomic([get()]).or_read_from(ReadFrom::Replica),
        ] {
            assert!(!unit.prefers_replica() && unit.check().is_ok(), "{unit:?}");
        }
        assert!(Frame::join([get(), write]).read_from(ReadFrom::Replica).check().is_err());
        let part = get().like(&Frame::join([replica()]));
        assert!(part.prefers_replica(), "a part is as the whole");
    }
}
