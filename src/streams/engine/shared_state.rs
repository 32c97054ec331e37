//! What a consumer's thread and the lease renewer share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::DecodedEntry;
use crate::messages::stream_id::StreamId;
use crate::streams::delivery::FromEntry;
use crate::streams::lease::Lease;
use crate::streams::lease_renewer::RenewedLeases;
use crate::streams::machine::ids::IdMap;
use crate::streams::machine::{Consumer, LeaseTerm, NAME_HELD, UnreadEntries};

/// What the lease renewer looks at from its own thread while this one stands still. Locked for a turn, in which no code of
/// the user's runs but the drop of payloads.
pub(super) struct EngineState<T> {
    pub(super) machine: Consumer<DecodedEntry<T>>,
    pub(super) leases: IdMap<Lease>,
    /// When this thread was last seen to work.
    pub(super) turned: Instant,
}

pub(super) type SharedEngineState<T> = Arc<Mutex<EngineState<T>>>;

pub(super) fn open<T>(engine_state: &Mutex<EngineState<T>>) -> MutexGuard<'_, EngineState<T>> {
    // A turn that panicked is followed by a restart, which puts a new machine there.
    engine_state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While a handler keeps this thread from running, the lease renewer acts on its behalf.
impl<T: FromEntry> RenewedLeases for Mutex<EngineState<T>> {
    fn neglected(&self, min_idle: Duration, handler_deadline: Duration, now: Instant) -> Vec<LeaseTerm> {
        let EngineState { machine, leases, turned } = &*open(self);
        // A thread that is hung for good must not hold entries for ever.
        if machine.is_closed() || now.saturating_duration_since(*turned) > handler_deadline {
            return Vec::new();
        }
        let Some(before) = now.checked_sub(min_idle * 9 / 20) else { return Vec::new() };
        let worked_on = |id: &StreamId| {
            // A message that waits in the mailbox has no deadline.
            let sign = leases.get(id).and_then(Lease::last_progress);
            sign.is_none_or(|sign| now.saturating_duration_since(sign) < handler_deadline)
        };
        let mut terms = machine.renewals(before, now);
        terms.retain(|term| worked_on(&term.id));
        terms
    }

    fn neglected_unread(&self, handler_deadline: Duration, now: Instant) -> Option<UnreadEntries> {
        let EngineState { machine, turned, .. } = &*open(self);
        if machine.is_closed() || now.saturating_duration_since(*turned) > handler_deadline {
            return None;
        }
        machine.neglected_unread(now)
    }

    fn unread_renewed(&self, sent: Instant) {
        open(self).machine.neglected_unread_renewed(sent);
    }

    fn renewed(&self, terms: &[LeaseTerm], sent: Instant) {
        open(self).machine.renewed(terms.iter().map(|term| term.id), sent);
    }

    fn stands_still(&self, now: Instant) -> Duration {
        let EngineState { machine, turned, .. } = &*open(self);
        match machine.book().len() {
            _ if machine.is_closed() => Duration::ZERO,
            // It may sleep for long.
            0 => machine.late(now),
            _ => now.saturating_duration_since(*turned),
        }
    }

    fn needs_name(&self, handler_deadline: Duration, now: Instant) -> bool {
        let EngineState { machine, turned, .. } = &*open(self);
        let still = now.saturating_duration_since(*turned);
        // One that runs renews it itself.
        machine.has_name() && still > NAME_HELD / 4 && still <= handler_deadline.max(NAME_HELD)
    }
}
