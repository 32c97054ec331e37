//! The command table: arity, flags and key positions.
//!
//! The rows are generated (`cargo xtask keytable`) from `data/commands/`. Where the servers' data is wrong or
//! incomplete, [`super::rules`] has a rule and the row has [`Entry::needs_rule`].

use std::cmp::Ordering;
use std::fmt;

/// One command, or one subcommand of a container.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Lower case.
    pub(crate) name: &'static str,
    /// The number of arguments including the name; negative: the minimum.
    pub(crate) arity: i8,
    flags: u8,
    /// The positions of the keys, complete unless [`Entry::needs_rule`].
    pub(crate) keys: &'static [KeySpec],
    subcommands: &'static [Entry],
}

/// A run of keys. Positions count from the command, which is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeySpec {
    /// Every `step`th argument from `first` to `last`. A negative `last` counts from the end, else it is relative to
    /// `first`.
    Range { first: u8, last: i8, step: u8 },
    /// The argument at `count` is the number of keys, which start at `first` and are `step` apart.
    Counted { count: u8, first: u8, step: u8 },
}

const NONE: u8 = 0;
const READONLY: u8 = 1;
const WRITE: u8 = 1 << 1;
const BLOCKING: u8 = 1 << 2;
const MOVABLE: u8 = 1 << 3;
const PUBSUB: u8 = 1 << 4;
const ADMIN: u8 = 1 << 5;
const NO_KEYS_OK: u8 = 1 << 6;
const RULE: u8 = 1 << 7;

impl Entry {
    /// The command may block its connection.
    pub(crate) fn blocks(&self) -> bool {
        self.flags & BLOCKING != 0
    }

    /// The command is a publish/subscribe command.
    pub(crate) fn pubsub(&self) -> bool {
        self.flags & PUBSUB != 0
    }

    /// The command is administrative.
    pub(crate) fn admin(&self) -> bool {
        self.flags & ADMIN != 0
    }

    /// A key count of 0 is valid, as in `EVAL script 0`.
    pub(crate) fn takes_no_keys(&self) -> bool {
        self.flags & NO_KEYS_OK != 0
    }

    /// The server's key specification is incomplete, so a rule locates the keys.
    pub(crate) fn needs_rule(&self) -> bool {
        self.flags & RULE != 0
    }

    /// Running the command twice has the effect of running it once.
    ///
    /// True for the servers' `readonly` flag, and for a few read-only commands without keys. All others count as
    /// writes: a wrong "no" costs a retry, a wrong "yes" runs a write twice.
    pub(crate) fn pure_read(&self) -> bool {
        const UNFLAGGED_READS: [&str; 5] = ["echo", "lastsave", "ping", "role", "time"];
        self.flags & READONLY != 0 || UNFLAGGED_READS.binary_search(&self.name).is_ok()
    }

    /// Whether the command accepts this number of arguments.
    pub(crate) fn accepts(&self, arguments: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= wanted } else { arguments == wanted }
    }

    /// The subcommands of a container, sorted by name.
    pub(crate) fn subcommands(&self) -> &'static [Entry] {
        self.subcommands
    }
}

/// Every command, sorted by name.
pub(crate) static COMMANDS: &[Entry] = &include!("table/generated.in");

const fn entry(
    name: &'static str,
    arity: i8,
    flags: u8,
    keys: &'static [KeySpec],
    subcommands: &'static [Entry],
) -> Entry {
    Entry { name, arity, flags, keys, subcommands }
}

const fn range(first: u8, last: i8, step: u8) -> KeySpec {
    KeySpec::Range { first, last, step }
}

const fn counted(count: u8, first: u8, step: u8) -> KeySpec {
    KeySpec::Counted { count, first, step }
}

/// A command found in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// The entry of the subcommand for a container, else of the command.
    pub(crate) entry: &'static Entry,
    /// The name as it is shown.
    pub(crate) name: Name,
}

/// `GET`, or `CLIENT` and `LIST`; lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    /// The first word.
    pub(crate) command: &'static str,
    /// The second word, for a container.
    pub(crate) subcommand: Option<&'static str>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut upper = |text: &str| {
            use fmt::Write as _;
            text.chars().try_for_each(|c| f.write_char(c.to_ascii_uppercase()))
        };
        upper(self.command)?;
        match self.subcommand {
            Some(subcommand) => {
                upper(" ")?;
                upper(subcommand)
            }
            None => Ok(()),
        }
    }
}

/// The entry of a command line. `None` if the table lacks the command or its subcommand.
///
/// Names are compared as on the server: byte for byte, ignoring ASCII case. `"get "` is not `GET`.
pub(crate) fn lookup(argv: &[impl AsRef<[u8]>]) -> Option<Found> {
    let (command, rest) = argv.split_first()?;
    let entry = find(COMMANDS, command.as_ref())?;
    let whole = Found { entry, name: Name { command: entry.name, subcommand: None } };
    match rest.first() {
        Some(subcommand) if !entry.subcommands.is_empty() => {
            let sub = find(entry.subcommands, subcommand.as_ref())?;
            Some(Found { entry: sub, name: Name { command: entry.name, subcommand: Some(sub.name) } })
        }
        _ => Some(whole),
    }
}

fn find(entries: &'static [Entry], name: &[u8]) -> Option<&'static Entry> {
    let at = entries.binary_search_by(|entry| compare(entry.name.as_bytes(), name)).ok()?;
    entries.get(at)
}

/// `known` is lower case.
fn compare(known: &[u8], name: &[u8]) -> Ordering {
    let folded = name.iter().map(u8::to_ascii_lowercase);
    known.iter().copied().cmp(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_for_binary_search() {
        for entries in COMMANDS.iter().map(Entry::subcommands).chain(std::iter::once(COMMANDS)) {
            assert!(entries.is_sorted_by(|a, b| a.name < b.name));
        }
        for entry in COMMANDS {
            let found = lookup(&[entry.name.to_ascii_uppercase()]).map(|found| found.name.command);
            assert_eq!(found, Some(entry.name));
        }
    }

    #[test]
    fn names_match_in_any_case_and_are_not_trimmed() {
        let known = |argv: &[&str]| lookup(argv).map(|found| found.name.to_string());
        assert_eq!(known(&["gEt", "k"]).as_deref(), Some("GET"));
        assert_eq!(known(&["client", "list"]).as_deref(), Some("CLIENT LIST"));
        assert_eq!(known(&["COMMAND"]).as_deref(), Some("COMMAND"));
        for unknown in
            [&["get "][..], &[" get"], &["get\0"], &[""], &["get\r\n"], &["client", "lis"], &["client", "list "], &[]]
        {
            assert_eq!(known(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn only_reads_are_repeatable() {
        let pure = |argv: &[&str]| lookup(argv).is_some_and(|found| found.entry.pure_read());
        assert!(pure(&["GET"]) && pure(&["ping"]) && pure(&["SORT_RO"]) && pure(&["EVAL_RO"]));
        assert!(!pure(&["INCR"]) && !pure(&["EVAL"]) && !pure(&["XREADGROUP"]) && !pure(&["PUBLISH"]));
    }
}
