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
    /// Give it to another consumer. This delivery does not count. With
    /// [`ordered_by`](crate::StreamConsumerBuilder::ordered_by) entries of its key wait until another consumer has taken it;
    /// if none does in time, it comes back here.
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

/// What a handler of a [`Batch`](crate::Batch) answers: one outcome for all its entries, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an outcome does nothing until a handler answers with it"]
pub enum BatchOutcome {
    /// The same for every entry.
    All(Outcome),
    /// One for each entry, in their order. An entry without one is [`Outcome::Failed`].
    Each(Vec<Outcome>),
}

impl BatchOutcome {
    /// One outcome for each of so many entries.
    pub(crate) fn spread(self, entries: usize) -> impl Iterator<Item = Outcome> {
        let (all, each) = match self {
            Self::All(outcome) => (Some(outcome), Vec::new()),
            Self::Each(each) => (None, each),
        };
        let missing = || Outcome::Failed("the handler answered for fewer entries than there are".to_owned());
        let mut each = each.into_iter();
        (0..entries).map(move |_| all.clone().or_else(|| each.next()).unwrap_or_else(missing))
    }
}

/// A handler that has its answer at once writes `type Result = BatchOutcome;`.
impl<A: Actor, M: Message<Result = Self>> MessageResponse<A, M> for BatchOutcome {
    fn handle(self, _: &mut A::Context, answer: Option<OneshotSender<Self>>) {
        if let Some(answer) = answer {
            // A consumer that is gone has handed its entries back.
            let _ = answer.send(self);
        }
    }
}

/// What a handler of batches may answer: a [`BatchOutcome`], an [`Outcome`] for all entries, a list with one for
/// each, nothing (which acknowledges all), or a `Result` of any of these, whose error is [`Outcome::Failed`] for
/// all.
pub trait IntoBatchOutcome: Send + 'static {
    /// The outcome that it stands for.
    fn into_batch_outcome(self) -> BatchOutcome;
}

impl IntoBatchOutcome for BatchOutcome {
    fn into_batch_outcome(self) -> BatchOutcome {
        self
    }
}

impl IntoBatchOutcome for Outcome {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::All(self)
    }
}

impl IntoBatchOutcome for () {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::All(Outcome::Ack)
    }
}

impl<O: IntoOutcome> IntoBatchOutcome for Vec<O> {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::Each(self.into_iter().map(IntoOutcome::into_outcome).collect())
    }
}

impl<O: IntoBatchOutcome, E: fmt::Display + Send + 'static> IntoBatchOutcome for Result<O, E> {
    fn into_batch_outcome(self) -> BatchOutcome {
        match self {
            Ok(outcome) => outcome.into_batch_outcome(),
            Err(error) => BatchOutcome::All(Outcome::failed(error)),
        }
    }
}
