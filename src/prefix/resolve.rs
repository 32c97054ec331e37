//! Key positions of commands that are not in the table, from the server's COMMAND INFO and COMMAND GETKEYS.

use redis::Value;

use super::marks::{Form, Mark, Positions};
use super::refusal::RefusalClass;
use crate::error::{Error, Result};

const UNKNOWN: &str =
    "it is unknown to this version and to the server: check its spelling, and whether the server has loaded its module";
const NO_KEYS: &str = "the server reports no keys for it, so it might access every key: if it accesses none, use `Raw::new` with `without_keys()`";
const AMBIGUOUS: &str = "a key that the server reports equals an argument that is not a key: mark the keys with `Raw::new` and `key()` instead";

/// Key positions of a command that hold for every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandKeys {
    arity: i64,
    pub(crate) only_reads: bool,
    /// The first key, the last (from the end when negative), and the step. `None` if the positions depend on the
    /// arguments.
    range: Option<(usize, i64, usize)>,
}

/// Parses the reply to `COMMAND INFO` for the command in `argv`. The flag is `true` if it describes its subcommand
/// only.
///
/// # Errors
/// If the command may not be sent on a shared, prefixed connection.
pub(crate) fn command_keys(answer: Value, argv: &[Vec<u8>]) -> Result<(CommandKeys, bool)> {
    let unknown = || Error::refused(RefusalClass::Unknown, UNKNOWN);
    let mut info = items(answer).and_then(|all| all.into_iter().next()).and_then(items).ok_or_else(unknown)?;
    let subcommands = info.get_mut(9).and_then(|all| items(std::mem::take(all))).unwrap_or_default();
    let is_container = !subcommands.is_empty();
    if is_container {
        let [command, subcommand, ..] = argv else { return Err(unknown()) };
        let name = [command.as_slice(), b"|", subcommand].concat();
        let same = |info: &Vec<Value>| info.first().and_then(text).is_some_and(|text| text.eq_ignore_ascii_case(&name));
        info = subcommands.into_iter().filter_map(items).find(same).ok_or_else(unknown)?;
    }
    let [_, Value::Int(arity), flags, Value::Int(first), Value::Int(last), Value::Int(step), ..] = info.as_slice()
    else {
        return Err(unknown());
    };
    let categories = info.get(6).unwrap_or(&Value::Nil);
    refuse(&Words(flags), &Words(categories))?;
    let movable = Words(flags).has("movablekeys");
    if *first == 0 && !movable {
        return Err(Error::refused(RefusalClass::Unknown, NO_KEYS));
    }
    let range = usize::try_from(*first).ok().zip(usize::try_from(*step).ok()).map(|(first, step)| (first, *last, step));
    let only_reads = Words(flags).has("readonly") && !Words(flags).has("write");
    let range = range.filter(|(_, _, step)| !movable && *step > 0);
    Ok((CommandKeys { arity: *arity, only_reads, range }, is_container))
}

fn refuse(flags: &Words<'_>, categories: &Words<'_>) -> Result<()> {
    let (class, words) = if categories.has("@connection") || categories.has("@transaction") {
        (
            RefusalClass::ConnectionState,
            "the server flags it as changing the connection, which other callers share: use a connection of your own instead",
        )
    } else if flags.has("pubsub") {
        (RefusalClass::Subscribe, "the server flags it as a publish/subscribe command: use Redis::subscribe instead")
    } else if flags.has("blocking") {
        (
            RefusalClass::Blocking,
            "the server flags it as blocking: mark its keys with `Raw::new`, and set its maximum wait with `hold()`",
        )
    } else if flags.has("admin") || categories.has("@admin") {
        (
            RefusalClass::Administration,
            "the server flags it as an administrative command: use `redis.unprefixed()` instead if you operate the server",
        )
    } else if categories.has("@dangerous") {
        (
            RefusalClass::Wide,
            "the server flags it as dangerous, as it does commands that access every key: if it does not, mark its keys with `Raw::new` and `key()`",
        )
    } else {
        return Ok(());
    };
    Err(Error::refused(class, words))
}

impl CommandKeys {
    /// The key positions of a line. `None` if they must be requested with COMMAND GETKEYS.
    pub(crate) fn positions(&self, argv: &[Vec<u8>]) -> Result<Option<Positions>> {
        let needed = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if argv.len() < needed || (self.arity > 0 && argv.len() != needed) {
            return Err(Error::refused(
                RefusalClass::Arguments,
                "wrong number of arguments: check the syntax of the command",
            ));
        }
        let Some((first, last, step)) = self.range else { return Ok(None) };
        let end = argv.len() - 1;
        let from_end = usize::try_from(last.unsigned_abs()).unwrap_or(usize::MAX);
        let last = if last < 0 { (end + 1).saturating_sub(from_end) } else { from_end.min(end) };
        let marks = (first..=last).step_by(step).map(|index| Mark { index, offset: 0, form: Form::Key });
        Ok(Some(Positions { marks: marks.collect(), lacks_match: false }))
    }
}

/// The arguments of `argv` that `COMMAND GETKEYS` returned. It returns names and not positions, so a name that equals
/// another argument is ambiguous.
pub(crate) fn named(answer: Value, argv: &[Vec<u8>]) -> Result<Positions> {
    let keys = items(answer).unwrap_or_default();
    let keys: Vec<&[u8]> = keys.iter().filter_map(text).collect();
    if keys.is_empty() {
        return Err(Error::refused(RefusalClass::Unknown, NO_KEYS));
    }
    let times = |name: &[u8]| argv.iter().filter(|arg| arg.as_slice() == name).count();
    for key in &keys {
        if times(key) != keys.iter().filter(|other| *other == key).count() {
            return Err(Error::refused(RefusalClass::Arguments, AMBIGUOUS));
        }
    }
    let mut positions = Positions::default();
    let of_keys = argv.iter().enumerate().skip(1).filter(|(_, arg)| keys.contains(&arg.as_slice()));
    of_keys.for_each(|(index, _)| positions.mark(index, 0, Form::Key));
    Ok(positions)
}

fn items(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// Flags or categories.
struct Words<'a>(&'a Value);

impl Words<'_> {
    fn has(&self, word: &str) -> bool {
        let (Value::Array(words) | Value::Set(words)) = self.0 else { return false };
        words.iter().filter_map(text).any(|text| text == word.as_bytes())
    }
}

#[cfg(test)]
mod tests;
