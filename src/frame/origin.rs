//! Whether the marks of a frame are trusted: those of this crate's messages are, those of callers are checked.

use smallvec::SmallVec;

use super::{Frame, ReplyKeys, Traits, WITHOUT_KEYS};
use crate::prefix::{
    by_hand::{self, Line},
    marks::{Form, Positions},
    policy::{Policy, policy},
    replies::reply_keys,
    table::lookup,
};

/// Who set the marks of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Origin {
    /// A caller: the frame is checked before it is sent. This is the default, so that a missed case is checked.
    #[default]
    ByHand,
    /// This crate, whose messages mark their keys. Not checked, because that would cost a table lookup for every
    /// command.
    Known,
    /// This crate, but callers can add arguments: then the frame counts as theirs.
    HandedOut,
    /// An operator, through the unprefixed handle.
    RawKeyspace,
    /// This crate, for an internal command without a caller, which is not counted in statistics.
    Own,
}

impl Frame {
    /// A whole command line of a caller, starting with the name, with the marks that were computed for it.
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

    /// Whether the server may delay the reply, so that the command needs a dedicated connection: later commands on a
    /// shared one would wait as well. True after [`hold`](Self::hold), and for known blocking commands.
    pub(crate) fn waits(&self) -> bool {
        let by_hand = || matches!(self.traits.origin, Origin::ByHand | Origin::RawKeyspace) && !self.is_unit();
        self.hold > 0 || by_hand() && policy(&self.argv()) == Policy::Blocking
    }

    /// Whether a command built by hand is read-only according to the table.
    pub(super) fn is_known_read(&self) -> bool {
        matches!(self.traits.origin, Origin::ByHand | Origin::RawKeyspace)
            && !self.is_unit()
            && lookup(&self.argv()).is_some_and(|found| found.entry.pure_read())
    }

    /// An internal frame without a name.
    pub(super) fn known_empty() -> Self {
        Self { traits: Traits { origin: Origin::Known, ..Traits::default() }, ..Self::default() }
    }

    /// Hands the frame to a caller: later arguments count as added by hand.
    pub(crate) fn handed_out(mut self) -> Self {
        if self.traits.origin == Origin::Known {
            self.traits.origin = Origin::HandedOut;
        }
        self
    }

    /// Marks an internal command without a caller.
    pub(crate) fn own(mut self) -> Self {
        if self.traits.origin == Origin::Known {
            self.traits.origin = Origin::Own;
        }
        self
    }

    pub(crate) fn is_own(&self) -> bool {
        self.traits.origin == Origin::Own
    }

    /// Marks a command of an operator: neither the command nor its reply is rewritten.
    pub(crate) fn unprefixed(mut self) -> Self {
        if self.is_unit() {
            return self.invalid("the unprefixed handle takes single commands: send them one by one");
        }
        if self.fault.is_none() {
            let judged = by_hand::judge_unprefixed(&self.line(&self.argv()));
            self.fault = judged.err();
        }
        self.marks.clear();
        self.traits.reply_keys = ReplyKeys::None;
        self.traits.origin = Origin::RawKeyspace;
        self
    }

    /// Whether the reply must not be rewritten.
    pub(crate) fn is_unprefixed(&self) -> bool {
        self.traits.origin == Origin::RawKeyspace
    }

    /// The command line to check.
    pub(crate) fn line<'a>(&'a self, argv: &'a [&'a [u8]]) -> Line<'a> {
        let without_keys = self.traits.flags & WITHOUT_KEYS != 0;
        Line { argv, marked: self.marked(), without_keys, hold: self.longest_hold() }
    }

    /// All [`args`](Self::args).
    pub(crate) fn argv(&self) -> SmallVec<[&[u8]; 8]> {
        self.args().collect()
    }

    /// The arguments that take the prefix; the name has index 0.
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
