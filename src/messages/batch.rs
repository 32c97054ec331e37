//! Several messages as one: what pipelines and transactions have in common.

use std::time::Duration;

use actix::Message;
use redis::Value;

use super::{Command, decode};
use crate::connection::verdict::part_error;
use crate::error::{Error, Fate, Result};
use crate::frame::{Frame, ReadFrom, Unit, WhenDown};

/// What can be sent together: a tuple of up to 16 messages of any kinds, or a vector of one kind.
///
/// It is implemented by this crate only.
pub trait Bundle: Send + 'static {
    /// The reply of each message.
    type Replies: Send + 'static;
    /// The reply of each message, or its error.
    type Outcomes: Send + 'static;

    #[doc(hidden)]
    fn frames(&self) -> Vec<Frame>;

    #[doc(hidden)]
    fn into_frames(self) -> impl Iterator<Item = Frame>;

    #[doc(hidden)]
    fn replies(answers: &mut Answers<'_>) -> Option<Self::Replies>;

    #[doc(hidden)]
    fn outcomes(answers: &mut Answers<'_>) -> Self::Outcomes;
}

impl<M: Command> Bundle for Vec<M> {
    type Replies = Vec<M::Reply>;
    type Outcomes = Vec<Result<M::Reply>>;

    fn frames(&self) -> Vec<Frame> {
        self.iter().map(Command::frame).collect()
    }

    fn into_frames(self) -> impl Iterator<Item = Frame> {
        self.into_iter().map(Command::into_frame)
    }

    fn replies(answers: &mut Answers<'_>) -> Option<Self::Replies> {
        let mut replies = Vec::with_capacity(answers.left());
        while answers.left() > 0 {
            replies.extend(answers.take::<M>());
        }
        Some(replies)
    }

    fn outcomes(answers: &mut Answers<'_>) -> Self::Outcomes {
        let mut outcomes = Vec::with_capacity(answers.left());
        while answers.left() > 0 {
            outcomes.push(answers.next::<M>());
        }
        outcomes
    }
}

macro_rules! tuples {
    ($($name:ident $at:tt),+) => {
        impl<$($name: Command),+> Bundle for ($($name,)+) {
            type Replies = ($($name::Reply,)+);
            type Outcomes = ($(Result<$name::Reply>,)+);

            fn frames(&self) -> Vec<Frame> {
                vec![$(self.$at.frame()),+]
            }

            fn into_frames(self) -> impl Iterator<Item = Frame> {
                [$(self.$at.into_frame()),+].into_iter()
            }

            fn replies(answers: &mut Answers<'_>) -> Option<Self::Replies> {
                // All of them before one is asked for: every answer counts for the fate of the whole.
                let all = ($(answers.take::<$name>(),)+);
                Some(($(all.$at?,)+))
            }

            fn outcomes(answers: &mut Answers<'_>) -> Self::Outcomes {
                ($(answers.next::<$name>(),)+)
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15);

/// The answers to a unit, handed out one by one to the messages that asked.
#[derive(Debug)]
pub struct Answers<'a> {
    /// What was asked, to name a command that failed.
    frame: Option<&'a Frame>,
    outcomes: std::vec::IntoIter<Result<Value>>,
    next: usize,
    failed: Option<Error>,
    /// Some of it ran, or may have.
    ran: bool,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(frame: Option<&'a Frame>, values: Vec<Value>) -> Result<Self> {
        Self::of_outcomes(frame, values.into_iter().map(Ok).collect())
    }

    /// As [`new`](Self::new), for commands that went several ways: some may have no answer.
    pub(crate) fn of_outcomes(frame: Option<&'a Frame>, outcomes: Vec<Result<Value>>) -> Result<Self> {
        if unit_of(frame).is_some_and(|unit| unit.len() != outcomes.len()) {
            return Err(Error::decode("the server's answers are not as many as the commands"));
        }
        Ok(Self { frame, outcomes: outcomes.into_iter(), next: 0, failed: None, ran: false })
    }

    fn left(&self) -> usize {
        self.outcomes.len()
    }

    fn next<M: Command>(&mut self) -> Result<M::Reply> {
        let index = self.next;
        self.next += 1;
        let unit = unit_of(self.frame);
        let reply = match self.outcomes.next() {
            None => Err(Error::decode("the server's answers are fewer than the commands")),
            Some(Ok(Value::ServerError(error))) => {
                // A script may fail after it has written something.
                let judged = self.frame.zip(unit).map(|(frame, unit)| part_error(frame, unit, index, &error));
                Err(judged.unwrap_or_else(|| Error::server(error.code(), error.details())))
            }
            Some(Ok(value)) => {
                self.ran = true;
                M::reply(value)
            }
            Some(Err(error)) => Err(error),
        };
        reply.map_err(|error| {
            self.ran |= error.fate() == Fate::Unknown;
            match unit {
                Some(unit) => error.of_command(unit.name_of(index)),
                None => error,
            }
        })
    }

    /// As `next`, but the first failure is kept for [`all`](Self::all).
    fn take<M: Command>(&mut self) -> Option<M::Reply> {
        self.next::<M>().map_err(|error| _ = self.failed.get_or_insert(error)).ok()
    }

    /// Every reply, or the first failure. What that says of itself may not hold for the whole: when one
    /// command was rejected and another one ran, repeating the whole would run that one twice.
    pub(crate) fn all<C: Bundle>(mut self) -> Result<C::Replies> {
        let replies = C::replies(&mut self);
        match (self.failed, replies) {
            (None, Some(replies)) => Ok(replies),
            (None, None) => Err(Error::decode("the server's answers are fewer than the commands")),
            (Some(error), _) => {
                let harmless = !self.ran || self.frame.is_some_and(Frame::is_read);
                Err(if harmless { error } else { error.with_fate(Fate::Unknown) })
            }
        }
    }

    /// What became of each command.
    pub(super) fn each<C: Bundle>(mut self) -> C::Outcomes {
        C::outcomes(&mut self)
    }
}

fn unit_of(frame: Option<&Frame>) -> Option<&Unit> {
    frame.and_then(Frame::unit)
}

/// The array that a unit is answered with.
pub(super) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        other => decode(other),
    }
}

/// How a unit as a whole may be treated on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UnitOptions {
    pub(super) timeout: Option<Duration>,
    pub(super) idempotent: bool,
    pub(super) when_down: Option<WhenDown>,
    pub(super) read_from: Option<ReadFrom>,
}

impl UnitOptions {
    pub(super) fn of(self, mut frame: Frame) -> Frame {
        if let Some(timeout) = self.timeout {
            frame = frame.timeout(timeout);
        }
        if let Some(what) = self.when_down {
            frame = frame.when_down(what);
        }
        if let Some(whom) = self.read_from {
            frame = frame.read_from(whom);
        }
        if self.idempotent { frame.idempotent() } else { frame }
    }
}

/// Declares a unit: the struct, its options and its [`Command`], joined by `$join`, and answered through
/// `$answers`. Its constructor stands in an `impl` of its own beside it.
macro_rules! unit {
    ($(#[$meta:meta])* $name:ident, $join:path, $answers:path) => {
        $(#[$meta])*
        #[derive(Clone)]
        #[must_use = "a message does nothing until it is sent"]
        pub struct $name<C> {
            commands: C,
            wishes: $crate::messages::batch::UnitOptions,
        }

        impl<C: Bundle> $name<C> {
            /// Sets the deadline of the whole, over every phase; see [`Frame::timeout`](crate::Frame::timeout).
            /// Without it the earliest deadline of its commands holds.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.wishes.timeout = Some(timeout);
                self
            }

            /// Says that running the whole twice does the same as running it once, so that it may be sent
            /// again when a link broke before its reply came.
            pub fn idempotent(mut self) -> Self {
                self.wishes.idempotent = true;
                self
            }

            /// Sets what becomes of it while there is no connection.
            pub fn when_down(mut self, what: $crate::frame::WhenDown) -> Self {
                self.wishes.when_down = Some(what);
                self
            }

            /// The same with another reply: what became of each command, so that one failure hides nothing
            /// of the others.
            pub fn try_each(self) -> $crate::messages::batch::TryEach<Self> {
                $crate::messages::batch::TryEach(self)
            }
        }

        impl<C: Bundle> std::fmt::Debug for $name<C> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), " "))?;
                f.debug_list().entries(self.commands.frames()).finish()
            }
        }

        impl<C: Bundle> actix::Message for $name<C> {
            type Result = $crate::error::Result<C::Replies>;
        }

        impl<C: Bundle> $crate::messages::Command for $name<C> {
            type Reply = C::Replies;

            fn frame(&self) -> $crate::frame::Frame {
                self.wishes.of($join(self.commands.frames()))
            }

            fn into_frame(self) -> $crate::frame::Frame {
                self.wishes.of($join(self.commands.into_frames()))
            }

            fn reply(value: redis::Value) -> $crate::error::Result<C::Replies> {
                $answers(None, value)?.all::<C>()
            }

            fn reply_to(frame: &$crate::frame::Frame, value: redis::Value) -> $crate::error::Result<C::Replies> {
                $answers(Some(frame), value)?.all::<C>()
            }

            fn reply_each(
                frame: &$crate::frame::Frame,
                outcomes: Vec<$crate::error::Result<redis::Value>>,
            ) -> $crate::error::Result<C::Replies> {
                $crate::messages::batch::Answers::of_outcomes(Some(frame), outcomes)?.all::<C>()
            }
        }

        impl<C: Bundle> $crate::messages::batch::Several for $name<C> {
            type Outcomes = C::Outcomes;

            fn outcomes(
                frame: Option<&$crate::frame::Frame>,
                value: redis::Value,
            ) -> $crate::error::Result<C::Outcomes> {
                Ok($answers(frame, value)?.each::<C>())
            }

            fn outcomes_each(
                frame: &$crate::frame::Frame,
                outcomes: Vec<$crate::error::Result<redis::Value>>,
            ) -> $crate::error::Result<C::Outcomes> {
                Ok($crate::messages::batch::Answers::of_outcomes(Some(frame), outcomes)?.each::<C>())
            }
        }
    };
}
pub(super) use unit;

/// A unit that can tell what became of each of its commands.
pub trait Several: Command {
    #[doc(hidden)]
    type Outcomes: Send + 'static;

    #[doc(hidden)]
    fn outcomes(frame: Option<&Frame>, value: Value) -> Result<Self::Outcomes>;

    #[doc(hidden)]
    fn outcomes_each(frame: &Frame, outcomes: Vec<Result<Value>>) -> Result<Self::Outcomes>;
}

/// Several messages of which one failure hides nothing of the others; made by
/// [`Pipeline::try_each`](crate::Pipeline::try_each) and [`Transaction::try_each`](crate::Transaction::try_each).
#[derive(Debug, Clone)]
#[must_use = "a message does nothing until it is sent"]
pub struct TryEach<U>(pub(super) U);

impl<U: Several> Message for TryEach<U> {
    type Result = Result<U::Outcomes>;
}

impl<U: Several> Command for TryEach<U> {
    type Reply = U::Outcomes;

    fn frame(&self) -> Frame {
        self.0.frame()
    }

    fn into_frame(self) -> Frame {
        self.0.into_frame()
    }

    fn reply(value: Value) -> Result<Self::Reply> {
        U::outcomes(None, value)
    }

    fn reply_to(frame: &Frame, value: Value) -> Result<Self::Reply> {
        U::outcomes(Some(frame), value)
    }

    fn reply_each(frame: &Frame, outcomes: Vec<Result<Value>>) -> Result<Self::Reply> {
        U::outcomes_each(frame, outcomes)
    }
}
