//! Command lines generated from the servers' argument trees, each argument with the role it has in the tree.
//!
//! The roles are independent of the table and the rules that are tested.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lines are generated from the project's own data, for tests and reports only"
)]

mod expect;
mod generate;

pub use expect::{escape, expected, server_is_wrong};
pub use generate::lines;

/// The role of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// No key.
    Plain,
    /// A key.
    Key,
    /// A pattern for keys.
    Glob,
    /// A pattern of SORT; it names keys when it has a `*`.
    Template,
    /// A channel.
    Channel,
    /// A pattern for channels.
    ChannelPattern,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The arguments, the command first.
    pub argv: Vec<Vec<u8>>,
    /// The role of each.
    pub roles: Vec<Role>,
}

impl Line {
    /// Display form.
    #[must_use]
    pub fn show(&self) -> String {
        let words: Vec<String> = self.argv.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        words.join(" ")
    }

    /// The arguments with a role, as the caller wrote them.
    pub fn named(&self) -> impl Iterator<Item = (usize, Role, &[u8])> {
        let both = self.argv.iter().zip(&self.roles).enumerate();
        both.filter(|(_, (_, role))| **role != Role::Plain).map(|(at, (arg, role))| (at, *role, arg.as_slice()))
    }
}
