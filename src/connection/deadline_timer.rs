//! One timer of the runtime for the earliest of many deadlines.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// A timer that is moved only to earlier times. When the earliest deadline moves to a later time, the timer fires early
/// and its owner finds nothing due. That costs less than moving the timer with every command.
pub(crate) struct DeadlineTimer {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl DeadlineTimer {
    pub(crate) fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), armed: None }
    }

    /// Returns whether the timer has fired, at `next` at the latest. The task is woken when it does.
    #[inline]
    pub(crate) fn poll(&mut self, next: Instant, cx: &mut Context<'_>) -> bool {
        if self.armed.is_none_or(|armed| next < armed) {
            self.sleep.as_mut().reset(next.into());
            self.armed = Some(next);
        }
        let has_fired = matches!(self.sleep.as_mut().poll(cx), Poll::Ready(()));
        if has_fired {
            self.armed = None;
        }
        has_fired
    }

    /// The task that polled the timer is gone.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }
}
