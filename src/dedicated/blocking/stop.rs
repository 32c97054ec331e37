//! What ends a wait before the server does.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Instant,
};

use redis::Value;
use tokio::{
    sync::{oneshot, watch},
    time::Sleep,
};

use crate::actors::connection::RunDedicated;
use crate::connection::request::BoxedTicket;
use crate::error::Result;

/// Why a command is called off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its caller has gone.
    Gone,
    /// Its deadline passed.
    Late,
    /// The connection is being shut down.
    Closing,
}

/// The caller that waits for the outcome.
pub(super) struct Caller {
    ticket: BoxedTicket,
    seen: Option<oneshot::Receiver<()>>,
}

impl Caller {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.seen {
            // Nothing was sent that could have been seen: the other end is gone.
            Some(seen) => Pin::new(seen).poll(cx).map(drop),
            None => self.ticket.poll_abandoned(cx),
        }
    }

    /// Delivers the outcome, and does not wait until it was taken.
    pub(super) fn notify(self, outcome: Result<Value>) {
        self.ticket.complete(outcome);
    }

    /// Delivers the outcome. False if it was not taken: the caller may leave while it is on its way.
    pub(super) async fn take(self, outcome: Result<Value>) -> bool {
        let delivered = self.ticket.deliver(outcome);
        match self.seen {
            Some(seen) if delivered => seen.await.is_ok(),
            _ => delivered,
        }
    }
}

/// Watches for reasons to end.
pub(super) struct Stop {
    caller: Caller,
    late: Pin<Box<Sleep>>,
    closing: Pin<Box<dyn Future<Output = ()>>>,
}

impl Stop {
    pub(super) fn new(dedicated: RunDedicated, late: Instant, mut called_off: watch::Receiver<bool>) -> Self {
        let closing = Box::pin(async move {
            // Who calls off outlives us.
            let _ = called_off.wait_for(|called_off| *called_off).await;
        });
        let late = Box::pin(tokio::time::sleep_until(late.into()));
        Self { caller: Caller { ticket: dedicated.ticket, seen: dedicated.seen }, late, closing }
    }

    pub(super) fn set_deadline(&mut self, late: Instant) {
        self.late.as_mut().reset(late.into());
    }

    /// What comes of `work`, or why it is not to be waited for. It is called no more after such a reason.
    pub(super) async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Why> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }

    /// Whether there is a reason to end by now.
    pub(super) async fn now(&mut self) -> Option<Why> {
        poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(why) => Poll::Ready(Some(why)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        if self.caller.poll_gone(cx).is_ready() {
            Poll::Ready(Why::Gone)
        } else if self.closing.as_mut().poll(cx).is_ready() {
            Poll::Ready(Why::Closing)
        } else {
            self.late.as_mut().poll(cx).map(|()| Why::Late)
        }
    }

    pub(super) fn into_caller(self) -> Caller {
        self.caller
    }
}
