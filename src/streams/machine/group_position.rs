//! Where a group begins that was lost: where it ended, if the stream is still the same one.

use crate::messages::stream_id::StreamId;

/// What is known of the group, from the last look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupPosition {
    /// Every entry up to this one was acknowledged.
    pub(crate) floor: StreamId,
    /// No entry after this one was seen.
    pub(crate) last_id: StreamId,
    /// At least so many entries were ever added, where the server counts.
    pub(crate) added: Option<u64>,
    /// How many entries the group has not read, where the server knows.
    pub(crate) lag: Option<u64>,
    /// How many entries are pending in the group.
    pub(crate) pending: u64,
}

/// The stream, at the moment when its group is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamSnapshot {
    pub(crate) last_id: StreamId,
    pub(crate) added: Option<u64>,
}

/// The last entry that was read, to tell the stream from another one that has been put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastEntry {
    pub(crate) id: StreamId,
    /// Of its fields.
    pub(crate) hash: u64,
}

/// What is found at the id of a [`LastEntry`] when its group is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// An entry, with the hash of its fields.
    Entry(u64),
    /// None, and none where the group would not read either.
    Nothing,
    /// None, but there are others that the group would skip.
    Others,
}

/// Whether the stream is still the one that the sample is of. Entries that are not known to have been handled are rather
/// handled twice than skipped.
pub(crate) fn is_same(sample: LastEntry, found: Found) -> bool {
    match found {
        Found::Entry(hash) => hash == sample.hash,
        Found::Nothing => true,
        Found::Others => false,
    }
}

/// What is to become of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    After(StreamId),
    /// With what is added from now on. Only the first time: a group that is made again must not skip what was
    /// added while it was away.
    End,
}

/// What came of making sure that there is a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ensured {
    /// Where it was made to begin, if it was not there.
    pub(crate) made: Option<Start>,
    /// Unknown where the server does not let us look.
    pub(crate) group_position: Option<GroupPosition>,
}

/// Where a group that is missing begins: `known` is what it was when it was last there, `stream_snapshot` the stream of now.
pub(crate) fn start(known: Option<GroupPosition>, stream_snapshot: Option<StreamSnapshot>, configured: Start) -> Start {
    let Some(known) = known else { return configured };
    match stream_snapshot {
        // Its ids or its count went back: what is in it was added after the old one went.
        Some(stream_snapshot)
            if stream_snapshot.last_id < known.last_id
                || stream_snapshot.added.zip(known.added).is_some_and(|(now, then)| now < then) =>
        {
            Start::After(StreamId::MIN)
        }
        Some(_) => Start::After(known.floor),
        None => Start::After(StreamId::MIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(ms: u64) -> StreamId {
        StreamId::new(ms, 0)
    }

    proptest! {
        /// The stream is the same one, or was deleted and filled anew with ids of any kind; what was delivered and
        /// acknowledged is any part of it: what is there and was not acknowledged is read again.
        #[test]
        fn nothing_unacknowledged_is_skipped(
            old in 0..50u64, delivered in 0..50u64, acked in proptest::collection::btree_set(1..50u64, 0..50),
            anew in any::<bool>(), jump in 0..100u64, fresh in 0..50u64, counts in any::<bool>(),
        ) {
            let delivered = delivered.min(old);
            let lowest = (1..=delivered).find(|n| !acked.contains(n));
            let floor = lowest.map_or(delivered, |lowest| lowest - 1);
            let group_position = GroupPosition {
                floor: id(floor), last_id: id(delivered), added: counts.then_some(delivered), lag: None, pending: 0,
            };
            // A server without the count can only see ids that went back; those of a clock never do.
            let jump = if counts { jump } else { jump.max(old) };
            let entries: Vec<u64> = if anew { (jump + 1..=jump + fresh).collect() } else { (1..=old + fresh).collect() };
            let added = if anew { fresh } else { old + fresh };
            // More entries than were seen before, and ids from the beginning: only who looked at each could tell.
            prop_assume!(!(anew && added >= delivered && jump < delivered));
            let stream_snapshot = entries.last().map(|last| StreamSnapshot { last_id: id(*last), added: counts.then_some(added) });
            let Start::After(start) = start(Some(group_position), stream_snapshot, Start::End) else { panic!("never at the end") };
            let missed = entries.iter().find(|n| id(**n) <= start && (anew || !acked.contains(n)));
            prop_assert_eq!(missed, None, "begins after {:?}", start);
        }
    }

    #[test]
    fn the_first_time_it_begins_as_configured() {
        assert_eq!(start(None, Some(StreamSnapshot { last_id: id(5), added: Some(5) }), Start::End), Start::End);
        assert_eq!(start(None, None, Start::After(id(3))), Start::After(id(3)));
    }
}
