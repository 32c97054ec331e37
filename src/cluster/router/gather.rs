//! A command in parts: each goes its own way, and the last one to come back brings the answer.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use redis::Value;

use super::routed_request::{Routed, error_of};
use crate::cluster::merge::Merge;
use crate::connection::request::{BoxedTicket, Pending};
use crate::connection::verdict::{final_error, part_error};
use crate::error::{Error, Fate, Result};
use crate::frame::Frame;

/// One place in the answer: of a pipeline, that of one of its commands.
pub(super) struct ReplyPlace {
    /// What the parts of this place have answered.
    replies: Vec<Option<Result<Value>>>,
    merge: Merge,
    /// The items of the parts so far, at their places. Put there as the parts come, the last one needs no long turn.
    items: Vec<Value>,
}

impl ReplyPlace {
    pub(super) fn new(parts: usize, merge: Merge) -> Self {
        Self { replies: vec![None; parts], merge, items: Vec::new() }
    }

    /// A place whose answer is known.
    pub(super) fn answered(reply: Result<Value>) -> Self {
        Self { replies: vec![Some(reply)], merge: Merge::Only, items: Vec::new() }
    }

    /// The answer of a part.
    fn set(&mut self, number: usize, outcome: Result<Value>) {
        let Some(reply) = self.replies.get_mut(number) else { return };
        *reply = Some(match (&self.merge, outcome) {
            (Merge::Places(places), Ok(value)) if !matches!(value, Value::ServerError(_)) => {
                places.fill(number, value, &mut self.items);
                Ok(Value::Nil)
            }
            (_, outcome) => outcome,
        });
    }

    /// The answer out of those of its parts. One part that failed is the answer; then what the others did decides
    /// whether the whole may be repeated.
    fn outcome(self, is_read: bool) -> Result<Value> {
        let Self { replies, merge, items } = self;
        let replies: Vec<_> = replies.into_iter().map(|reply| reply.unwrap_or(Ok(Value::Nil))).collect();
        let may_have_run = !is_read && replies.len() > 1 && replies.iter().any(ran);
        let judged = |error: Error| if may_have_run { error.with_fate(Fate::Unknown) } else { error };
        let mut values = Vec::with_capacity(replies.len());
        let mut refused = None;
        for reply in replies {
            match reply {
                Ok(Value::ServerError(error)) if may_have_run => _ = refused.get_or_insert_with(|| error_of(&error)),
                Ok(value) => values.push(value),
                Err(error) => return Err(judged(error)),
            }
        }
        if let Some(error) = refused {
            return Err(judged(error));
        }
        match merge {
            Merge::Places(_) if !values.iter().any(|value| matches!(value, Value::ServerError(_))) => {
                Ok(Value::Array(items))
            }
            merge => Ok(merge.apply(values)),
        }
    }
}

fn ran(reply: &Result<Value>) -> bool {
    match reply {
        Ok(value) => !matches!(value, Value::ServerError(_)),
        Err(error) => error.fate() == Fate::Unknown,
    }
}

struct GatheredReply {
    asked: Option<Box<Routed>>,
    places: Vec<ReplyPlace>,
    left: usize,
}

/// Where the other parts are dropped, as at the end of the thread.
impl Drop for GatheredReply {
    fn drop(&mut self) {
        let Some(asked) = &mut self.asked else { return };
        if !asked.frame().is_read() && self.places.iter().flat_map(|place| &place.replies).flatten().any(ran) {
            asked.note_may_have_run();
        }
    }
}

/// What the parts of one command share.
#[derive(Clone)]
pub(super) struct Gather(Arc<Mutex<GatheredReply>>);

impl Gather {
    /// `asked` is answered when this number of parts has come back.
    pub(super) fn new(asked: Box<Routed>, places: Vec<ReplyPlace>, parts: usize) -> Self {
        Self(Arc::new(Mutex::new(GatheredReply { asked: Some(asked), places, left: parts })))
    }

    /// For a command whose parts are made one after the other: its answer waits for [`end`](Self::end).
    pub(super) fn begin(asked: Box<Routed>, places: Vec<ReplyPlace>) -> Self {
        Self::new(asked, places, 1)
    }

    /// Adds parts that will come back.
    pub(super) fn expect(&self, parts: usize) {
        self.lock().left += parts;
    }

    pub(super) fn add_places(&self, places: Vec<ReplyPlace>) {
        self.lock().places.extend(places);
    }

    /// All parts of a command that was [begun](Self::begin) were made.
    pub(super) fn end(&self) {
        self.came(&[], std::iter::empty());
    }

    /// As [`end`](Self::end), where the parts from `nth` on of its only place were not made for this reason.
    pub(super) fn end_without(&self, nth: usize, error: &Error) {
        let parts = self.lock().places.first().map_or(0, |place| place.replies.len());
        let missing: Vec<_> = (nth..parts).map(|nth| (0, nth)).collect();
        self.came(&missing, std::iter::repeat_n(Err(error.clone()), missing.len()));
    }

    /// What `read` makes of the whole command, which waits for this.
    pub(super) fn with_frame<T>(&self, read: impl FnOnce(&Frame) -> Option<T>) -> Option<T> {
        read(self.lock().asked.as_ref()?.frame())
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().asked.as_ref().is_none_or(|asked| asked.is_abandoned())
    }

    fn lock(&self) -> MutexGuard<'_, GatheredReply> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part whose reply belongs to `at`: place, and number within the place. Of several, the frame is a pipeline.
    pub(super) fn part(&self, frame: Frame, at: Vec<(usize, usize)>) -> BoxedTicket {
        Box::new(PartRequest { gather: self.clone(), frame, at })
    }

    fn came(&self, at: &[(usize, usize)], outcomes: impl Iterator<Item = Result<Value>>) {
        let mut whole = self.lock();
        whole.left = whole.left.saturating_sub(1);
        for ((place, number), outcome) in at.iter().zip(outcomes) {
            if let Some(place) = whole.places.get_mut(*place) {
                place.set(*number, outcome);
            }
        }
        if whole.left > 0 {
            return;
        }
        let Some(asked) = whole.asked.take() else { return };
        let places = std::mem::take(&mut whole.places);
        drop(whole);
        let frame = asked.frame();
        let (is_unit, is_read) = (frame.is_unit(), frame.is_read());
        let mut outcomes = places.into_iter().map(|place| place.outcome(is_read));
        if is_unit {
            return asked.finish_each(outcomes.collect());
        }
        asked.finish(match outcomes.next() {
            Some(Ok(Value::ServerError(error))) => Err(error_of(&error)),
            Some(outcome) => outcome,
            None => Ok(Value::Nil),
        });
    }
}

/// One part.
struct PartRequest {
    gather: Gather,
    frame: Frame,
    at: Vec<(usize, usize)>,
}

impl PartRequest {
    /// What an earlier link may have run, the refusal by a later one does not undo.
    fn judged(&self, at: usize, value: Value) -> Result<Value> {
        match (value, self.frame.unit()) {
            (Value::ServerError(error), Some(unit)) if self.frame.may_have_run() => {
                Err(part_error(&self.frame, unit, at, &error))
            }
            (value, _) => Ok(value),
        }
    }
}

/// Dropped without an outcome, as at the end of the thread.
impl Drop for PartRequest {
    fn drop(&mut self) {
        if self.frame.may_have_run()
            && let Some(asked) = &mut self.gather.lock().asked
        {
            asked.note_may_have_run();
        }
    }
}

impl Pending for PartRequest {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn is_abandoned(&self) -> bool {
        self.gather.is_abandoned()
    }

    /// The whole was admitted, and so are its parts.
    fn is_let_in(&self) -> bool {
        true
    }

    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn poll_abandoned(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // The caller of the whole is polled instead.
        Poll::Pending
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let outcome = outcome.map_err(|error| final_error(&self.frame, error));
        match outcome {
            Ok(Value::Array(values)) if self.frame.is_unit() => {
                self.gather.came(&self.at, values.into_iter().enumerate().map(|(at, value)| self.judged(at, value)));
            }
            Err(error) => self.gather.came(&self.at, std::iter::repeat_n(Err(error), self.at.len())),
            outcome => self.gather.came(&self.at, std::iter::once(outcome)),
        }
        true
    }

    fn note_may_have_run(&mut self) {
        self.frame.note_may_have_run();
    }

    fn deliver_each(self: Box<Self>, outcomes: Vec<Result<Value>>) -> bool {
        self.gather.came(&self.at, outcomes.into_iter());
        true
    }
}
