//! What a consumer's thread and the keeper of leases share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Parcel;
use crate::actors::keeper::Kept;
use crate::core::consumer::{Consumer, LeaseTerm, ids::IdMap, lease_book::Stage};
use crate::messages::stream_id::StreamId;
use crate::streams::delivery::FromEntry;
use crate::streams::lease::Lease;

/// What the keeper of leases looks at from its own thread while this one stands still. Locked for a turn.
pub(super) struct Desk<T> {
    pub(super) machine: Consumer<Parcel<T>>,
    pub(super) leases: IdMap<Lease>,
    /// When this thread was last seen to work.
    pub(super) turned: Instant,
}

pub(super) type SharedDesk<T> = Arc<Mutex<Desk<T>>>;

pub(super) fn open<T>(desk: &Mutex<Desk<T>>) -> MutexGuard<'_, Desk<T>> {
    // A turn that panicked is followed by a restart, which puts a new machine there.
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While a handler keeps this thread from running, the keeper renews the leases on its behalf.
impl<T: FromEntry> Kept for Mutex<Desk<T>> {
    fn neglected(&self, min_idle: Duration, handler_deadline: Duration, now: Instant) -> Vec<LeaseTerm> {
        let Desk { machine, leases, turned } = &mut *open(self);
        // A thread that is hung for good must not hold entries for ever.
        if machine.is_closed() || now.saturating_duration_since(*turned) > handler_deadline {
            return Vec::new();
        }
        let Some(before) = now.checked_sub(min_idle / 2) else { return Vec::new() };
        let worked_on = |id: &StreamId| {
            let begun = leases.get(id).map(Lease::last_sign);
            begun.is_none_or(|begun| now.saturating_duration_since(begun) < handler_deadline)
        };
        let aging = machine.book_mut().aging(before, now);
        let terms = aging.into_iter().filter_map(|id| {
            let delayed = matches!(machine.book().stage(id), Some(Stage::Delayed { .. }));
            (!delayed && worked_on(&id)).then_some(LeaseTerm { id, idle: Duration::ZERO, count: None, release: false })
        });
        terms.collect()
    }
}
