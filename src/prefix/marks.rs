//! The positions in a command line at which the prefix is inserted.

use smallvec::SmallVec;

/// How the prefix is written into an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Unchanged.
    Key,
    /// With its glob characters escaped.
    Pattern,
    /// Unchanged, into a `SORT` pattern. The server replaces the first `*` of the pattern, so the prefix must not
    /// contain one.
    Template,
}

/// One position at which the prefix is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The index of the argument; the command name is 0.
    pub(crate) index: usize,
    /// The offset in the argument at which the prefix is inserted.
    pub(crate) offset: usize,
    /// The form in which the prefix is inserted.
    pub(crate) form: Form,
}

/// All positions of a command line at which the prefix is inserted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    /// In ascending order, each argument at most once.
    pub(crate) marks: SmallVec<[Mark; 4]>,
    /// The line is a `SCAN` without `MATCH`. A `MATCH` is added, because it would scan the keys of every service.
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
