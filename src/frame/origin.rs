//! Who answers for the marks of a frame: this crate for its own messages, a caller for what is built by hand.

use smallvec::SmallVec;

use super::{Frame, ReplyKeys, Traits};
use crate::prefix::{
    by_hand::{self, Line},
    marks::{Form, Positions},
    policy::{Policy, policy},
    replies::reply_keys,
    table::lookup,
};

/// Who answers for the marks of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Origin {
    /// Its caller: it is judged before it is sent. What is forgotten is judged.
    #[default]
    ByHand,
    /// This crate, whose messages mark their keys; not judged, because that would cost them a look into the table.
    Known,
    /// This crate, but callers hold it now: with one more argument it becomes theirs.
    HandedOut,
    /// An operator, who asked for no prefix.
    RawKeyspace,
    /// This crate, on its own account: no caller has asked for it, and it is in no account of what became of commands.
    Own,
}

impl Frame {
    /// A whole command line of a caller, the name first, with the marks that were found for it.
    pub(crate) fn of_line(argv: &[impl AsRef<[u8]>], positions: &Positions) -> Self {
        let mut frame = Self::default();
        let mut marks = positions.marks.iter().peekable();
        for (index, arg) in argv.iter().enumerate() {
            match marks.next_if(|mark| mark.index == index) {
                Some(mark) => frame.push_marked(arg.as_ref(), mark.offset, mark.form == Form::Pattern),
                None => {
                    frame.push(arg.as_ref());
                }
            }
        }
        if positions.lacks_match {
            frame = frame.arg("MATCH").pattern("*");
        }
        frame
    }

    /// Whether the server may hold the answer back: whoever comes behind on the same connection would wait too, so
    /// it needs one of its own. By hand a command says so itself, by [`hold`](Self::hold), or is known for it.
    pub(crate) fn waits(&self) -> bool {
        let by_hand = || matches!(self.traits.origin, Origin::ByHand | Origin::RawKeyspace) && !self.is_unit();
        self.hold > 0 || by_hand() && policy(&self.argv()) == Policy::Blocking
    }

    /// Whether the table knows that a command which was built by hand only reads.
    pub(super) fn is_known_read(&self) -> bool {
        matches!(self.traits.origin, Origin::ByHand | Origin::RawKeyspace)
            && !self.is_unit()
            && lookup(&self.argv()).is_some_and(|found| found.entry.pure_read())
    }

    /// What this crate puts together itself, without a name so far.
    pub(super) fn known_empty() -> Self {
        Self { traits: Traits { origin: Origin::Known, ..Traits::default() }, ..Self::default() }
    }

    /// Leaves the crate: what is added from now on is added by hand.
    pub(crate) fn handed_out(mut self) -> Self {
        if self.traits.origin == Origin::Known {
            self.traits.origin = Origin::HandedOut;
        }
        self
    }

    /// Sent by this crate on its own account.
    pub(crate) fn own(mut self) -> Self {
        if self.traits.origin == Origin::Known {
            self.traits.origin = Origin::Own;
        }
        self
    }

    pub(crate) fn is_own(&self) -> bool {
        self.traits.origin == Origin::Own
    }

    /// The command of an operator, who means every key: as it is, and its reply as it comes.
    pub(crate) fn unprefixed(mut self) -> Self {
        if self.fault.is_none() {
            let judged = by_hand::judge_unprefixed(&self.line(&self.argv()));
            self.fault = judged.err();
        }
        self.marks.clear();
        self.traits.reply_keys = ReplyKeys::None;
        self.traits.origin = Origin::RawKeyspace;
        self
    }

    /// Whether nothing in its reply is ours to change.
    pub(crate) fn is_unprefixed(&self) -> bool {
        self.traits.origin == Origin::RawKeyspace
    }

    /// What there is to judge of it.
    pub(crate) fn line<'a>(&'a self, argv: &'a [&'a [u8]]) -> Line<'a> {
        Line { argv, marked: self.marked(), without_keys: self.traits.without_keys, hold: self.longest_hold() }
    }

    /// [`args`](Self::args) all at once.
    pub(crate) fn argv(&self) -> SmallVec<[&[u8]; 8]> {
        self.args().collect()
    }

    /// Which arguments take the prefix, the name being number 0.
    pub(crate) fn marked(&self) -> Positions {
        let start = self.encoded.as_ptr() as usize;
        let mut marks = self.marks.iter().peekable();
        let mut positions = Positions::default();
        for (index, word) in self.args().enumerate() {
            let body = word.as_ptr() as usize - start;
            if let Some(mark) = marks.next_if(|mark| mark.body() as usize == body) {
                let form = if mark.is_glob() { Form::Pattern } else { Form::Key };
                positions.mark(index, (mark.insert() - mark.body()) as usize, form);
            }
        }
        positions
    }

    pub(crate) fn keys_in_reply(&self) -> ReplyKeys {
        match self.traits.reply_keys {
            ReplyKeys::None if self.traits.origin == Origin::ByHand && !self.is_unit() => reply_keys(&self.argv()),
            keys => keys,
        }
    }
}
