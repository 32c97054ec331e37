//! What the cache does with a command on its way to the server.

use std::sync::Arc;

use super::ClientCache;
use super::commands::{CACHEABLE, WITHOUT_KEYS, is_one_of};
use super::counters::Stamps;
use super::flights::Resubmit;
use super::read::CachedRead;
use super::write::{CachedWrite, PendingWrite};
use crate::connection::request::BoxedTicket;
use crate::frame::Frame;

impl ClientCache {
    /// A command of a handle that answers reads from the cache. `None`: it gets the reply to another caller's request.
    /// `resubmit` sends it by itself if that request fails.
    pub(crate) fn admit(
        self: &Arc<Self>,
        ticket: BoxedTicket,
        resubmit: impl FnOnce() -> Resubmit,
    ) -> Option<BoxedTicket> {
        if !ticket.frame().is_read() {
            return Some(self.admit_write(ticket));
        }
        let Some(stamps) = self.may_store(ticket.frame()) else { return Some(ticket) };
        // With an option of its own it may end otherwise than the request of another caller.
        let may_share = ticket.frame().own_timeout().is_none() && ticket.frame().own_when_down().is_none();
        let (true, Some(stamps)) = (may_share, stamps) else {
            return Some(Box::new(CachedRead::new(ticket, self.clone(), None)));
        };
        let Some(line) = ticket.frame().cache_line().map(<[u8]>::to_vec) else { return Some(ticket) };
        match self.flights.join(&line, stamps, ticket, resubmit) {
            Some((ticket, lead)) => Some(Box::new(CachedRead::new(ticket, self.clone(), Some(lead)))),
            None => {
                self.counts.shared_miss();
                None
            }
        }
    }

    /// A command that is not answered from the cache: if it writes, its keys are invalid from now on.
    pub(crate) fn admit_write(self: &Arc<Self>, ticket: BoxedTicket) -> BoxedTicket {
        let frame = ticket.frame();
        if frame.is_read() {
            return ticket;
        }
        let mut pending = PendingWrite::new(self.clone());
        if frame.is_unprefixed() {
            pending.begin_all();
        }
        frame.each_command(|command| {
            let before = pending.len();
            command.keys().for_each(|key| pending.begin(key));
            if pending.len() == before && command.words().next().is_some_and(|name| is_one_of(WITHOUT_KEYS, name)) {
                pending.begin_all();
            }
        });
        if pending.len() == 0 { ticket } else { Box::new(CachedWrite::new(ticket, pending)) }
    }

    /// Whether the reply to a read may be stored, and the present counters of its keys unless one of them is being written.
    fn may_store(&self, frame: &Frame) -> Option<Option<Stamps>> {
        self.ttl_of(frame)?;
        frame.cache_line()?;
        let view = frame.view();
        is_one_of(CACHEABLE, view.words().next()?).then(|| self.counters.stamps(view.keys()))
    }
}
