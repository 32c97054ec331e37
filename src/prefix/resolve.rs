//! What a server says of a command that the table does not know.

use redis::Value;

use super::marks::{Form, Mark, Positions};
use super::refusal::RefusalClass;
use crate::error::{Error, Result};

const NOBODY: &str = "neither this version nor the server knows it: check its spelling, and whether the server has the module that brings it";
const NO_KEYS: &str = "the server says that it has no keys, so it might reach all of them: if it does not, say so with `Raw::new` and `without_keys()`";
const AMBIGUOUS: &str = "the server names its keys, and one of them is the same as an argument that is no key: mark the keys by hand with `Raw::new` and `key()` instead";

/// What holds for every line of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandKeys {
    arity: i64,
    pub(crate) only_reads: bool,
    /// The first key, the last (from the end when negative), and the step; `None`: each line has to be asked about.
    range: Option<(usize, i64, usize)>,
}

/// What `COMMAND INFO` says of the command that stands in `argv`, and whether that is of its subcommand alone.
///
/// # Errors
/// When no server of this kind should be sent it on a shared, prefixed connection.
pub(crate) fn command_keys(answer: Value, argv: &[Vec<u8>]) -> Result<(CommandKeys, bool)> {
    let unknown = || Error::refused(RefusalClass::Unknown, NOBODY);
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
        (RefusalClass::ConnectionState, "the server says that it changes the connection, which other callers share")
    } else if flags.has("pubsub") {
        (
            RefusalClass::Subscribe,
            "the server says that it belongs to publish and subscribe: use Redis::subscribe instead",
        )
    } else if flags.has("blocking") {
        (
            RefusalClass::Blocking,
            "the server says that it may keep the shared connection waiting: mark its keys with `Raw::new`, and say for how long with `hold()`",
        )
    } else if flags.has("admin") || categories.has("@admin") {
        (
            RefusalClass::Administration,
            "the server says that it is for operators: use `redis.unprefixed()` instead if you are one",
        )
    } else if categories.has("@dangerous") {
        (
            RefusalClass::Wide,
            "the server says that it is dangerous, as are commands that reach every key: mark its keys by hand with `Raw::new` and `key()` if it does not",
        )
    } else {
        return Ok(());
    };
    Err(Error::refused(class, words))
}

impl CommandKeys {
    /// The keys of a line; `None` when the server has to be asked.
    pub(crate) fn positions(&self, argv: &[Vec<u8>]) -> Result<Option<Positions>> {
        let needed = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if argv.len() < needed || (self.arity > 0 && argv.len() != needed) {
            return Err(Error::refused(RefusalClass::Arguments, "wrong number of arguments"));
        }
        let Some((first, last, step)) = self.range else { return Ok(None) };
        let end = argv.len() - 1;
        let from_end = usize::try_from(last.unsigned_abs()).unwrap_or(usize::MAX);
        let last = if last < 0 { (end + 1).saturating_sub(from_end) } else { from_end.min(end) };
        let marks = (first..=last).step_by(step).map(|index| Mark { index, offset: 0, form: Form::Key });
        Ok(Some(Positions { marks: marks.collect(), lacks_match: false }))
    }
}

/// The arguments of `argv` that `COMMAND GETKEYS` has named. It tells names and not positions, so a name must not
/// stand for anything else in the line.
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
