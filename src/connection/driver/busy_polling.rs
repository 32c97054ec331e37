//! Polls the socket again instead of sleeping, where the configuration asks for it.

use std::{future::Future, pin::pin, task::Context, time::Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Driver;
use crate::client::submit_queue::Callers;

/// Whether this thread polls its own sockets. In a runtime of several threads another thread has to be woken to do it, and a
/// task that is polled again at once sees nothing new.
pub(super) fn polls_its_sockets() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// The state of a wait for replies.
struct ReplyWait {
    callers: Callers,
    /// Received replies are left for the next turn.
    partial_read: bool,
    within_reply: bool,
}

impl ReplyWait {
    /// Not for callers on other threads, which need a core themselves. Not within a reply: many small reads of what the server
    /// is still writing cost more than one wake-up.
    fn may_busy_poll(&self) -> bool {
        self.callers == Callers::Here && !self.partial_read && !self.within_reply
    }
}

impl Driver {
    /// Has the runtime poll the socket once more after the other tasks of this thread, without sleeping.
    pub(super) fn stay_awake(&mut self, cx: &mut Context<'_>, callers: Callers) {
        if self.admission.in_flight() == 0 {
            return;
        }
        let Some(link) = &mut self.established else { return };
        let Some(busy_poll) = &mut link.busy_poll else { return };
        let waiting =
            ReplyWait { callers, partial_read: link.partial_read.is_some(), within_reply: link.wire.is_within_reply() };
        if !waiting.may_busy_poll() {
            busy_poll.give_up();
            return;
        }
        // The time of this turn is that of its beginning, and it may have been a long one.
        if busy_poll.nothing_yet(Instant::now) {
            // Unlike a plain wake-up it has the runtime of an arbiter poll its sockets before this task.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_a_runtime_of_several_threads_does_not_busy_poll() {
        assert!(!polls_its_sockets(), "without a runtime");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("built");
        assert!(!runtime.block_on(async { polls_its_sockets() }));
        assert!(actix_rt::System::new().block_on(async { polls_its_sockets() }));
    }

    #[test]
    fn only_callers_of_this_thread_without_any_part_of_a_reply_are_busy_polled_for() {
        let here = ReplyWait { callers: Callers::Here, partial_read: false, within_reply: false };
        assert!(here.may_busy_poll());
        assert!(!ReplyWait { callers: Callers::OtherThread, ..here }.may_busy_poll());
        assert!(!ReplyWait { partial_read: true, ..here }.may_busy_poll());
        assert!(!ReplyWait { within_reply: true, ..here }.may_busy_poll());
    }
}
