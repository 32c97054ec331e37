//! Several messages sent as one unit: the common part of pipelines and transactions.

use std::time::Duration;

use actix::Message;
use redis::Value;

use super::{Command, decode};
use crate::connection::verdict::part_error;
use crate::error::{Error, Fate, Result};
use crate::frame::{Frame, ReadFrom, Unit, WhenDown};

/// Messages that can be sent together: a tuple of up to 16 messages of any kinds, or a vector of one kind.
///
/// Only this crate implements it.
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
                // All answers are taken before one is returned, because every answer counts for the fate of the
                // whole.
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

/// The answers to a unit, taken one by one by its messages.
#[derive(Debug)]
pub struct Answers<'a> {
    /// The commands, to name one that failed.
    frame: Option<&'a Frame>,
    outcomes: std::vec::IntoIter<Result<Value>>,
    next: usize,
    failed: Option<Error>,
    /// At least one command ran, or may have run.
    ran: bool,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(frame: Option<&'a Frame>, values: Vec<Value>) -> Result<Self> {
        Self::of_outcomes(frame, values.into_iter().map(Ok).collect())
    }

    /// Like [`new`](Self::new), for commands that were sent to several nodes: each has its own outcome.
    pub(crate) fn of_outcomes(frame: Option<&'a Frame>, outcomes: Vec<Result<Value>>) -> Result<Self> {
        if unit_of(frame).is_some_and(|unit| unit.len() != outcomes.len()) {
            return Err(Error::decode("the number of the server's answers differs from the number of commands"));
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
            None => Err(Error::decode("the server sent fewer answers than commands")),
            Some(Ok(Value::ServerError(error))) => {
                // A script may fail after it has written.
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

    /// Like `next`, but keeps the first failure for [`all`](Self::all).
    fn take<M: Command>(&mut self) -> Option<M::Reply> {
        self.next::<M>().map_err(|error| _ = self.failed.get_or_insert(error)).ok()
    }

    /// Every reply, or the first failure. The fate of the failed command may not apply to the whole: if another
    /// command ran, retrying the whole would run that one twice.
    pub(crate) fn all<C: Bundle>(mut self) -> Result<C::Replies> {
        let replies = C::replies(&mut self);
        match (self.failed, replies) {
            (None, Some(replies)) => Ok(replies),
            (None, None) => Err(Error::decode("the server sent fewer answers than commands")),
            (Some(error), _) => {
                let harmless = !self.ran || self.frame.is_some_and(Frame::is_read);
                Err(if harmless { error } else { error.with_fate(Fate::Unknown) })
            }
        }
    }

    /// The outcome of each command.
    pub(super) fn each<C: Bundle>(mut self) -> C::Outcomes {
        C::outcomes(&mut self)
    }
}

fn unit_of(frame: Option<&Frame>) -> Option<&Unit> {
    frame.and_then(Frame::unit)
}

/// The array of the answers to a unit.
pub(super) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        other => decode(other),
    }
}

/// The options of a unit as a whole.
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
        if let Some(server) = self.read_from {
            frame = frame.read_from(server);
        }
        if self.idempotent { frame.idempotent() } else { frame }
    }
}

/// Declares a unit: the struct, its options and its [`Command`]. `$join` joins the commands, `$answers` takes the
/// answers apart. Its constructor is in an `impl` next to it.
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
            /// Sets the deadline of the whole over all phases; see [`Frame::timeout`](crate::Frame::timeout). The
            /// default is the earliest deadline of its commands.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.wishes.timeout = Some(timeout);
                self
            }

            /// Marks the whole as idempotent: running it twice has the effect of running it once, so it is retried if
            /// the link breaks before its reply arrives.
            pub fn idempotent(mut self) -> Self {
                self.wishes.idempotent = true;
                self
            }

            /// Sets how it is handled while there is no connection.
            pub fn when_down(mut self, what: $crate::frame::WhenDown) -> Self {
                self.wishes.when_down = Some(what);
                self
            }

            /// Changes the reply to the outcome of each command, so that one failure does not hide the other replies.
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

/// A unit that can return the outcome of each of its commands.
pub trait Several: Command {
    #[doc(hidden)]
    type Outcomes: Send + 'static;

    #[doc(hidden)]
    fn outcomes(frame: Option<&Frame>, value: Value) -> Result<Self::Outcomes>;

    #[doc(hidden)]
    fn outcomes_each(frame: &Frame, outcomes: Vec<Result<Value>>) -> Result<Self::Outcomes>;
}

/// Several messages with one outcome for each, so that one failure does not hide the other replies. Created by
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
