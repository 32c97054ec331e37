//! Which arguments of a command line take the prefix, and where inside them.

use std::fmt;

use super::marks::Positions;
use super::policy::Policy;
use super::refusal::RefusalClass;
use super::rules;
use super::table::{Entry, Found, KeySpec, Name, lookup};

/// Why a command line is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The table has no such command or subcommand.
    Unknown {
        /// What was asked for, cut to a readable length.
        command: String,
    },
    /// The arguments do not say for certain which of them are keys.
    Arguments {
        /// The command.
        command: Name,
        /// What is wrong and what to send instead.
        reason: &'static str,
    },
    /// The command does not belong on a prefixed connection that callers share.
    Policy {
        /// The command.
        command: Name,
        /// Its class.
        class: Policy,
        /// Why, and what to use instead.
        reason: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { command } => write!(
                f,
                "`{command}` is not a command whose keys are known: mark its keys by hand with `Raw::new` instead"
            ),
            Self::Arguments { command, reason } | Self::Policy { command, reason, .. } => {
                write!(f, "`{command}` is refused: {reason}")
            }
        }
    }
}

impl Refusal {
    pub(crate) fn class(&self) -> RefusalClass {
        match self {
            Self::Unknown { .. } => RefusalClass::Unknown,
            Self::Arguments { .. } => RefusalClass::Arguments,
            Self::Policy { class, .. } => RefusalClass::of(*class).unwrap_or(RefusalClass::Unknown),
        }
    }

    /// For a line the table does not know. A name is caller's data: it may be a megabyte, or not text.
    pub(super) fn unknown(argv: &[impl AsRef<[u8]>]) -> Self {
        const SHOWN: usize = 32;
        let mut command = String::new();
        for (at, word) in argv.iter().take(2).enumerate() {
            // The second word of a command that is no container is data, perhaps a secret.
            let is_container = argv.first().and_then(|first| lookup(std::slice::from_ref(first))).is_some();
            if at == 1 && !is_container {
                break;
            }
            let shown = word.as_ref().get(..SHOWN).unwrap_or(word.as_ref());
            if at > 0 {
                command.push(' ');
            }
            command.extend(String::from_utf8_lossy(shown).escape_debug());
        }
        Self::Unknown { command }
    }
}

const ARITY: &str = "wrong number of arguments";
const COUNT: &str = "the number of keys must be a plain decimal number (no sign, space, point or leading zero), at least 1 where keys are needed, and no more than the arguments that follow";

/// The arguments of `argv` that take the prefix.
///
/// Never a guess: a line that the server could read in another way is refused.
pub(crate) fn positions(argv: &[impl AsRef<[u8]>]) -> Result<Positions, Refusal> {
    let found = lookup(argv).ok_or_else(|| Refusal::unknown(argv))?;
    locate(found, argv).map_err(|reason| Refusal::Arguments { command: found.name, reason })
}

fn locate(found: Found, argv: &[impl AsRef<[u8]>]) -> Result<Positions, &'static str> {
    let Found { entry, name } = found;
    if !entry.accepts(argv.len()) {
        return Err(ARITY);
    }
    let mut positions = Positions::default();
    if !rules::apply(name, argv, &mut positions)? {
        by_specification(entry, argv, &mut positions)?;
    }
    positions.marks.sort_unstable_by_key(|mark| mark.index);
    positions.marks.dedup_by_key(|mark| mark.index);
    Ok(positions)
}

fn by_specification(entry: &Entry, argv: &[impl AsRef<[u8]>], positions: &mut Positions) -> Result<(), &'static str> {
    if entry.needs_rule() {
        return Err(
            "its keys are found by its options, which this version does not know: mark its keys by hand with `Raw::new` instead",
        );
    }
    for spec in entry.keys {
        match *spec {
            KeySpec::Range { first, last, step } => {
                let first = usize::from(first);
                let end = match usize::try_from(last) {
                    Ok(after) => first.saturating_add(after),
                    Err(_) => argv.len().saturating_sub(usize::from(last.unsigned_abs())),
                };
                let end = end.min(argv.len().saturating_sub(1));
                let mut at = first;
                while at <= end {
                    positions.key(at);
                    at = at.saturating_add(usize::from(step.max(1)));
                }
            }
            KeySpec::Counted { count, first, step } => {
                let (first, step) = (usize::from(first), usize::from(step.max(1)));
                let room = argv.len().saturating_sub(first) / step;
                let said = argv.get(usize::from(count)).ok_or(ARITY)?.as_ref();
                let keys = canonical(said).filter(|keys| *keys <= room).ok_or(COUNT)?;
                if keys == 0 && !entry.takes_no_keys() {
                    return Err(COUNT);
                }
                (0..keys).for_each(|key| positions.key(first + key * step));
            }
        }
    }
    Ok(())
}

/// A number written in the one way that every server reads alike.
///
/// Servers disagree with themselves on the others: `COMMAND GETKEYS` reads `2.0` as 2 where the command refuses it,
/// and a count that wraps names other keys than the ones that are used.
fn canonical(text: &[u8]) -> Option<usize> {
    let digits = matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.len() <= 9;
    if !digits || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
