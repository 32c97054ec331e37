//! Judges commands whose keys a caller has marked by hand.
//!
//! The table knows better than the caller, where it knows the command: what it calls a key must be marked as one, and
//! nothing else may be. A value with the prefix in front is another value, and the server says nothing about it.

use std::time::Duration;

use super::marks::{Form, Mark, Positions};
use super::policy::{Policy, of_container, policy};
use super::positions::{Refusal, positions};
use super::refusal::RefusalClass;
use super::table::{Found, lookup};
use super::waits::wait;
use crate::error::{Error, Result};

const BLOCKING: &str =
    "it may wait, and nobody here knows for how long: say so with `hold()`, and it gets a connection of its own";
const NO_TIME: &str = "it may wait, and what stands where it says for how long is no time of zero or more";
const NO_MATCH: &str =
    "without MATCH it walks the keys of every service: add `.arg(\"MATCH\").pattern(\"*\")`, or use `ScanKeys` instead";
const UNKNOWN: &str = "this version does not know its keys: mark them by hand with `key()`, ask the server with `Redis::resolve`, or say that it has none with `without_keys()`";
const UNKNOWN_SUBCOMMAND: &str = "this version does not know this subcommand, and its like changes what other callers or services get: use `redis.unprefixed()` instead if you operate the server";

/// A command line, and what its caller says of it.
pub(crate) struct Line<'a> {
    pub(crate) argv: &'a [&'a [u8]],
    /// What the caller has marked.
    pub(crate) marked: Positions,
    /// That it has no keys.
    pub(crate) without_keys: bool,
    /// For how long it may wait.
    pub(crate) hold: Duration,
}

/// Whether a command that was built by hand may be sent on a prefixed connection.
pub(crate) fn judge(line: &Line<'_>) -> Result<()> {
    let argv = line.argv;
    let Some(found) = lookup(argv) else {
        return unknown(line);
    };
    let class = policy(argv);
    if let (Some(words), Some(refusal)) = (class.refusal(), RefusalClass::of(class)) {
        return Err(Error::refused(refusal, words));
    }
    if class == Policy::Blocking {
        says_for_how_long(line)?;
    }
    let wanted = positions(argv)?;
    if wanted.lacks_match {
        return Err(Error::refused(RefusalClass::Unmarked, NO_MATCH));
    }
    compare(found, &wanted, &line.marked)
}

fn unknown(line: &Line<'_>) -> Result<()> {
    of_unknown_container(line.argv)?;
    if line.without_keys || !line.marked.marks.is_empty() {
        return Ok(());
    }
    Err(Error::refused(RefusalClass::Unknown, UNKNOWN))
}

/// The name in lower case of a command that the table does not know, for a cache.
///
/// # Errors
/// When it might be anything: a new `CLIENT` subcommand would pass for the command of a module.
pub(crate) fn of_unknown_container(argv: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
    let Some(name) = argv.first() else {
        return Err(Error::refused(RefusalClass::Unknown, "a command needs a name"));
    };
    let known = of_container(argv);
    if known.as_ref().is_some_and(|classes| classes.iter().any(|class| *class != Policy::Allowed)) {
        return Err(Error::refused(RefusalClass::Unknown, UNKNOWN_SUBCOMMAND));
    }
    Ok(name.as_ref().to_ascii_lowercase())
}

fn compare(found: Found, wanted: &Positions, given: &Positions) -> Result<()> {
    for mark in &wanted.marks {
        let form = if mark.form == Form::Pattern { Form::Pattern } else { Form::Key };
        if !given.marks.contains(&Mark { form, ..*mark }) {
            return Err(Error::refused(RefusalClass::Unmarked, unmarked(found, *mark)));
        }
    }
    let is_known = |given: &Mark| wanted.marks.iter().any(|mark| mark.index == given.index);
    match given.marks.iter().find(|mark| !is_known(mark)) {
        Some(mark) => Err(Error::refused(RefusalClass::Arguments, overmarked(found, *mark))),
        None => Ok(()),
    }
}

/// Marks are read off as given: an option word or a count that is marked as well decides here what the other keys are,
/// and is refused itself.
fn overmarked(found: Found, mark: Mark) -> String {
    let what = match (mark.form, found.entry.pubsub()) {
        (Form::Pattern, _) => "a pattern",
        (_, true) => "a channel",
        _ => "a key",
    };
    format!("argument {} of {} is not {what}: use arg()", mark.index, found.name)
}

fn unmarked(found: Found, mark: Mark) -> String {
    let (what, how) = match (mark.form, found.entry.pubsub()) {
        (Form::Pattern, true) => ("a pattern for channels", "channel_pattern()"),
        (_, true) => ("a channel", "channel()"),
        (Form::Pattern, false) => ("a pattern for keys", "pattern()"),
        (Form::Key, false) => ("a key", "key()"),
        (Form::Template, false) => ("a pattern for keys, of the kind that SORT fills in", "key()"),
    };
    format!("argument {} is {what} and not marked as one: add it with `{how}`", mark.index)
}

/// Whether an operator's command may be sent on the connection that all callers share.
pub(crate) fn judge_unprefixed(line: &Line<'_>) -> Result<()> {
    let argv = line.argv;
    let class = policy(argv);
    let steals = |class| matches!(class, Policy::ConnectionState | Policy::Transaction | Policy::Subscribe);
    if let (true, Some(words), Some(refusal)) = (steals(class), class.refusal(), RefusalClass::of(class)) {
        return Err(Error::refused(refusal, words));
    }
    let unknown = || of_container(argv).is_some_and(|classes| classes.into_iter().any(steals));
    if argv.is_empty() || class == Policy::Unknown && unknown() {
        let words = "this version does not know it, and its like changes the shared connection for every other caller: use a connection of your own instead";
        return Err(Error::refused(RefusalClass::ConnectionState, words));
    }
    if class == Policy::Blocking { says_for_how_long(line) } else { Ok(()) }
}

fn says_for_how_long(line: &Line<'_>) -> Result<()> {
    match wait(line.argv) {
        Err(_) => Err(Error::refused(RefusalClass::Arguments, NO_TIME)),
        Ok(None) if line.hold.is_zero() => Err(Error::refused(RefusalClass::Blocking, BLOCKING)),
        Ok(_) => Ok(()),
    }
}

/// The part of a refusal that an [`Error`] takes over: it names the command itself.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let class = refusal.class();
        match refusal {
            Refusal::Unknown { command } => Self::refused(class, UNKNOWN).of_command(command),
            Refusal::Arguments { command, reason } | Refusal::Policy { command, reason, .. } => {
                Self::refused(class, reason).of_command(command.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests;
