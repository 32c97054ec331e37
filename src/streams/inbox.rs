//! Who handles deliveries.

use std::{
    future::Future,
    pin::{Pin, pin},
};

use actix::{MailboxError, Recipient};
use futures_util::future::{Either, select};

use super::delivery::Delivery;
use super::lease::Lease;
use super::outcome::{IntoOutcome, Outcome};

/// A delivery's parts, before it is known what its handler answers.
pub(crate) type Unaddressed<T> = Delivery<T, Outcome>;

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Outcome, Unanswered>> + Send>>;

/// A handler that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// It panicked, or its actor ended before it answered.
    Gone,
    /// The consumer does not wait for it any more.
    GivenUp,
}

/// Who takes deliveries of a `T`: a `Recipient<Delivery<T>>`, or one of `Delivery<T, R>` with any
/// [`IntoOutcome`] as its answer.
pub trait Inbox<T>: sealed::Inbox<T> {}

pub(crate) mod sealed {
    use super::{Answer, Unaddressed};

    pub trait Inbox<T>: Send + 'static {
        #[doc(hidden)]
        fn deliver(&self, delivery: Unaddressed<T>) -> Answer;

        #[doc(hidden)]
        fn is_gone(&self) -> bool;
    }
}

impl<T: Send + 'static, R: IntoOutcome> Inbox<T> for Recipient<Delivery<T, R>> {}

impl<T: Send + 'static, R: IntoOutcome> sealed::Inbox<T> for Recipient<Delivery<T, R>> {
    fn deliver(&self, delivery: Unaddressed<T>) -> Answer {
        let Delivery { id, stream, attempt, fields, payload, lease, .. } = delivery;
        let kept: Lease = lease.clone();
        let answer = std::marker::PhantomData::<fn() -> R>;
        let request = self.send(Delivery { id, stream, attempt, fields, payload, lease, answer });
        Box::pin(async move {
            match select(pin!(request), pin!(kept.given_up())).await {
                Either::Left((Ok(answer), _)) => Ok(answer.into_outcome()),
                Either::Left((Err(MailboxError::Closed | MailboxError::Timeout), _)) => Err(Unanswered::Gone),
                Either::Right(_) => Err(Unanswered::GivenUp),
            }
        })
    }

    fn is_gone(&self) -> bool {
        !self.connected()
    }
}
