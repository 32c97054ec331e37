//! What a handler says became of an entry.

use std::{fmt, time::Duration};

use actix::{
    Actor, Message,
    dev::{MessageResponse, OneshotSender},
};

/// What a handler answers to a delivery. The answer is the acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an outcome does nothing until a handler answers with it"]
pub enum Outcome {
    /// It is done: the entry is acknowledged.
    Ack,
    /// Deliver it again after the consumer's next delay, or move it to the dead letters if it was delivered
    /// as often as allowed.
    Retry,
    /// As [`Retry`](Self::Retry), after a delay of its own (whole milliseconds).
    RetryAfter(Duration),
    /// As [`Retry`](Self::Retry), with what went wrong, which the dead letter will tell.
    Failed(String),
    /// Delivering it again is pointless: move it to the dead letters now, with this reason.
    Reject(String),
    /// Give it to another consumer. This delivery does not count.
    Release,
    /// What the handler depends on is down: keep the entry, and read and hand out nothing for that long.
    /// This delivery does not count.
    PauseFor(Duration),
}

/// A handler that has its answer at once writes `type Result = Outcome;`.
impl<A: Actor, M: Message<Result = Self>> MessageResponse<A, M> for Outcome {
    fn handle(self, _: &mut A::Context, answer: Option<OneshotSender<Self>>) {
        if let Some(answer) = answer {
            // A consumer that is gone has handed its entries back.
            let _ = answer.send(self);
        }
    }
}

impl Outcome {
    /// [`Outcome::Failed`] with an error's words.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// [`Outcome::Reject`] with a reason's words.
    pub fn reject(reason: impl fmt::Display) -> Self {
        Self::Reject(reason.to_string())
    }
}

/// `Ok` is [`Outcome::Ack`], `Err` is [`Outcome::Failed`].
impl<E: fmt::Display + Send + 'static> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        result.into_outcome()
    }
}

/// What a handler may answer: an [`Outcome`], nothing (which acknowledges), or a `Result` of either, whose
/// error is [`Outcome::Failed`].
///
/// The answer's type is the second parameter of the message, as in `Handler<Delivery<Order, Result<(), MyError>>>`.
pub trait IntoOutcome: Send + 'static {
    /// The outcome that it stands for.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Ack
    }
}

impl<O: IntoOutcome, E: fmt::Display + Send + 'static> IntoOutcome for Result<O, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(outcome) => outcome.into_outcome(),
            Err(error) => Outcome::failed(error),
        }
    }
}
