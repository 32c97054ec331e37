//! Who handles deliveries.

use std::{
    future::Future,
    pin::{Pin, pin},
};

use actix::{MailboxError, Recipient};
use futures_util::future::{Either, select};

use super::batch::Batch;
use super::delivery::Delivery;
use super::fence::{fence, fenced};
use super::lease::{Held, Lease};
use super::outcome::{BatchOutcome, IntoBatchOutcome, IntoOutcome, Outcome};
use crate::messages::stream_id::StreamId;

/// A delivery's parts, before it is known what its handler answers.
pub(crate) type Unaddressed<T> = Delivery<T, Outcome>;

/// One run of one entry.
pub(crate) type Run = (StreamId, u64);

/// What a handler answered, and to what.
pub enum Answered {
    One(Run, Result<Outcome, Unanswered>),
    Batch(Vec<Run>, Result<BatchOutcome, Unanswered>),
}

pub(crate) type Answer = Pin<Box<dyn Future<Output = Answered> + Send>>;

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

/// Who takes batches of a `T`: a `Recipient<Batch<T>>`, or one of `Batch<T, R>` with any [`IntoBatchOutcome`] as its
/// answer. A trait of its own, so that `actor.recipient()` needs no type for either.
pub trait BatchInbox<T>: sealed::Inbox<T> {}

pub(crate) mod sealed {
    use super::{Answer, Run, Unaddressed};

    pub trait Inbox<T>: Send + 'static {
        /// Whether it wants entries by [`deliver_all`](Self::deliver_all).
        #[doc(hidden)]
        fn takes_batches(&self) -> bool;

        #[doc(hidden)]
        fn deliver(&self, run: Run, delivery: Unaddressed<T>) -> Answer;

        #[doc(hidden)]
        fn deliver_all(&self, runs: Vec<Run>, deliveries: Vec<Unaddressed<T>>) -> Answer;

        #[doc(hidden)]
        fn is_gone(&self) -> bool;
    }
}

/// Waits for an answer, as long as anybody is interested. A message whose answer nobody waits for any more is dropped by
/// actix when its turn comes, without being handled.
async fn answer_of<R>(request: impl Future<Output = Result<R, MailboxError>>, lease: Lease) -> Result<R, Unanswered> {
    let answer = async {
        match select(pin!(request), pin!(lease.given_up())).await {
            Either::Left((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(MailboxError::Closed | MailboxError::Timeout), _)) => Err(Unanswered::Gone),
            Either::Right(_) => Err(Unanswered::GivenUp),
        }
    };
    // An answer that comes too late is dropped here, and its drop is the user's code.
    fenced(answer).await.unwrap_or(Err(Unanswered::Gone))
}

fn gone(run: Run) -> Answer {
    Box::pin(async move { Answered::One(run, Err(Unanswered::Gone)) })
}

/// Of a handler whose answer cannot be turned into an outcome: the conversion, such as `Display` of its error, panicked.
fn unreadable() -> Outcome {
    Outcome::Failed("turning the handler's answer into an outcome panicked".to_owned())
}

impl<T: Send + 'static, R: IntoOutcome> Inbox<T> for Recipient<Delivery<T, R>> {}

impl<T: Send + 'static, R: IntoOutcome> sealed::Inbox<T> for Recipient<Delivery<T, R>> {
    fn takes_batches(&self) -> bool {
        false
    }

    fn deliver(&self, run: Run, delivery: Unaddressed<T>) -> Answer {
        let lease = delivery.lease.0.clone();
        // Where the actor is gone the delivery is dropped here.
        let Some(request) = fence(|| self.send(delivery.answered_by())) else { return gone(run) };
        Box::pin(async move {
            let answer = answer_of(request, lease).await;
            Answered::One(run, answer.map(|answer| fence(|| answer.into_outcome()).unwrap_or_else(unreadable)))
        })
    }

    fn deliver_all(&self, runs: Vec<Run>, _: Vec<Unaddressed<T>>) -> Answer {
        Box::pin(async move { Answered::Batch(runs, Err(Unanswered::Gone)) })
    }

    fn is_gone(&self) -> bool {
        !self.connected()
    }
}

impl<T: Send + 'static, R: IntoBatchOutcome> BatchInbox<T> for Recipient<Batch<T, R>> {}

impl<T: Send + 'static, R: IntoBatchOutcome> sealed::Inbox<T> for Recipient<Batch<T, R>> {
    fn takes_batches(&self) -> bool {
        true
    }

    fn deliver(&self, run: Run, delivery: Unaddressed<T>) -> Answer {
        self.deliver_all(vec![run], vec![delivery])
    }

    fn deliver_all(&self, runs: Vec<Run>, deliveries: Vec<Unaddressed<T>>) -> Answer {
        let Some(lease) = deliveries.first().map(|delivery| delivery.lease.0.clone()) else {
            return Box::pin(async move { Answered::Batch(runs, Err(Unanswered::Gone)) });
        };
        let batch = Batch { deliveries, lease: Held(lease.clone()), answer: std::marker::PhantomData::<fn() -> R> };
        let Some(request) = fence(|| self.send(batch)) else {
            return Box::pin(async move { Answered::Batch(runs, Err(Unanswered::Gone)) });
        };
        Box::pin(async move {
            let answer = answer_of(request, lease).await;
            let outcome = |answer: R| fence(|| answer.into_batch_outcome());
            let answer = answer.map(|answer| outcome(answer).unwrap_or_else(|| BatchOutcome::All(unreadable())));
            Answered::Batch(runs, answer)
        })
    }

    fn is_gone(&self) -> bool {
        !self.connected()
    }
}
