//! Which server may reply to a read.

use super::{Frame, Unit};

/// The server that replies to a read.
///
/// Reads from replicas take load off the primaries, and continue while a primary is being replaced. Their results may
/// be stale. Replication lag is usually milliseconds, but unbounded if the network or the replica is slow: a key that
/// was just written may be missing. Two reads of one caller may reach two replicas, and the later one may return the
/// older state. While a cluster slot is migrated, a replica of Redis 7 or 8 reports keys that have already moved as
/// missing. Read from the primary if the result must be current.
///
/// ```
/// use redis_actix::{Get, ReadFrom};
///
/// let read = Get::<String>::new("popular").read_from(ReadFrom::Replica);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReadFrom {
    /// From the primary, which has all writes that it acknowledged. The default.
    #[default]
    Primary,
    /// From a replica, round-robin over those of a primary. The primary replies while no replica is connected, and if
    /// the replica cannot reply: it does not own the slot, is loading, lost its primary, or its link broke. The first
    /// such read starts the connections to the replicas, and goes to the primary itself. With a single server that
    /// server replies.
    ///
    /// The primary also replies to commands without keys, to cursors (`HSCAN` and similar: a cursor is valid on one
    /// server only), to transactions, and to blocking commands.
    Replica,
}

/// Whether a command is known to be a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Reads {
    /// It writes, or it is not known to be a read.
    #[default]
    No,
    /// It reads, and only the primary may reply.
    AtPrimary,
    /// It reads, and any replica may reply.
    Anywhere,
}

const NO_READ: &str =
    "it is not known to only read, and a replica takes no writes: remove `read_from`, or mark it `read_only()`";

impl Frame {
    /// Sets which server may reply, if the command is a read; see [`ReadFrom`]. The default is
    /// [`RedisConfig::read_from`](crate::RedisConfig::read_from).
    ///
    /// With [`ReadFrom::Replica`] a command that is not marked [`read_only`](Self::read_only) is not sent and fails
    /// with [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand).
    pub fn read_from(mut self, server: ReadFrom) -> Self {
        self.traits.read_from = Some(server);
        self
    }

    /// Whether it is a read: by its own mark, or by the table if it was built by hand.
    pub(super) fn reads(&self) -> Reads {
        if self.traits.reads == Reads::No && self.is_known_read() { Reads::Anywhere } else { self.traits.reads }
    }

    /// Sets the server unless the command has its own choice.
    pub(crate) fn or_read_from(mut self, server: ReadFrom) -> Self {
        if server == ReadFrom::Replica && self.reads() > Reads::No {
            self.traits.read_from.get_or_insert(server);
        }
        self
    }

    /// Whether a replica is tried first.
    pub(crate) fn prefers_replica(&self) -> bool {
        self.traits.read_from == Some(ReadFrom::Replica) && self.is_for_any() && !self.waits()
    }

    /// Whether it is known to change nothing.
    pub(crate) fn is_read(&self) -> bool {
        self.reads() > Reads::No
    }

    /// Returns an error text if `read_from` is not possible for the command.
    pub(super) fn misplaced(&self) -> Option<&'static str> {
        let misplaced = self.traits.read_from == Some(ReadFrom::Replica) && self.reads() == Reads::No;
        misplaced.then_some(NO_READ)
    }

    /// Whether any server with its keys may reply.
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

    /// Combines the options of one command with those of the unit.
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

    /// A unit with at least one write goes to the primary.
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
    fn read_options_do_not_enlarge_frames() {
        // Every queued command contains one: see `BOOKKEEPING`.
        let traits = size_of::<super::super::Traits>();
        assert!(traits <= 12 && size_of::<Option<WhenDown>>() == 1, "{traits}");
        // Without the read options traits have 9 bytes, followed by padding.
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

    /// Ablation: without the table, `reads` and `is_repeatable` classify BITCOUNT as a write.
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
    fn the_default_applies_to_reads_without_their_own_choice() {
        let by_default = |frame: Frame| frame.or_read_from(ReadFrom::Replica);
        assert!(by_default(get()).prefers_replica());
        assert!(!by_default(get().read_from(ReadFrom::Primary)).prefers_replica());
        let write = by_default(Frame::known("INCR").key("a"));
        assert!(!write.prefers_replica() && write.check().is_ok());
        assert!(!get().or_read_from(ReadFrom::Primary).prefers_replica());
    }

    #[test]
    fn a_pipeline_goes_to_a_replica_if_all_its_commands_may() {
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
        assert!(part.prefers_replica(), "a part has the options of the whole");
    }
}
