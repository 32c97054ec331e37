//! Locates the arguments of a command line that take the prefix, and the offset inside each argument.

use std::fmt;

use super::marks::Positions;
use super::policy::Policy;
use super::refusal::RefusalClass;
use super::rules;
use super::table::{Entry, Found, KeySpec, Name, lookup};

/// Why a command line is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The table does not contain the command or subcommand.
    Unknown {
        /// The requested command, truncated.
        command: String,
    },
    /// The positions of the keys are ambiguous or invalid.
    Arguments {
        /// The command.
        command: Name,
        /// The error, and what to send instead.
        reason: &'static str,
    },
    /// The command is not allowed on a shared, prefixed connection.
    Policy {
        /// The command.
        command: Name,
        /// Its class.
        class: Policy,
        /// The reason, and the alternative.
        reason: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { command } => {
                write!(f, "`{command}` has unknown key positions: mark its keys with `Raw::new` instead")
            }
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

    /// For a command line that is not in the table. The name is the caller's data: it may be very long or not text.
    pub(super) fn unknown(argv: &[impl AsRef<[u8]>]) -> Self {
        const SHOWN: usize = 32;
        let mut command = String::new();
        for (at, word) in argv.iter().take(2).enumerate() {
            // If the command is not a container, the second word is data and may be a secret.
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

const ARITY: &str = "wrong number of arguments: check the syntax of the command";
const COUNT: &str = "the number of keys must be a plain decimal number (no sign, space, point or leading zero), at least 1 where keys are needed, and no more than the arguments that follow";

/// The arguments of `argv` that take the prefix.
///
/// There is no guessing: a line that the server could interpret in another way is refused.
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
            "its key positions depend on options that are unknown to this version: mark its keys with `Raw::new` instead",
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

/// Parses a number in its canonical form, which all servers parse alike.
///
/// Servers are inconsistent for other forms: `COMMAND GETKEYS` parses `2.0` as 2 while the command itself refuses it,
/// and a count that overflows selects other keys than the command uses.
fn canonical(text: &[u8]) -> Option<usize> {
    let digits = matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.len() <= 9;
    if !digits || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
