//! Which link has answered a command, for what its reply means at one server process only.

use std::sync::{Arc, OnceLock};

use super::{Extra, Frame};
use crate::config::Address;

/// A link, by a number that no other one of this process gets, and the server that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnsweredBy {
    pub(crate) link: u64,
    pub(crate) address: Option<Address>,
}

/// Where the driver writes it: it stays with the frame through redirects, replays and deferrals.
#[derive(Default)]
pub(crate) struct OriginNote(OnceLock<AnsweredBy>);

impl OriginNote {
    pub(crate) fn write(&self, link: u64, address: Option<&Address>) {
        // One answer a frame: what a node did not run is no answer.
        let _ = self.0.set(AnsweredBy { link, address: address.cloned() });
    }
}

/// The other end of it, for whoever sent the frame.
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
    /// Asks for a note of who answers it. For plain commands.
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
