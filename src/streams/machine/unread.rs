//! Entries that the server has delivered to this consumer and that have not arrived yet: their page is on a slow line, or in
//! the socket of a thread that is blocked.

use super::failure::Failure;
use super::*;

/// A page up to this size arrives as soon as its first byte does.
const SMALL_PAGE: usize = 64 * 1024;

/// What is known of entries that were delivered and have not arrived.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// It is time to renew the leases of what may be on its way.
    pub(super) is_due: bool,
    /// When the request was sent that renewed them last.
    renewed: Option<Instant>,
    /// The same of the request that is under way.
    asked: Option<Instant>,
    /// The reply to a sweep was lost: until then this consumer may have entries of others that it does not know of, and no
    /// sweep finds them.
    claims_unclear: Option<Instant>,
    /// When the present cycle of sweeps began.
    cycle: Option<Instant>,
}

impl Unread {
    /// A sweep that was sent at `sent` was answered; `ends` is whether all pending entries were looked at.
    pub(super) fn swept(&mut self, sent: Instant, ends: bool) {
        let cycle = *self.cycle.get_or_insert(sent);
        if ends {
            self.cycle = None;
            self.claims_unclear = self.claims_unclear.filter(|until| *until > cycle);
        }
    }

    /// The reply to a sweep was lost. What it claimed for this consumer is idle again at `idle_at`.
    pub(super) fn sweep_failed(&mut self, idle_at: Instant) {
        self.claims_unclear = Some(idle_at);
    }
}

impl<P> Consumer<P> {
    /// What is known of the attempts at an entry that was pending for this consumer or another one.
    pub(super) fn attempts_of(&self, deliveries: u64, is_unread: bool) -> Attempts {
        if is_unread && deliveries <= 1 && self.unread.claims_unclear.is_none() {
            Attempts::NONE
        } else {
            Attempts::unknown(deliveries)
        }
    }

    /// Since when the entries of a page are certainly ours.
    pub(super) fn delivered_since(&self, read: Option<PendingRead>, bytes: usize) -> Option<Instant> {
        let Some(read) = read else { return self.looked };
        let delivered = if bytes > SMALL_PAGE {
            Some(read.sent)
        } else {
            // At any time since this process was last seen to look: then there was nothing.
            read.since.or(self.looked)
        };
        delivered.max(self.unread.renewed.filter(|renewed| *renewed >= read.sent))
    }

    /// A page that takes longer to arrive than a reader is given is followed by smaller ones, until they arrive in time.
    pub(super) fn adapt_page_size(&mut self, read: Option<PendingRead>, bytes: usize, now: Instant) {
        // A thread that was late says nothing of the line.
        let Some(read) = read.filter(|read| read.since.is_none()) else { return };
        let waited = if read.blocks { self.terms.block } else { Duration::ZERO };
        if now.saturating_duration_since(read.front_since) > waited + MARGIN {
            self.page_bytes = (bytes / 2).max(1);
        } else if bytes >= self.page_bytes / 2 {
            self.page_bytes = (self.page_bytes + self.page_bytes / 4 + 1).min(self.terms.max_bytes);
        }
    }

    /// The entries that the reads in flight may have delivered a while ago.
    fn unread(&self, now: Instant) -> Option<UnreadEntries> {
        let age = now.saturating_duration_since(self.reads.front()?.sent);
        if age < self.terms.min_idle / 4 {
            return None;
        }
        let count = self.reads.iter().map(|read| read.count).sum();
        // The server runs this a round trip later, and may have run the read without any.
        let max_idle = age + self.server_clock.round_trip() + Duration::from_millis(1);
        Some(UnreadEntries { from: self.received?.next()?, count, max_idle })
    }

    pub(super) fn next_unread_renewal(&mut self, now: Instant) -> Option<Action<P>> {
        if !self.unread.is_due || !self.paces.renew_unread.may_start(now) {
            return None;
        }
        self.unread.is_due = false;
        let unread = self.unread(now)?;
        self.paces.renew_unread.start();
        self.unread.asked = Some(now);
        Some(Action::RenewUnread(unread))
    }

    /// The server has renewed the leases of what was on its way.
    pub(crate) fn renewed_unread(&mut self, answer: Result<(), Failure>, now: Instant) {
        match answer {
            Ok(()) => {
                self.paces.renew_unread.succeeded();
                self.unread.renewed = self.unread.renewed.max(self.unread.asked);
            }
            Err(failure) => {
                self.paces.renew_unread.failed(now, &mut self.chance);
                self.command_failed(failure);
            }
        }
    }

    /// What has to be renewed by the lease renewer, because the page may lie in the socket of this consumer's thread, which
    /// is late for `min_idle / 4` or more.
    pub(crate) fn neglected_unread(&self, now: Instant) -> Option<UnreadEntries> {
        (self.late(now) >= self.terms.min_idle / 4).then(|| self.unread(now)).flatten()
    }

    /// The lease renewer has renewed them, by a request that was sent at `sent`.
    pub(crate) fn neglected_unread_renewed(&mut self, sent: Instant) {
        self.unread.renewed = self.unread.renewed.max(Some(sent));
    }

    /// How long ago this consumer's thread should have polled it.
    pub(crate) fn late(&self, now: Instant) -> Duration {
        let meant = self.wake_at().max(self.looked);
        meant.map_or(Duration::ZERO, |meant| now.saturating_duration_since(meant))
    }
}
