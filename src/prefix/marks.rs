//! The places of a command line that take the prefix.

use smallvec::SmallVec;

/// How the prefix is written into an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Key,
    /// With its glob characters escaped.
    Pattern,
    /// As it is, into a `SORT` pattern: the server replaces the first `*` in it, so the prefix must have none.
    Template,
}

/// One place that takes the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The argument; the command itself is 0.
    pub(crate) index: usize,
    /// The byte of the argument before which the prefix goes.
    pub(crate) offset: usize,
    /// How the prefix is written.
    pub(crate) form: Form,
}

/// Every place that takes the prefix, by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    /// The places, in ascending order and each argument at most once.
    pub(crate) marks: SmallVec<[Mark; 4]>,
    /// The line is a `SCAN` without `MATCH`: it gets one, or it would walk the keys of every service.
    pub(crate) lacks_match: bool,
}

impl Positions {
    pub(super) fn key(&mut self, index: usize) {
        self.mark(index, 0, Form::Key);
    }

    pub(crate) fn mark(&mut self, index: usize, offset: usize, form: Form) {
        self.marks.push(Mark { index, offset, form });
    }
}
