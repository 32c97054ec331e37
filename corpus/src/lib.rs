//! Command lines generated from the servers' argument trees, each argument with the role it has in the tree.
//!
//! The roles are the tests' own knowledge: nothing here looks at the table or at the rules that are tested.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is generated here is the project's own data, and only tests and reports use it"
)]

mod expect;
mod generate;

pub use expect::{escape, expected, server_is_wrong};
pub use generate::lines;

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing that names a key.
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
    /// What each of them is.
    pub roles: Vec<Role>,
}

impl Line {
    /// For a person to read.
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
