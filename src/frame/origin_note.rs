//! Records which link answered a command, for replies that are valid for one server process only.

use std::sync::{Arc, OnceLock};

use super::{Extra, Frame};
use crate::config::Address;

/// A link, identified by a number that is unique in this process, and its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnsweredBy {
    pub(crate) link: u64,
    pub(crate) address: Option<Address>,
}

/// Written by the driver. It stays with the frame through redirects, retries and deferrals.
#[derive(Default)]
pub(crate) struct OriginNote(OnceLock<AnsweredBy>);

impl OriginNote {
    pub(crate) fn write(&self, link: u64, address: Option<&Address>) {
        // Each frame has one answer: a command that a node did not run has none.
        let _ = self.0.set(AnsweredBy { link, address: address.cloned() });
    }
}

/// The reader of the note, for the sender of the frame.
#[derive(Clone)]
pub(crate) struct AnswerOrigin(Arc<Extra>);

impl AnswerOrigin {
    /// `None` before the answer.
    pub(crate) fn read(&self) -> Option<&AnsweredBy> {
        match &*self.0 {
            Extra::Origin(note) => note.0.get(),
            Extra::Unit(_) | Extra::Script(_) => None,
        }
    }
}

impl Frame {
    /// Requests a note of the answering link. For plain commands.
    pub(crate) fn with_origin(mut self) -> (Self, AnswerOrigin) {
        let note = Arc::new(Extra::Origin(OriginNote::default()));
        debug_assert!(self.extra.is_none(), "a unit or a script has no room for it");
        self.extra = Some(note.clone());
        (self, AnswerOrigin(note))
    }

    pub(crate) fn origin_note(&self) -> Option<&OriginNote> {
        match self.extra() {
            Some(Extra::Origin(note)) => Some(note),
            _ => None,
        }
    }
}
